//! File descriptors of the whole process: closing ranges, and adopting descriptors that were inherited by number.
#![expect(unsafe_code, reason = "descriptors are named by number here")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::error::{SyscallError, call, check};

/// What [`close_range`] does to each descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseRange {
    /// Closes it now.
    Now,
    /// Closes it at the next `execve`.
    OnExec,
}

/// Closes every descriptor from `first` to `last` (`RawFd::MAX`: all); nothing if `first` is greater.
///
/// For a process that is about to become another program. Every `OwnedFd` in the range that still exists in this
/// process must never be used or dropped again: the caller ends by `execve` or `_exit`.
pub fn close_range(first: RawFd, last: RawFd, how: CloseRange) -> Result<(), SyscallError> {
    if first > last {
        return Ok(());
    }
    let flags = match how {
        CloseRange::Now => 0,
        CloseRange::OnExec => libc::CLOSE_RANGE_CLOEXEC,
    };
    // SAFETY: takes no pointers; the documented contract keeps later owners from using a number that was given anew.
    let value = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    call!(check(value), "close_range({first}, {last}, {how:?})").map(drop)
}

/// Adopts a descriptor that this process inherited by number (`LISTEN_FDS`, a protocol's fixed number).
///
/// Fails with `EBADF` if it is not open. Sets close-on-exec. The caller must be the only one who adopts it.
pub fn adopt(raw: RawFd) -> Result<OwnedFd, SyscallError> {
    if raw < 0 {
        return Err(SyscallError::new(
            format!("fcntl({raw}, F_GETFD)"),
            rustix::io::Errno::BADF,
        ));
    }
    // SAFETY: the number is not negative; the borrow lives only for the calls below, which fail when it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    let flags = call!(rustix::io::fcntl_getfd(borrowed), "fcntl({raw}, F_GETFD)")?;
    call!(
        rustix::io::fcntl_setfd(borrowed, flags | rustix::io::FdFlags::CLOEXEC),
        "fcntl({raw}, F_SETFD)"
    )?;
    // SAFETY: the descriptor is open (checked above) and by the documented contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Asks the kernel to begin writing `length` bytes of a file from `offset` on to the disk, and does not wait for it.
///
/// Not a sync: nothing is promised of what is on the disk afterwards. It spreads the work that a later sync has.
pub fn start_write_back(fd: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), SyscallError> {
    let raw = fd.as_raw_fd();
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    // SAFETY: takes no pointers, and the descriptor is borrowed, so it is open.
    let value =
        unsafe { libc::sync_file_range(raw, signed(offset), signed(length), libc::SYNC_FILE_RANGE_WRITE) };
    call!(
        check(value.into()),
        "sync_file_range({raw}, {offset}, {length}, SYNC_FILE_RANGE_WRITE)"
    )
    .map(drop)
}

/// Makes `fd` available as the number `target` (closing what was there) without close-on-exec.
pub fn dup2_inheritable(fd: BorrowedFd<'_>, target: RawFd) -> Result<(), SyscallError> {
    let raw = fd.as_raw_fd();
    if raw == target {
        return call!(
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()),
            "fcntl({raw}, F_SETFD, 0)"
        );
    }
    dup3(raw, target, 0)
}

/// Makes `fd` available as the number `target` (closing what was there) with close-on-exec.
pub fn dup2_cloexec(fd: BorrowedFd<'_>, target: RawFd) -> Result<(), SyscallError> {
    if fd.as_raw_fd() == target {
        return Ok(());
    }
    dup3(fd.as_raw_fd(), target, libc::O_CLOEXEC)
}

fn dup3(raw: RawFd, target: RawFd, flags: i32) -> Result<(), SyscallError> {
    loop {
        // SAFETY: takes no pointers. The callers use it for the standard streams and numbers of their own choosing in
        // a process that is about to become another program.
        let value = unsafe { libc::dup3(raw, target, flags) };
        match check(value.into()) {
            Err(rustix::io::Errno::INTR) => {}
            result => return call!(result, "dup3({raw}, {target}, {flags:#x})").map(drop),
        }
    }
}

/// Borrows one of the standard descriptors 0, 1 or 2, or any other number that the caller keeps open.
///
/// Fails with `EBADF` when it is not open now.
pub fn borrow(raw: RawFd) -> Result<BorrowedFd<'static>, SyscallError> {
    if raw < 0 {
        return Err(SyscallError::new(
            format!("fcntl({raw}, F_GETFD)"),
            rustix::io::Errno::BADF,
        ));
    }
    // SAFETY: not negative; that it is open is checked next and kept by the documented contract.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    call!(rustix::io::fcntl_getfd(borrowed), "fcntl({raw}, F_GETFD)")?;
    Ok(borrowed)
}
