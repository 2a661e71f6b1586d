//! `POST /containers/{id}/exec`.

use api_types::container::IdReply;
use api_types::exec::ExecCreateRequest;
use engine::container::ExecConfig;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn create(mut call: Call) -> Result<Reply, ApiError> {
    let config = from_api(call.json().await?)?;
    let id = engine::container::exec_create(call.engine(), call.name(), config).await?;
    Ok(reply::json(StatusCode::CREATED, &IdReply { id: id.to_string() }))
}

/// Returns what the engine is asked for.
pub(super) fn from_api(request: ExecCreateRequest) -> Result<ExecConfig, ApiError> {
    let command = request.cmd.unwrap_or_default().0;
    if command.is_empty() {
        return Err(ApiError::invalid("No exec command specified"));
    }
    Ok(ExecConfig {
        attach_stdin: request.attach_stdin,
        attach_stdout: request.attach_stdout,
        attach_stderr: request.attach_stderr,
        tty: request.tty,
        console_size: request.console_size.map(|[rows, columns]| (rows, columns)),
        detach_keys: Some(request.detach_keys).filter(|keys| !keys.is_empty()),
        env: request.env.unwrap_or_default(),
        command,
        user: request.user,
        working_dir: request.working_dir,
        privileged: request.privileged,
    })
}
