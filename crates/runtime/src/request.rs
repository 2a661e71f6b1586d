//! What callers ask for and what they get.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use oci::rootfs::Rootfs;
use oci_spec::runtime::{LinuxNamespaceType, Process, Spec};
use rustix::process::Pid;

use crate::capability::MissingCapabilities;
use crate::error::CreateError;

/// A container to create. There is no default: every caller decides every field.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    /// The container's id, for hooks and messages.
    pub id: &'a str,
    /// The document. `root.path` is ignored in favour of `rootfs`; `linux.resources` and `linux.cgroupsPath` are the
    /// business of whoever made `cgroup`.
    pub spec: &'a Spec,
    /// The root file system to put together.
    pub rootfs: &'a Rootfs,
    /// The user as an image names it (`name`, `uid`, `name:group`, `uid:gid`; empty: `0`), looked up in the
    /// container's own files. `None`: the numbers of `process.user` as they are. HOME is set when the environment has
    /// none in both cases.
    pub user: Option<&'a str>,
    /// Extra groups by name or number, in addition to those of the user.
    pub groups: &'a [String],
    /// A compiled filter, an array of `struct sock_filter`; of `linux.seccomp` only the flags are used then. `None`:
    /// `linux.seccomp` is compiled now.
    pub seccomp_filter: Option<&'a [u8]>,
    /// Whether PID 1 is a small init of our own that reaps and forwards signals.
    pub init: bool,
    /// The standard streams.
    pub stdio: Stdio,
    /// When the program is started.
    pub gate: Gate,
    /// The cgroup to enter. `None`: the caller's own.
    pub cgroup: Option<&'a Cgroup>,
    /// The bundle directory, for the state that hooks read.
    pub bundle: &'a Path,
    /// How many descriptors from 3 on the program inherits (`--preserve-fds`, `LISTEN_FDS`); all others are closed.
    pub preserve_fds: u32,
    /// The signal that PID 1 gets when the calling thread ends (the shim: SIGKILL).
    pub parent_death_signal: Option<i32>,
    /// What happens with a capability that the caller does not have (only without a user namespace of its own).
    pub missing_capabilities: MissingCapabilities,
    /// Which ids the files of bind mounts show when the container has a user namespace of its own.
    pub bind_ids: BindIds,
    /// New namespaces that outlive the container: each is mounted over the file at its path, in the caller's mount
    /// namespace, before the program runs. After a failure the mounts may be there.
    pub pins: &'a [(LinuxNamespaceType, PathBuf)],
    /// Who connects the container with networks. `None`: nobody, it has what its namespace has.
    pub plug: Option<&'a dyn Plug>,
}

/// Connects containers with networks.
pub trait Plug: fmt::Debug {
    /// Plugs in the container whose network namespace is `namespace`, where the loopback interface of a new one is up;
    /// `process` is a pidfd of its PID 1.
    ///
    /// Is called once, in the caller's process and namespaces, while the container's process prepares itself; neither its
    /// network parameters are set nor its program is started before this has returned. A failure is that of the creation,
    /// and what was done outside of the namespace is then undone by whoever did it.
    fn plug(&self, namespace: BorrowedFd<'_>, process: BorrowedFd<'_>) -> Result<(), CreateError>;
}

/// A process to add to a running container.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// A pidfd of a process of the container (PID 1), whose namespaces are joined.
    pub target: BorrowedFd<'a>,
    /// The document of the container: which namespaces it has, its seccomp profile.
    pub spec: &'a Spec,
    /// The process.
    pub process: &'a Process,
    /// As [`CreateRequest::user`].
    pub user: Option<&'a str>,
    /// As [`CreateRequest::groups`].
    pub groups: &'a [String],
    /// Whether the process gets every capability of the container's user namespace and no seccomp filter.
    pub privileged: bool,
    /// As [`CreateRequest::seccomp_filter`].
    pub seccomp_filter: Option<&'a [u8]>,
    /// The standard streams.
    pub stdio: Stdio,
    /// The cgroup to enter.
    pub cgroup: Option<&'a Cgroup>,
    /// As [`CreateRequest::preserve_fds`].
    pub preserve_fds: u32,
    /// As [`CreateRequest::parent_death_signal`].
    pub parent_death_signal: Option<i32>,
    /// As [`CreateRequest::missing_capabilities`].
    pub missing_capabilities: MissingCapabilities,
}

/// The standard streams of a program.
#[derive(Debug)]
pub enum Stdio {
    /// The caller's own 0, 1 and 2.
    Inherit,
    /// These descriptors, closed in the caller once the program has them.
    Fds {
        /// Descriptor 0.
        stdin: OwnedFd,
        /// Descriptor 1.
        stdout: OwnedFd,
        /// Descriptor 2.
        stderr: OwnedFd,
    },
    /// A new terminal of the container's own devpts; its other end comes back as [`Created::console`].
    Terminal {
        /// Rows and columns.
        size: Option<(u16, u16)>,
    },
}

/// When the program is started.
#[derive(Debug)]
pub enum Gate {
    /// At once.
    Immediately,
    /// When [`crate::start()`] connects to this listening unix stream socket, which the child inherits.
    Held(OwnedFd),
}

/// Which ids the files of bind mounts show in a container with a user namespace of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindIds {
    /// As the mount's options say (`idmap`, `ridmap`); where that cannot be, creation fails.
    AsSpecified,
    /// Those on disk, by an idmapped mount. A source that cannot be idmapped is bound as it is, which is stricter, and
    /// a warning is recorded. An option `noidmap` asks for a plain bind.
    Idmapped,
}

/// A process that was created.
#[derive(Debug)]
pub struct Created {
    /// Its pid as the caller's PID namespace numbers it. With [`Gate::Immediately`] its `execve` has succeeded.
    pub pid: Pid,
    /// A pidfd of it. It is the caller's child.
    pub pidfd: OwnedFd,
    /// The engine's end of its terminal.
    pub console: Option<OwnedFd>,
    /// What was done otherwise than asked, for the person who asked.
    pub warnings: Vec<String>,
    /// Its mount namespace, for who wants to hold it beyond its end. `None` for another process of a container, or when the
    /// kernel would not open it.
    pub mounts: Option<OwnedFd>,
    /// Detached mounts that are not needed any more. Dropping them takes the kernel a while: do it off the hot path.
    pub leftovers: Vec<OwnedFd>,
}
