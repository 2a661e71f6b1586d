//! A process between the caller and what it wants: it goes where the caller cannot come back from (setns(2)) or should
//! leave nothing, does one thing there, hands it back by a channel and ends.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Pid;
use sys::clone::{CloneFlags, Cloned, clone3};

use crate::channel::{Channel, Message};
use crate::error::{AtStep, CreateError, Result, Step};

/// Returns the detached mount that `make` returns in a process of its own, in the new namespaces of `flags`. `doing`
/// is what the process does, for the message if it is killed.
pub(crate) fn detached_mount(
    flags: CloneFlags,
    step: Step,
    doing: &str,
    make: impl FnOnce() -> Result<OwnedFd>,
) -> Result<OwnedFd> {
    let (channel, theirs) = Channel::pair()?;
    let between = match clone3(flags, None).at(step)? {
        Cloned::Child => {
            let sent = make().and_then(|tree| theirs.send_mounts(&[tree.as_fd()]));
            if let Err(error) = &sent {
                theirs.send_error(error);
            }
            sys::process::exit_now(i32::from(sent.is_err()));
        }
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    drop(theirs);
    let message = channel.receive();
    sys::process::wait_pidfd(between.as_fd()).at(step)?;
    let tree = match message? {
        Message::Mounts { mut fds, .. } => fds.pop(),
        Message::Failed(error) => return Err(error),
        _ => None,
    };
    tree.ok_or_else(|| CreateError::new(step, 0, format!("{doing}: the process between ended early")))
}

/// Clones the container's process by one between. `clone` runs there; it enters the namespaces and clones with
/// `CLONE_PARENT`, so that the new process is the caller's child. Returns in the caller and in the new process.
pub(crate) fn cloned_sibling(
    cgroup: Option<BorrowedFd<'_>>,
    channel: &Channel,
    childs: &Channel,
    clone: impl FnOnce() -> Result<Cloned>,
) -> Result<Cloned> {
    let between = match clone3(CloneFlags::empty(), cgroup).at(Step::Namespace)? {
        Cloned::Child => match clone() {
            Ok(Cloned::Child) => return Ok(Cloned::Child),
            Ok(Cloned::Parent { pid, pidfd }) => {
                let sent = childs.send_pid(pid, pidfd.as_fd());
                sys::process::exit_now(i32::from(sent.is_err()));
            }
            Err(error) => {
                childs.send_error(&error);
                sys::process::exit_now(1);
            }
        },
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    let message = channel.receive();
    sys::process::wait_pidfd(between.as_fd()).at(Step::Namespace)?;
    match message? {
        Message::Pid(pid, pidfd) => {
            let pid = Pid::from_raw(pid).ok_or_else(|| CreateError::new(Step::Namespace, 0, "pid 0"))?;
            Ok(Cloned::Parent { pid, pidfd })
        }
        Message::Failed(error) => Err(error),
        _ => Err(CreateError::new(
            Step::Namespace,
            0,
            "the process between ended early",
        )),
    }
}
