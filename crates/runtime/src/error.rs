//! Why a container or a process could not be made: the step, the errno and one line.

use std::fmt;

use base::error::{Kind, Kinded};
use sys::SyscallError;

/// The step that failed; its name is part of the shim's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// The document asks for something impossible or not supported.
    Spec,
    /// A namespace could not be made or joined.
    Namespace,
    /// The maps of the user namespace could not be written.
    Idmap,
    /// The cgroup could not be entered.
    Cgroup,
    /// The root file system could not be put together.
    Rootfs,
    /// A mount could not be made or placed.
    Mount,
    /// A device node could not be made.
    Device,
    /// A path could not be masked or made read-only.
    Mask,
    /// A kernel parameter could not be set.
    Sysctl,
    /// The loopback interface could not be brought up.
    Network,
    /// The host or domain name could not be set.
    Hostname,
    /// A hook failed.
    Hook,
    /// The terminal could not be made.
    Terminal,
    /// The user or a group could not be found or taken on.
    User,
    /// The working directory could not be entered.
    Cwd,
    /// A resource limit could not be set.
    Rlimit,
    /// A capability could not be given or taken.
    Capability,
    /// The seccomp filter could not be compiled or installed.
    Seccomp,
    /// The program could not be run.
    Exec,
    /// Parent and child lost each other.
    Sync,
    /// Another attribute of the process could not be set.
    Process,
}

impl Step {
    const ALL: [Self; 21] = [
        Self::Spec,
        Self::Namespace,
        Self::Idmap,
        Self::Cgroup,
        Self::Rootfs,
        Self::Mount,
        Self::Device,
        Self::Mask,
        Self::Sysctl,
        Self::Network,
        Self::Hostname,
        Self::Hook,
        Self::Terminal,
        Self::User,
        Self::Cwd,
        Self::Rlimit,
        Self::Capability,
        Self::Seccomp,
        Self::Exec,
        Self::Sync,
        Self::Process,
    ];

    /// Returns the step's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spec => "spec",
            Self::Namespace => "namespace",
            Self::Idmap => "idmap",
            Self::Cgroup => "cgroup",
            Self::Rootfs => "rootfs",
            Self::Mount => "mount",
            Self::Device => "device",
            Self::Mask => "mask",
            Self::Sysctl => "sysctl",
            Self::Network => "network",
            Self::Hostname => "hostname",
            Self::Hook => "hook",
            Self::Terminal => "terminal",
            Self::User => "user",
            Self::Cwd => "cwd",
            Self::Rlimit => "rlimit",
            Self::Capability => "capability",
            Self::Seccomp => "seccomp",
            Self::Exec => "exec",
            Self::Sync => "sync",
            Self::Process => "process",
        }
    }

    pub(crate) fn to_byte(self) -> u8 {
        let position = Self::ALL.iter().position(|step| *step == self);
        position.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A container or process could not be made. Nothing of it is left.
///
/// It may have failed in the child, so the cause is text and not an error of its own. `Display` is the message alone;
/// callers that show the step have it in [`Self::step`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CreateError {
    step: Step,
    errno: i32,
    message: String,
}

impl CreateError {
    /// Returns the error of `step`, caused by `errno` (0: none).
    pub fn new(step: Step, errno: i32, message: impl Into<String>) -> Self {
        Self {
            step,
            errno,
            message: message.into(),
        }
    }

    /// Returns the step that failed.
    pub fn step(&self) -> Step {
        self.step
    }

    /// Returns the errno, 0 if there was none. [`Step::Exec`] with ENOENT is exit code 127, any other of that step 126.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// Returns what failed on what and why, as one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn spec(message: impl Into<String>) -> Self {
        Self::new(Step::Spec, 0, message)
    }

    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new(Step::Spec, libc::ENOTSUP, format!("{what} is not supported"))
    }
}

impl Kinded for CreateError {
    fn kind(&self) -> Kind {
        match (self.step, self.errno) {
            (_, libc::ENOTSUP | libc::ENOSYS) => Kind::Unsupported,
            (Step::Spec | Step::User | Step::Cwd | Step::Sysctl, _) => Kind::Invalid,
            (Step::Exec, libc::ENOENT | libc::EACCES | libc::ENOTDIR | libc::ENOEXEC | libc::EISDIR) => {
                Kind::Invalid
            }
            (_, 0) => Kind::Internal,
            (_, errno) => base::error::kind_of_io(&std::io::Error::from_raw_os_error(errno)),
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, CreateError>;

/// Gives a failed call the step it belongs to and what it was done for.
pub(crate) trait AtStep<T> {
    /// Adds the step.
    fn at(self, step: Step) -> Result<T>;

    /// Adds the step and what was being done; `what` is made only on failure.
    fn at_with(self, step: Step, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> AtStep<T> for std::result::Result<T, SyscallError> {
    fn at(self, step: Step) -> Result<T> {
        self.map_err(|error| CreateError::new(step, error.raw_errno(), error.to_string()))
    }

    fn at_with(self, step: Step, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| CreateError::new(step, error.raw_errno(), format!("{}: {error}", what())))
    }
}

impl<T> AtStep<T> for rustix::io::Result<T> {
    fn at(self, step: Step) -> Result<T> {
        self.map_err(|errno| CreateError::new(step, errno.raw_os_error(), errno.to_string()))
    }

    fn at_with(self, step: Step, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| CreateError::new(step, errno.raw_os_error(), format!("{}: {errno}", what())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_travel_as_bytes() {
        for step in Step::ALL {
            assert_eq!(Step::from_byte(step.to_byte()), Some(step));
        }
        assert_eq!(Step::from_byte(200), None);
    }
}
