//! Namespaces that are made before anybody asks for a container: what takes the kernel longest is done by then.
//!
//! ```text
//! caller                       holder (a process of the caller's, in new namespaces)
//! make ──────────────────────▶ loopback up; waits for what the caller tells it, in the caller's own words
//! create_in: id maps,
//!            hand_over ──────▶ run_in: the same plan, made from the same request
//! mounts                       clones PID 1 as the caller's child, tells its pid, ends
//!            ◀────────────────
//! ```
//!
//! The holder belongs to no container and is in no cgroup of one. It never runs a program, and it ends when the caller
//! closes the socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use sys::clone::{CloneFlags, Cloned, clone3};
use sys::process::exit_now;

use crate::channel::{Channel, Message};
use crate::child::{self, fail};
use crate::create::{make_plan, write_map};
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
    let holder = match clone3(flags(), None).at(Step::Namespace)? {
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
        Cloned::Parent { pid, .. } => {
            sys::process::open_directory(pid.as_raw_nonzero().get()).at(Step::Namespace)?
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
}

/// Makes the container of `request` in the holder's namespaces: to be called in the holder, with the request that the caller
/// gives to [`crate::create_in`] and the channel that it hands over. Never returns.
pub fn run_in(request: CreateRequest<'_>, channel: OwnedFd) -> ! {
    let channel = Channel::over(channel);
    rustix::process::umask(Mode::empty());
    let plan = match make_plan(&request, &mut Vec::new()) {
        Ok(plan) => plan.in_sandbox(),
        Err(error) => fail(&channel, Err(error)),
    };
    let into = plan.entry.as_ref().and_then(|entry| entry.unified());
    let flags = plan.namespaces.clone_flags() | CloneFlags::PARENT;
    match clone3(flags, into).at(Step::Namespace) {
        Ok(Cloned::Child) => child::run(&plan, channel, request.stdio, request.gate),
        Ok(Cloned::Parent { pid, pidfd }) => {
            let sent = channel.send_pid(pid, pidfd.as_fd());
            exit_now(i32::from(sent.is_err()))
        }
        Err(error) => fail(&channel, Err(error)),
    }
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
