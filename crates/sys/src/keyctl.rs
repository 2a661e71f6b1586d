//! Session keyrings, so that a container never sees keys of the host or of another container.
#![expect(unsafe_code, reason = "keyctl has no wrapper in libc or rustix")]

use crate::error::{SyscallError, call, check};

const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Gives the calling process a new anonymous session keyring.
///
/// Anonymous, because joining by name would join a keyring of that name that somebody else has prepared.
pub fn join_session_keyring() -> Result<(), SyscallError> {
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    let value = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
    call!(check(value), "keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL)").map(drop)
}
