//! `POST /berth/containers/{id}/exec`: create, start and wait in one request, by the verbs that Docker's calls use.

use api_types::container::WaitReply;
use api_types::exec::ExecCreateRequest;
use api_types::session::{CONTENT_TYPE, ENDED};
use base::error::chain;
use engine::container::{ExecError, ExecStart};
use futures_util::StreamExt;

use super::create::from_api;
use crate::call::Call;
use crate::frame;
use crate::reply::{Head, Hijack, Reply};
use crate::status::ApiError;

pub(crate) async fn run(mut call: Call) -> Result<Reply, ApiError> {
    let request: ExecCreateRequest = call.json().await?;
    if request.tty {
        return Err(ApiError::unsupported("an exec with a terminal in one request"));
    }
    let config = from_api(request)?;
    let exec = engine::container::exec_create(call.engine(), call.name(), config).await?;
    let start = ExecStart {
        detach: false,
        console_size: None,
    };
    let started = engine::container::exec_start(call.engine(), exec.as_str(), start).await;
    let (first, stream) = match started {
        Ok(session) => (None, session.stream),
        // As Docker has it: the text is output, and the exit code says what it means.
        Err(error @ ExecError::Program { .. }) => (
            Some(frame::stdout(&format!("{}\r\n", chain(&error)), false)),
            None,
        ),
        Err(error) => return Err(error.into()),
    };
    let shared = std::sync::Arc::clone(&call.shared);
    let last = async move {
        let code = engine::container::exec_ended(&shared.engine, exec.as_str()).await;
        let status_code = code.unwrap_or_default();
        frame::document(
            ENDED,
            &WaitReply {
                status_code,
                error: None,
            },
        )
    };
    Ok(Reply::Hijack(Hijack {
        first: futures_util::stream::iter(first).boxed(),
        stream,
        last: futures_util::stream::once(last).boxed(),
        head: Head::Together,
        content_type: CONTENT_TYPE,
    }))
}
