//! `POST /containers/{id}/kill`.

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn kill(call: Call) -> Result<Reply, ApiError> {
    let signal = call.query.get("signal").unwrap_or_default();
    engine::container::kill(call.engine(), call.name(), signal).await?;
    Ok(reply::no_content())
}
