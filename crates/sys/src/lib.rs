//! The fence: every system call that rustix does not give, all `unsafe` of Berth, and paths below a root.
//!
//! What rustix has safely (`mknodat`, xattrs, `ioctl_ficlone`, `syncfs`, `SeekFrom::Data`, inotify, prctl, rlimits,
//! `pidfd_open`, fsopen and its kin, terminals) is used from rustix directly; a module here exists only where
//! rustix has no call, an unsafe one, or one that a hostile tree could turn against us. Functions carry the name of
//! their system call, set `CLOEXEC`, retry `EINTR`, and fail with a [`SyscallError`] that shows the call as strace
//! would.
//!
//! This crate knows nothing of containers: no policy, no paths of Berth, no state. Start with [`path::Root`].

pub mod bpf;
pub mod clone;
pub mod credentials;
mod entry;
pub mod error;
pub mod executable;
pub mod fd;
pub mod keyctl;
pub mod memory;
pub mod mmsg;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod netlink;
pub mod path;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod socket_namespace;
pub mod tty;

pub use error::SyscallError;
