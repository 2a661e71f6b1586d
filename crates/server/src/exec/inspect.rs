//! `GET /exec/{id}/json`.

use api_types::exec::{ExecInspect, ProcessConfig};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn inspect(call: Call) -> Result<Reply, ApiError> {
    let details = engine::container::exec_inspect(call.engine(), call.name()).await?;
    let config = details.config;
    let mut command = config.command.into_iter();
    Ok(reply::ok(&ExecInspect {
        id: details.id.to_string(),
        running: details.running,
        exit_code: details.exit_code,
        process_config: ProcessConfig {
            tty: config.tty,
            entrypoint: command.next().unwrap_or_default(),
            arguments: Some(command.collect()),
            privileged: Some(config.privileged),
            user: config.user,
        },
        open_stdin: config.attach_stdin,
        open_stderr: config.attach_stderr,
        open_stdout: config.attach_stdout,
        can_remove: false,
        container_id: details.container_id.to_string(),
        detach_keys: config.detach_keys.unwrap_or_default(),
        pid: details.pid.into(),
    }))
}
