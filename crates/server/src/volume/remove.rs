//! `DELETE /volumes/{name}`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn remove(call: Call) -> Result<Reply, ApiError> {
    engine::volume::remove(call.engine(), call.name(), call.query.flag("force")).await?;
    Ok(reply::no_content())
}
