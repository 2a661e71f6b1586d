//! `GET /volumes/{name}`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::summary;

pub(crate) async fn inspect(call: Call) -> Result<Reply, ApiError> {
    let volume = engine::volume::inspect(call.engine(), call.name()).await?;
    Ok(reply::ok(&summary::volume(&volume, None)))
}
