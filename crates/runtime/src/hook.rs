//! OCI hooks: the only programs that the runtime runs beside the container's own.

use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use oci_spec::runtime::{Hook, Hooks, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{CreateError, Result, Step};

/// The kinds of hooks; where each one runs is in the OCI runtime specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Deprecated: as [`Self::CreateRuntime`].
    Prestart,
    /// When the namespaces exist, in the caller's namespaces.
    CreateRuntime,
    /// Before the root is changed, in the container's namespaces.
    CreateContainer,
    /// Just before the program, in the container's namespaces and root.
    StartContainer,
    /// After the program was started, in the caller's namespaces.
    Poststart,
    /// After the container was deleted, in the caller's namespaces.
    Poststop,
}

impl HookKind {
    fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    fn of(self, hooks: &Hooks) -> &[Hook] {
        let listed = match self {
            Self::Prestart => hooks.prestart(),
            Self::CreateRuntime => hooks.create_runtime(),
            Self::CreateContainer => hooks.create_container(),
            Self::StartContainer => hooks.start_container(),
            Self::Poststart => hooks.poststart(),
            Self::Poststop => hooks.poststop(),
        };
        listed.as_deref().unwrap_or_default()
    }
}

/// Runs the hooks of one kind, in order, with `state` as JSON on their stdin.
///
/// The first one that fails or takes longer than its timeout is an error of [`Step::Hook`]; the rest is not run.
/// [`create`](crate::create()) runs all kinds but [`HookKind::Poststart`] and [`HookKind::Poststop`] itself.
pub fn run_hooks(kind: HookKind, hooks: Option<&Hooks>, state: &State) -> Result<()> {
    let hooks = hooks.map(|hooks| kind.of(hooks)).unwrap_or_default();
    if hooks.is_empty() {
        return Ok(());
    }
    let document = serde_json::to_vec(state)
        .map_err(|error| CreateError::new(Step::Hook, 0, format!("the state for hooks: {error}")))?;
    // Creation runs with an empty mask, which no hook should make its files with.
    let umask = rustix::process::umask(Mode::from_raw_mode(0o022));
    let result = hooks.iter().enumerate().try_for_each(|(index, hook)| {
        run(hook, &document).map_err(|why| {
            let path = hook.path().display();
            CreateError::new(
                Step::Hook,
                0,
                format!("{} hook {index} ({path}): {why}", kind.name()),
            )
        })
    });
    rustix::process::umask(umask);
    result
}

/// Returns whether there is a hook of this kind.
pub(crate) fn any(kind: HookKind, hooks: Option<&Hooks>) -> bool {
    hooks.is_some_and(|hooks| !kind.of(hooks).is_empty())
}

fn run(hook: &Hook, state: &[u8]) -> std::result::Result<(), String> {
    use std::os::unix::process::CommandExt;
    if !hook.path().is_absolute() {
        return Err("the path is not absolute".to_owned());
    }
    let text = |error: &dyn std::error::Error| error.to_string();
    let errors = rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC).map_err(|errno| errno.to_string())?;
    let mut errors = std::fs::File::from(errors);
    let mut command = Command::new(hook.path());
    let arguments = hook.args().as_deref().unwrap_or_default();
    if let Some((name, rest)) = arguments.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    for variable in hook.env().as_deref().unwrap_or_default() {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(errors.try_clone().map_err(|error| text(&error))?);
    let mut child = command.spawn().map_err(|error| text(&error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its stdin.
        match stdin.write_all(state) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(text(&error)),
            _ => {}
        }
    }
    let timeout = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok());
    if let Some(seconds) = timeout.filter(|&seconds| seconds > 0)
        && !ends_within(child.id(), Duration::from_secs(seconds))
    {
        drop(child.kill());
        drop(child.wait());
        return Err(format!("it did not end within {seconds} s"));
    }
    let status = child.wait().map_err(|error| text(&error))?;
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    if errors.rewind().is_ok() {
        drop(errors.take(1000).read_to_end(&mut said));
    }
    let said = String::from_utf8_lossy(&said);
    Err(format!("{status} {}", said.trim()).trim_end().to_owned())
}

fn ends_within(pid: u32, timeout: Duration) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(Ok(pidfd)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
        return false;
    };
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))),
        Ok(1..)
    )
}
