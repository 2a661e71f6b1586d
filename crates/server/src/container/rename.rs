//! `POST /containers/{id}/rename`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn rename(call: Call) -> Result<Reply, ApiError> {
    let Some(name) = call.query.get("name") else {
        return Err(ApiError::invalid("Neither old nor new names may be empty"));
    };
    engine::container::rename(call.engine(), call.name(), name).await?;
    Ok(reply::no_content())
}
