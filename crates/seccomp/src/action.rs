//! What the kernel does with a call.

use oci_spec::runtime::LinuxSeccompAction;

/// What happens to a call, the strictest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// It is carried out.
    Allow,
    /// It is carried out and logged.
    Log,
    /// A tracer decides, and is told the number.
    Trace(u16),
    /// A supervisor decides.
    Notify,
    /// It fails with this errno.
    Errno(u16),
    /// The thread gets SIGSYS.
    Trap,
    /// The thread is killed.
    KillThread,
    /// The process is killed.
    KillProcess,
}

impl Action {
    /// The greatest errno that the kernel returns unchanged (`MAX_ERRNO`).
    const MAX_ERRNO: u32 = 4095;

    /// Returns the filter's return value (`linux/seccomp.h`).
    pub fn value(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0x0000_0000,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | u32::from(errno),
            Self::Notify => 0x7fc0_0000,
            Self::Trace(data) => 0x7ff0_0000 | u32::from(data),
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// Returns the action that `SCMP_ACT_*` names, with `errno` where it takes one (`EPERM` if there is none).
    pub fn from_scmp(name: &str, errno: Option<u32>) -> Option<Self> {
        let data = u16::try_from(errno.unwrap_or(1).min(Self::MAX_ERRNO)).unwrap_or(1);
        Some(match name {
            "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Self::KillThread,
            "SCMP_ACT_KILL_PROCESS" => Self::KillProcess,
            "SCMP_ACT_TRAP" => Self::Trap,
            "SCMP_ACT_ERRNO" => Self::Errno(data),
            "SCMP_ACT_TRACE" => Self::Trace(data),
            "SCMP_ACT_LOG" => Self::Log,
            "SCMP_ACT_NOTIFY" => Self::Notify,
            "SCMP_ACT_ALLOW" => Self::Allow,
            _ => return None,
        })
    }

    /// As [`Self::from_scmp`], for the OCI document.
    pub fn from_oci(action: LinuxSeccompAction, errno: Option<u32>) -> Self {
        let data = u16::try_from(errno.unwrap_or(1).min(Self::MAX_ERRNO)).unwrap_or(1);
        match action {
            LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => Self::KillThread,
            LinuxSeccompAction::ScmpActKillProcess => Self::KillProcess,
            LinuxSeccompAction::ScmpActTrap => Self::Trap,
            LinuxSeccompAction::ScmpActErrno => Self::Errno(data),
            LinuxSeccompAction::ScmpActNotify => Self::Notify,
            LinuxSeccompAction::ScmpActTrace => Self::Trace(data),
            LinuxSeccompAction::ScmpActLog => Self::Log,
            LinuxSeccompAction::ScmpActAllow => Self::Allow,
        }
    }
}
