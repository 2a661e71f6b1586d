//! Installing a compiled seccomp filter.
#![expect(unsafe_code, reason = "seccomp takes a C structure with a pointer")]

use std::os::fd::{FromRawFd, OwnedFd};

use crate::error::{SyscallError, call, check};

/// Flags of [`set_mode_filter`], as the kernel numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterFlags(
    /// The bits.
    pub u32,
);

impl FilterFlags {
    /// Every thread of the process gets the filter.
    pub const TSYNC: Self = Self(1);
    /// Actions other than allow are logged.
    pub const LOG: Self = Self(1 << 1);
    /// No speculation-store-bypass mitigation comes with the filter.
    pub const SPEC_ALLOW: Self = Self(1 << 2);
    /// Returns a listener for user notification.
    pub const NEW_LISTENER: Self = Self(1 << 3);
    /// A notified task waits killably (Linux 5.19).
    pub const WAIT_KILLABLE_RECV: Self = Self(1 << 5);
}

impl std::ops::BitOr for FilterFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const SECCOMP_SET_MODE_FILTER: libc::c_int = 1;

/// Installs `program`, an array of `struct sock_filter` (8 bytes each, native byte order), on the calling thread.
///
/// Needs no_new_privs or CAP_SYS_ADMIN. Returns the listener with [`FilterFlags::NEW_LISTENER`].
pub fn set_mode_filter(program: &[u8], flags: FilterFlags) -> Result<Option<OwnedFd>, SyscallError> {
    let text = || {
        format!(
            "seccomp(SET_MODE_FILTER, {:#x}, {} bytes)",
            flags.0,
            program.len()
        )
    };
    let (length, 0) = (program.len() / 8, program.len() % 8) else {
        return Err(SyscallError::new(text(), rustix::io::Errno::INVAL));
    };
    let Ok(length) = u16::try_from(length) else {
        return Err(SyscallError::new(text(), rustix::io::Errno::INVAL));
    };
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel copies `len` instructions from `filter` (exactly the slice, by byte-wise copy, so its
    // alignment does not matter) and writes nothing.
    let value = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SECCOMP_SET_MODE_FILTER,
            flags.0,
            &raw const program,
        )
    };
    let value = check(value).map_err(|errno| SyscallError::new(text(), errno))?;
    if flags.0 & FilterFlags::NEW_LISTENER.0 == 0 {
        return Ok(None);
    }
    let raw = i32::try_from(value).unwrap_or(-1);
    // SAFETY: with NEW_LISTENER the value is a new descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(raw) }))
}

/// Returns whether the kernel knows the action `action` (`SECCOMP_RET_…`).
pub fn action_is_available(action: u32) -> bool {
    const SECCOMP_GET_ACTION_AVAIL: libc::c_int = 2;
    // SAFETY: the kernel reads 4 bytes from `action`.
    let value = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    call!(check(value), "seccomp(GET_ACTION_AVAIL, {action:#x})").is_ok()
}
