//! The one error of this crate: a system call with its arguments and its errno.

use std::io;

use base::error::{Kind, Kinded};
use rustix::io::Errno;

/// A system call failed: `openat2(7, "etc/x", NO_SYMLINKS): Invalid cross-device link (os error 18)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallError {
    call: String,
    errno: Errno,
}

impl SyscallError {
    /// Returns the error of `call`, written as strace would write it, that failed with `errno`.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self {
            call: call.into(),
            errno,
        }
    }

    /// Returns the errno.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Returns the errno as the kernel numbers it.
    pub fn raw_errno(&self) -> i32 {
        self.errno.raw_os_error()
    }

    /// Returns the call with its arguments.
    pub fn call(&self) -> &str {
        &self.call
    }
}

impl std::fmt::Display for SyscallError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}: {}", self.call, self.errno)
    }
}

impl std::error::Error for SyscallError {}

impl Kinded for SyscallError {
    fn kind(&self) -> Kind {
        match self.errno {
            Errno::NOSYS | Errno::OPNOTSUPP => Kind::Unsupported,
            Errno::XDEV | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR => Kind::Invalid,
            errno => base::error::kind_of_io(&errno.into()),
        }
    }
}

impl From<SyscallError> for io::Error {
    /// Keeps the `ErrorKind`; the errno itself is kept in the inner error.
    fn from(error: SyscallError) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

/// Turns a rustix result into one whose error names the call; the text is made only on failure.
macro_rules! call {
    ($result:expr, $($text:tt)*) => {
        $result.map_err(|errno| $crate::error::SyscallError::new(format!($($text)*), errno))
    };
}
pub(crate) use call;

/// Returns the value of a raw system call, or the calling thread's errno when it is negative.
pub(crate) fn check(value: libc::c_long) -> Result<libc::c_long, Errno> {
    if value < 0 { Err(last_errno()) } else { Ok(value) }
}

fn last_errno() -> Errno {
    let raw = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Errno::from_raw_os_error(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_call() {
        let error = SyscallError::new("openat2(7, \"etc/x\", NO_SYMLINKS)", Errno::XDEV);
        assert!(
            error
                .to_string()
                .starts_with("openat2(7, \"etc/x\", NO_SYMLINKS): ")
        );
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(error.raw_errno(), libc::EXDEV);
    }
}
