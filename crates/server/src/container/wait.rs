//! `POST /containers/{id}/wait`: the head of the reply is sent at once, the body after the end. `docker run` waits for
//! the head before it starts the container, so that no exit is missed.

use api_types::container::{WaitError, WaitReply};
use bytes::Bytes;
use engine::container::{Condition, Ended};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn wait(call: Call) -> Result<Reply, ApiError> {
    let condition = match call.query.get("condition") {
        None | Some("not-running") => Condition::NotRunning,
        Some("next-exit") => Condition::NextExit,
        Some("removed") => Condition::Removed,
        Some(other) => return Err(ApiError::invalid(format!("invalid condition: \"{other}\""))),
    };
    let waiter = engine::container::wait(call.engine(), call.name(), condition)?;
    let body = async move {
        let mut body = serde_json::to_vec(&to_api(waiter.ended().await))?;
        body.push(b'\n');
        Ok(Bytes::from(body))
    };
    Ok(reply::stream(
        "application/json",
        futures_util::stream::once(body),
    ))
}

/// Returns how a wait ended as clients read it.
pub(super) fn to_api(ended: Ended) -> WaitReply {
    WaitReply {
        status_code: ended.code,
        error: ended.error.map(|message| WaitError { message }),
    }
}
