//! What state a container is in, found out from the kernel each time.
//!
//! ```text
//!   create ──▶ created ──start──▶ running ◀──pause/resume──▶ paused
//!                 └────────────── PID 1 ends ──────────────▶ stopped ──delete──▶ (gone)
//! ```

use std::fmt;
use std::os::fd::OwnedFd;

use cgroup::Cgroup;
use oci_spec::runtime::{ContainerState, State};
use rustix::process::{Pid, PidfdFlags};
use serde::Serialize;

use crate::error::{CommandError, Context};
use crate::groups;
use crate::store::{Entry, Record};

/// The state of a container, with the names of the OCI specification and runc's `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// PID 1 waits for `start`.
    Created,
    /// The program runs.
    Running,
    /// The program was paused.
    Paused,
    /// PID 1 has ended.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        })
    }
}

/// A container with its facts.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) entry: Entry,
    pub(crate) record: Record,
}

impl Container {
    /// Reads the container's facts.
    pub(crate) fn load(globals: &crate::globals::Globals, id: &str) -> Result<Self, CommandError> {
        let entry = Entry::open(globals, id)?;
        let record = entry.load()?;
        Ok(Self { entry, record })
    }

    /// Returns the state.
    pub(crate) fn status(&self) -> Result<Status, CommandError> {
        if start_time(self.record.pid) != Some(self.record.pid_start_time) {
            return Ok(Status::Stopped);
        }
        if self.entry.is_held() {
            return Ok(Status::Created);
        }
        match self.cgroup()? {
            Some(group) if group.is_frozen().unwrap_or(false) => Ok(Status::Paused),
            _ => Ok(Status::Running),
        }
    }

    /// Returns the cgroup, if the container has one that still exists.
    pub(crate) fn cgroup(&self) -> Result<Option<Cgroup>, CommandError> {
        self.record.cgroup.as_deref().map_or(Ok(None), groups::open)
    }

    /// Returns the cgroup, or an error that `doing` needs one.
    pub(crate) fn need_cgroup(&self, doing: &str) -> Result<Cgroup, CommandError> {
        self.cgroup()?.ok_or_else(|| {
            CommandError::new(format!(
                "cannot {doing} container {}: it has no cgroup",
                self.entry.id()
            ))
        })
    }

    /// Returns a pidfd of PID 1, `None` if it has ended.
    pub(crate) fn pidfd(&self) -> Result<Option<OwnedFd>, CommandError> {
        let Some(pid) = Pid::from_raw(self.record.pid) else {
            return Ok(None);
        };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            pidfd => pidfd.context(|| format!("open process {}", self.record.pid))?,
        };
        // Compared after opening: the pidfd pins the process, so what holds now holds for it.
        Ok((start_time(self.record.pid) == Some(self.record.pid_start_time)).then_some(pidfd))
    }

    /// Returns the state document that hooks read.
    pub(crate) fn oci_state(&self, status: Status) -> State {
        let mut state = State::default();
        state
            .set_version(self.record.oci_version.clone())
            .set_id(self.record.id.clone())
            .set_status(match status {
                Status::Created => ContainerState::Created,
                Status::Running | Status::Paused => ContainerState::Running,
                Status::Stopped => ContainerState::Stopped,
            })
            .set_pid((status != Status::Stopped).then_some(self.record.pid))
            .set_bundle(self.record.bundle.clone())
            .set_annotations(Some(self.record.annotations.clone()));
        state
    }
}

/// Returns when process `pid` was made, in clock ticks since boot (field 22 of proc(5)'s `stat`); `None` if there is no
/// such process or it has ended and only waits to be reaped.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name, may hold anything, also spaces and parentheses.
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_tell_processes_apart() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).is_some());
        assert_eq!(start_time(own), start_time(own));
        assert_eq!(start_time(i32::MAX), None);
    }
}
