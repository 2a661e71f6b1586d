//! Acting on files as another user without giving up any privilege, for one thread.
#![expect(unsafe_code, reason = "rustix has no setfsuid and setfsgid")]

use rustix::thread::CapabilitiesSecureBits;

use crate::error::{SyscallError, call};

/// Makes the calling thread, and no other, own the files that it makes from now on by `user` and `group`; its
/// capabilities stay. Needed below idmapped mounts, where ids that are not mapped cannot make files (`EOVERFLOW`).
pub fn set_fs_ids(user: u32, group: u32) -> Result<(), SyscallError> {
    // capabilities(7): a file system user id that is no longer 0 would take the file capabilities away.
    let bits = call!(
        rustix::thread::capabilities_secure_bits(),
        "prctl(PR_GET_SECUREBITS)"
    )?;
    call!(
        rustix::thread::set_capabilities_secure_bits(bits | CapabilitiesSecureBits::NO_SETUID_FIXUP),
        "prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP)"
    )?;
    // SAFETY: takes no pointers; the raw system call changes the calling thread only.
    unsafe { libc::syscall(libc::SYS_setfsgid, group) };
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_setfsuid, user) };
    // The calls tell no error: asking for an id that cannot be had returns the present one.
    // SAFETY: as above.
    let present = unsafe { libc::syscall(libc::SYS_setfsuid, u32::MAX) };
    if present == i64::from(user) {
        Ok(())
    } else {
        Err(SyscallError::new(
            format!("setfsuid({user})"),
            rustix::io::Errno::PERM,
        ))
    }
}
