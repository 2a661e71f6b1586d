//! `DELETE /containers/{id}`.

use engine::container::RemoveRequest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn remove(call: Call) -> Result<Reply, ApiError> {
    if call.query.flag("link") {
        return Err(ApiError::unsupported("removing a link"));
    }
    let request = RemoveRequest {
        force: call.query.flag("force"),
        volumes: call.query.flag("v"),
    };
    engine::container::remove(call.engine(), call.name(), request).await?;
    Ok(reply::no_content())
}
