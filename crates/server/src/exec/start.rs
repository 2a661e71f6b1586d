//! `POST /exec/{id}/start`: detached, or the connection becomes a stream to the shim.

use api_types::exec::ExecStartRequest;
use base::error::chain;
use engine::container::{ExecError, ExecStart};
use futures_util::StreamExt;
use http::StatusCode;

use crate::call::Call;
use crate::container::logs::content_type;
use crate::frame;
use crate::reply::{self, Hijack, Reply};
use crate::status::ApiError;

pub(crate) async fn start(mut call: Call) -> Result<Reply, ApiError> {
    let request: ExecStartRequest = call.json_or_nothing().await?.unwrap_or_default();
    let start = ExecStart {
        detach: request.detach,
        console_size: request.console_size.map(|[rows, columns]| (rows, columns)),
    };
    let session = match engine::container::exec_start(call.engine(), call.name(), start).await {
        Ok(session) => session,
        // Docker's client reads this text from the stream and then asks for the exit code.
        Err(error @ ExecError::Program { .. }) if !request.detach => {
            let tty = engine::container::exec_inspect(call.engine(), call.name())
                .await
                .map_or(request.tty, |details| details.config.tty);
            let text = frame::stdout(&format!("{}\r\n", chain(&error)), tty);
            return Ok(Reply::Hijack(Hijack::of_docker(
                futures_util::stream::iter([text]).boxed(),
                None,
                content_type(call.version, tty),
            )));
        }
        Err(error) => return Err(error.into()),
    };
    if request.detach {
        return Ok(reply::empty(StatusCode::OK));
    }
    Ok(Reply::Hijack(Hijack::of_docker(
        futures_util::stream::empty().boxed(),
        session.stream,
        content_type(call.version, session.tty),
    )))
}
