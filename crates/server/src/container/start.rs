//! `POST /containers/{id}/start`.

use engine::container::Changed;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn start(call: Call) -> Result<Reply, ApiError> {
    for name in ["checkpoint", "checkpoint-dir"] {
        if call.query.get(name).is_some() {
            return Err(ApiError::unsupported(format!("query parameter {name}")));
        }
    }
    let changed = engine::container::start(call.engine(), call.name()).await?;
    Ok(done(changed))
}

/// Returns 204, or 304 if there was nothing to do.
pub(crate) fn done(changed: Changed) -> Reply {
    match changed {
        Changed::Yes => reply::no_content(),
        Changed::Already => reply::empty(StatusCode::NOT_MODIFIED),
    }
}
