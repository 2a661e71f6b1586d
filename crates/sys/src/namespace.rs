//! Joining and leaving namespaces.
#![expect(
    unsafe_code,
    reason = "rustix's setns takes only link files, its unshare is marked unsafe"
)]

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::clone::CloneFlags;
use crate::error::{SyscallError, call, check};

/// Moves the calling thread into the namespace of the link file `fd` (then `kinds` is one kind or empty), or into
/// the namespaces `kinds` of the process behind the pidfd `fd` (Linux 5.8).
///
/// `NEWPID` moves only children made later. `NEWUSER` and `NEWTIME` need a single-threaded process.
pub fn setns(fd: BorrowedFd<'_>, kinds: CloneFlags) -> Result<(), SyscallError> {
    let raw = fd.as_raw_fd();
    // SAFETY: takes no pointers; namespaces change no memory of this process.
    let value = unsafe { libc::syscall(libc::SYS_setns, raw, kinds.bits()) };
    call!(check(value), "setns({raw}, {:#x})", kinds.bits()).map(drop)
}

/// Moves the calling process into new namespaces; `NEWPID` and `NEWTIME` move only children made later.
pub fn unshare(kinds: CloneFlags) -> Result<(), SyscallError> {
    // SAFETY: `CloneFlags` has only namespaces, so no table shared with another thread is split.
    let value = unsafe { libc::syscall(libc::SYS_unshare, kinds.bits()) };
    call!(check(value), "unshare({:#x})", kinds.bits()).map(drop)
}
