//! Joining and leaving namespaces.
#![expect(
    unsafe_code,
    reason = "rustix's setns takes only link files, its unshare is marked unsafe"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

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

/// `NS_GET_USERNS` of linux/nsfs.h: `_IO(0xb7, 0x1)`.
const GET_OWNER: libc::Ioctl = 0xb701;

/// Returns the user namespace that owns the namespace of the link file `fd`. Fails with `EPERM` when it is not the
/// caller's or one below it.
pub fn owner(fd: BorrowedFd<'_>) -> Result<OwnedFd, SyscallError> {
    let raw = fd.as_raw_fd();
    // SAFETY: takes no argument, so no pointer.
    let value = unsafe { libc::ioctl(raw, GET_OWNER) };
    let owner = call!(check(value.into()), "ioctl({raw}, NS_GET_USERNS)")?;
    let owner = libc::c_int::try_from(owner).unwrap_or(-1);
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(owner) })
}
