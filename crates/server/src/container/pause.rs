//! `POST /containers/{id}/pause` and `unpause`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn pause(call: Call) -> Result<Reply, ApiError> {
    engine::container::pause(call.engine(), call.name()).await?;
    Ok(reply::no_content())
}

pub(crate) async fn unpause(call: Call) -> Result<Reply, ApiError> {
    engine::container::unpause(call.engine(), call.name()).await?;
    Ok(reply::no_content())
}
