//! More processes in a running container.

use std::os::fd::OwnedFd;

use base::clock::Timestamp;
use base::error::chain;
use runtime::MissingCapabilities;
use shim_api::message::{ExecRequest, Failure, Reply};
use shim_api::task::Task;

use crate::client::{Client, Patience};
use crate::container::{Container, Phase};
use crate::launch::{failure, failure_of, io_failure, read_filter};
use crate::session::{Kind, Owner, Session};

/// A task document is never larger.
const LARGEST_DOCUMENT: u64 = 16 << 20;

/// Reads the task document again.
pub(crate) fn read_task(container: &Container) -> Result<Task, Failure> {
    let path = &container.document;
    let bytes = base::file::read_optional(path, LARGEST_DOCUMENT)
        .map_err(|error| failure("document", chain(&error).to_string()))?
        .ok_or_else(|| failure("document", format!("\"{}\" does not exist", path.display())))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| failure("document", format!("decode \"{}\": {error}", path.display())))
}

/// Runs the process that `request` asks for.
pub(crate) fn exec(
    container: &Container,
    request: &ExecRequest,
    stream: Option<OwnedFd>,
) -> Result<(Session, Reply), Failure> {
    let Phase::Running(run) = &container.phase else {
        return Err(Failure {
            errno: libc::ESRCH,
            ..failure("exec", "the container is not running")
        });
    };
    let task = read_task(container)?;
    let filter = if request.privileged {
        None
    } else {
        read_filter(task.seccomp_filter.as_deref())?
    };
    let is_terminal = request.process.terminal().unwrap_or(false);
    let kind = match &request.attach {
        _ if is_terminal => Kind::Terminal,
        Some(options) => Kind::Pipes { stdin: options.stdin },
        None => Kind::Null,
    };
    let (stdio, mut session) = Session::open(kind, request.console_size, true)
        .map_err(|error| io_failure("process", "make the standard streams", &error))?;
    if let (Some(options), Some(stream)) = (&request.attach, stream) {
        session.clients.push(Client::new(
            stream,
            options.clone(),
            is_terminal,
            Patience::Reader,
        ));
    }
    let created = runtime::exec(runtime::ExecRequest {
        target: std::os::fd::AsFd::as_fd(&run.pidfd),
        spec: &task.spec,
        process: &request.process,
        user: request.user.as_deref(),
        groups: &request.groups,
        privileged: request.privileged,
        seccomp_filter: filter.as_deref(),
        stdio,
        cgroup: container.cgroup.as_ref(),
        preserve_fds: 0,
        parent_death_signal: Some(libc::SIGKILL),
        missing_capabilities: MissingCapabilities::Drop,
    })
    .map_err(|error| failure_of(&error))?;
    if let Some(console) = created.console {
        session
            .set_console(console)
            .map_err(|error| io_failure("terminal", "use the terminal", &error))?;
    }
    let pid = created.pid.as_raw_nonzero().get();
    session.owner = Owner::Exec {
        id: request.id.clone(),
        pid,
        pidfd: created.pidfd,
    };
    Ok((
        session,
        Reply::Started {
            pid,
            started_at: Timestamp::now(),
            warnings: created.warnings,
        },
    ))
}
