//! `HEAD`, `GET` and `PUT /containers/{id}/archive`.

use crate::call::Call;
use crate::reply::Reply;
use crate::status::ApiError;

pub(crate) async fn look(_call: Call) -> Result<Reply, ApiError> {
    Err(ApiError::unsupported("copying files from and to containers"))
}

pub(crate) async fn get(_call: Call) -> Result<Reply, ApiError> {
    Err(ApiError::unsupported("copying files from and to containers"))
}

pub(crate) async fn put(_call: Call) -> Result<Reply, ApiError> {
    Err(ApiError::unsupported("copying files from and to containers"))
}
