//! Namespaces that are made before anybody asks for a container: what takes the kernel longest is done by then.
//!
//! A process of the caller's, the holder, is in them and sleeps: with it they exist, and their id maps can be written. A
//! container is made by a process that shares the caller's memory, joins them, clones PID 1 as the caller's child, and ends:
//! PID 1 has all that the caller has planned.
//!
//! The holder belongs to no container and is in no cgroup of one. It never runs a program, and it ends when the caller
//! closes the socket.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use sys::clone::{CloneFlags, Cloned, Stack, aside, clone3};
use sys::namespace::setns;
use sys::process::exit_now;

use crate::channel::{Channel, Message};
use crate::child::fail;
use crate::create::{kill_and_reap, write_map};
use crate::error::{AtStep, CreateError, Result, Step};

/// The namespaces of a sandbox. The others cannot be made ahead: the mounts must be those of the moment of the start, PID 1
/// is the first process in its PID namespace, the cgroup namespace begins in the container's cgroup.
pub(crate) const KINDS: [(LinuxNamespaceType, CloneFlags); 4] = [
    (LinuxNamespaceType::User, CloneFlags::NEWUSER),
    (LinuxNamespaceType::Network, CloneFlags::NEWNET),
    (LinuxNamespaceType::Ipc, CloneFlags::NEWIPC),
    (LinuxNamespaceType::Uts, CloneFlags::NEWUTS),
];

/// Returns the kernel's flags of [`KINDS`].
pub(crate) fn flags() -> CloneFlags {
    KINDS
        .iter()
        .fold(CloneFlags::empty(), |flags, (_, flag)| flags | *flag)
}

/// New namespaces without a container.
#[derive(Debug)]
pub struct Sandbox {
    /// The holder's directory in `/proc`, which is of no other process when it has ended.
    holder: OwnedFd,
    pidfd: OwnedFd,
    stack: Stack,
    pub(crate) user: OwnedFd,
    pub(crate) network: OwnedFd,
    /// With its end the holder ends.
    socket: OwnedFd,
}

/// What [`make`] returns: in the caller the sandbox, in a new process its holder.
#[derive(Debug)]
pub enum Made {
    /// In the caller. The new process is its child, and its to reap.
    Sandbox(Sandbox),
    /// In the new process: its socket. It has to let go of everything else of the caller's, and then call [`hold`].
    Holder(OwnedFd),
}

/// Makes a sandbox. The caller must be the only thread of its process.
pub fn make() -> Result<Made> {
    let stack = Stack::new().at(Step::Namespace)?;
    let (ours, theirs) = sys::socket::pair(sys::socket::PairKind::Stream).at(Step::Sync)?;
    let (ready, childs) = Channel::pair()?;
    let (holder, pidfd) = match clone3(flags(), None).at(Step::Namespace)? {
        Cloned::Child => {
            drop((ours, ready));
            // As the container's first process: nobody may look into it.
            let made = sys::process::set_dumpable(false)
                .and_then(|()| sys::net::loopback_up())
                .at(Step::Network)
                .and_then(|()| childs.send_network());
            match made {
                Ok(()) => return Ok(Made::Holder(theirs)),
                Err(error) => fail(&childs, Err(error)),
            }
        }
        Cloned::Parent { pid, pidfd } => {
            let directory = sys::process::open_directory(pid.as_raw_nonzero().get());
            (directory.at(Step::Namespace)?, pidfd)
        }
    };
    drop(childs);
    match ready.receive()? {
        Message::Network => {}
        Message::Failed(error) => return Err(error),
        _ => return Err(lost()),
    }
    Ok(Made::Sandbox(Sandbox {
        user: open(&holder, "ns/user", OFlags::RDONLY)?,
        network: open(&holder, "ns/net", OFlags::RDONLY)?,
        holder,
        pidfd,
        stack,
        socket: ours,
    }))
}

impl Sandbox {
    /// Returns whether the container of `spec` is to have exactly such namespaces.
    pub fn fits(spec: &Spec) -> bool {
        let listed = spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.namespaces().as_deref());
        let listed = listed.unwrap_or_default();
        let is_new = |kind: LinuxNamespaceType| {
            listed
                .iter()
                .any(|namespace| namespace.typ() == kind && namespace.path().is_none())
        };
        // Hooks find a process of the container's from the first step on.
        spec.hooks().is_none()
            && listed.iter().all(|namespace| namespace.path().is_none())
            && KINDS.iter().all(|(kind, _)| is_new(*kind))
            && is_new(LinuxNamespaceType::Pid)
    }

    /// Writes the maps of the user namespace: once, before there is a container in it.
    pub fn map_ids(&self, spec: &Spec) -> Result<()> {
        let linux = spec.linux().as_ref();
        let maps = [
            ("uid_map", linux.and_then(|linux| linux.uid_mappings().as_deref())),
            ("gid_map", linux.and_then(|linux| linux.gid_mappings().as_deref())),
        ];
        for (file, map) in maps {
            let opened = open(&self.holder, file, OFlags::WRONLY)?;
            write_map(&opened, file, map.unwrap_or_default())?;
        }
        Ok(())
    }

    /// Clones the container's first process, which runs `child` on a copy of this process's memory and never returns.
    pub(crate) fn clone_first(
        &mut self,
        flags: CloneFlags,
        cgroup: Option<BorrowedFd<'_>>,
        child: &mut dyn FnMut() -> Infallible,
    ) -> Result<(Pid, OwnedFd)> {
        let mut cloned = None;
        let (stack, holder) = (&mut self.stack, &self.pidfd);
        let mut work = || {
            let made = setns(holder.as_fd(), self::flags())
                .and_then(|()| clone3(flags | CloneFlags::PARENT, cgroup));
            cloned = Some(match made {
                Ok(Cloned::Child) => match child() {},
                Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd)),
                Err(error) => Err(error),
            });
        };
        aside(stack, &mut work).at(Step::Namespace)?;
        let (pid, pidfd) = cloned.ok_or_else(lost)?.at(Step::Namespace)?;
        // It works beside the caller. Where there is one CPU, one waits for the other.
        sys::process::keep_off_this_cpu(pid, &pidfd).ok();
        Ok((pid, pidfd))
    }

    /// Returns the holder of a sandbox that is used up.
    pub fn into_holder(self) -> Holder {
        Holder {
            pidfd: self.pidfd,
            _socket: self.socket,
        }
    }
}

/// A holder that has nothing left to do. It is ended and reaped when this is dropped: that keeps a processor from a container
/// that has just begun, when it is done at once.
#[derive(Debug)]
pub struct Holder {
    pidfd: OwnedFd,
    /// With its end the holder would end by itself, at once.
    _socket: OwnedFd,
}

impl Drop for Holder {
    fn drop(&mut self) {
        kill_and_reap(self.pidfd.as_fd());
    }
}

/// Sleeps until the other end of `socket` is closed, and ends: to be called in the holder.
pub fn hold(socket: &OwnedFd) -> ! {
    let mut sockets = [PollFd::new(socket, PollFlags::IN)];
    rustix::event::poll(&mut sockets, None).ok();
    exit_now(0)
}

fn open(holder: &OwnedFd, file: &str, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::openat(holder, file, flags | OFlags::CLOEXEC, Mode::empty()).at_with(Step::Process, || {
        format!("open {file} of the process that holds the namespaces")
    })
}

fn lost() -> CreateError {
    CreateError::new(
        Step::Namespace,
        0,
        "the process that holds the namespaces ended early",
    )
}
