//! Namespaces that are made before anybody asks for a container: what takes the kernel longest is done by then.
//!
//! ```text
//! caller                       holder (a process of the caller's, in new namespaces)
//! make ──────────────────────▶ loopback up; waits for what the caller tells it, in the caller's own words
//! create_in: id maps,
//!            hand_over ──────▶ run_in: the same plan, made from the same request
//! mounts                       clones PID 1 as the caller's child, tells its pid, waits
//!            ◀────────────────
//! into_holder: dropped, when
//! there is time ─────────────▶ ends
//! ```
//!
//! The holder belongs to no container and is in no cgroup of one. It never runs a program, and it ends when the caller
//! closes the socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use sys::clone::{CloneFlags, Cloned, clone3};
use sys::process::exit_now;

use crate::channel::{Channel, Message};
use crate::child::{self, fail};
use crate::create::{kill_and_reap, make_plan, write_map};
use crate::error::{AtStep, CreateError, Result, Step};
use crate::request::CreateRequest;

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
    pid: Pid,
    pidfd: OwnedFd,
    pub(crate) user: OwnedFd,
    pub(crate) network: OwnedFd,
    socket: OwnedFd,
}

/// What [`make`] returns: in the caller the sandbox, in a new process its holder.
#[derive(Debug)]
pub enum Made {
    /// In the caller. The new process is its child, and its to reap.
    Sandbox(Sandbox),
    /// In the new process: the socket to the caller. It has to wait there, and then call [`run_in`] or end.
    Holder(OwnedFd),
}

/// Makes a sandbox. The caller must be the only thread of its process.
pub fn make() -> Result<Made> {
    let (ours, theirs) = sys::socket::pair(sys::socket::PairKind::Stream).at(Step::Sync)?;
    let (ready, childs) = Channel::pair()?;
    let (holder, pid, pidfd) = match clone3(flags(), None).at(Step::Namespace)? {
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
            (directory.at(Step::Namespace)?, pid, pidfd)
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
        pid,
        pidfd,
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

    /// Writes the maps of the user namespace.
    pub(crate) fn map_ids(&self, spec: &Spec) -> Result<()> {
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

    /// Returns the socket to the holder, a stream.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Lets the holder work beside the caller, who is about to wake it. Where there is one CPU, one waits for the other.
    pub fn keep_beside(&self) {
        sys::process::keep_off_this_cpu(self.pid, &self.pidfd).ok();
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

/// Makes the container of `request` in the holder's namespaces: to be called in the holder, with the request that the caller
/// gives to [`crate::create_in`] and the channel that it hands over. Never returns: the holder ends with its socket.
pub fn run_in(request: CreateRequest<'_>, channel: OwnedFd, socket: BorrowedFd<'_>) -> ! {
    let channel = Channel::over(channel);
    rustix::process::umask(Mode::empty());
    let plan = match make_plan(&request, &mut Vec::new()) {
        Ok(plan) => plan.in_sandbox(),
        Err(error) => fail(&channel, Err(error)),
    };
    let into = plan.entry.as_ref().and_then(|entry| entry.unified());
    let flags = plan.namespaces.clone_flags() | CloneFlags::PARENT;
    match clone3(flags, into).at(Step::Namespace) {
        Ok(Cloned::Child) => {
            // From here on it is the container's, on every CPU that its group has.
            if let Err(error) = sys::process::reset_cpu_affinity().at(Step::Process) {
                fail(&channel, Err(error));
            }
            child::run(&plan, channel, request.stdio, request.gate)
        }
        Ok(Cloned::Parent { pid, pidfd }) => {
            let sent = channel.send_pid(pid, pidfd.as_fd());
            // Their last ends are the container's.
            drop((channel, pidfd, request.stdio, request.gate));
            if sent.is_ok() {
                wait_for_end(socket);
            }
            exit_now(i32::from(sent.is_err()))
        }
        Err(error) => fail(&channel, Err(error)),
    }
}

/// Waits until the other end of `socket` is closed; whatever else happens ends the holder too.
fn wait_for_end(socket: BorrowedFd<'_>) {
    let mut sockets = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    rustix::event::poll(&mut sockets, None).ok();
}

fn open(holder: &OwnedFd, file: &str, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::openat(holder, file, flags | OFlags::CLOEXEC, Mode::empty()).at_with(Step::Process, || {
        format!("open {file} of the process that holds the namespaces")
    })
}

/// Waits for the pid of the container's first process.
pub(crate) fn receive_pid(channel: &Channel) -> Result<(Pid, OwnedFd)> {
    match channel.receive()? {
        Message::Pid(pid, pidfd) => Ok((Pid::from_raw(pid).ok_or_else(lost)?, pidfd)),
        Message::Failed(error) => Err(error),
        _ => Err(lost()),
    }
}

fn lost() -> CreateError {
    CreateError::new(
        Step::Namespace,
        0,
        "the process that holds the namespaces ended early",
    )
}
