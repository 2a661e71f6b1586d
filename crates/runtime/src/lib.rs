//! The OCI runtime as a library: from an OCI document to PID 1 of a container, and more processes beside it.
//!
//! [`create`] makes a container with one `clone3`; [`exec`] adds a process; [`start`] lets a held one go. Parent and
//! child work at the same time and meet over one socket pair:
//!
//! ```text
//! parent (real root)                           child (PID 1 to be, in all its new namespaces)
//! clone3 ────────────────────────────────────▶ joins its v1 cgroups, mounts proc and sysfs detached, lo up
//! uid_map, gid_map ──── "mapped" ────────────▶ becomes root of its user namespace, devpts, tmpfs
//! overlay, binds, /dev as detached mounts
//! hooks createRuntime ── "mounts" + fds ─────▶ attaches them, pivot_root, masks
//! networks plugged in ── "plugged" ──────────▶ sysctls, hooks, user, terminal
//!                     ◀── "ready" (+ pty) ──── drops privileges, seccomp, execve
//!                     ◀── end of file: the program runs — or a failure: step, errno, text
//! ```
//!
//! With a sandbox ([`make_sandbox`], [`create_in`]) the user, network, IPC and UTS namespaces are there before there is a
//! request, and PID 1 is cloned into them.
//!
//! Single-threaded, no async, no helper programs (hooks excepted). The child runs normal Rust on its copy of the
//! memory, which is sound because the caller has one thread (see `sys::clone`). What is not supported is an error
//! that names it. This crate makes no policy: limits are the cgroup's, defaults the spec's. Start with [`create`].

mod between;
mod capability;
mod channel;
mod child;
mod copy_up;
mod create;
mod device;
mod error;
mod exec;
mod hook;
mod init;
mod mask;
mod mount;
mod namespace;
mod option;
mod overlay;
mod process;
mod program;
mod request;
mod rootfs;
mod sandbox;
mod shm;
mod start;
mod sysctl;
mod target;
mod user;

pub use crate::capability::{MissingCapabilities, capability_number};
pub use crate::create::{check, create, create_in};
pub use crate::error::{CreateError, Step};
pub use crate::exec::exec;
pub use crate::hook::{HookKind, run_hooks};
pub use crate::mount::JOINED_SHM;
pub use crate::request::{BindIds, CreateRequest, Created, ExecRequest, Gate, Plug, Stdio};
pub use crate::rootfs::{Looked, make_rootfs};
pub use crate::sandbox::{Holder, Made, Sandbox, hold, make as make_sandbox};
pub use crate::start::start;
pub use crate::user::{Identity, LookupError, look_up};
