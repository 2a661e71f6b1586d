//! Signals as plain numbers, so that real-time signals need no special road: masks, signalfd, waiting and sending.
#![expect(
    unsafe_code,
    reason = "rustix names only the classic signals and marks its masks unsafe"
)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{SyscallError, call, check};

/// The largest signal number.
pub const MAX_SIGNAL: i32 = 64;

/// A set of signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignalSet(u64);

impl SignalSet {
    /// Returns the set without signals.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Returns the set of all signals.
    pub const fn all() -> Self {
        Self(u64::MAX)
    }

    /// Returns the set with `signal` (1 to 64) added; another number changes nothing.
    #[must_use]
    pub const fn with(self, signal: i32) -> Self {
        if signal >= 1 && signal <= MAX_SIGNAL {
            Self(self.0 | 1 << (signal - 1))
        } else {
            self
        }
    }

    /// Returns the set with `signal` removed.
    #[must_use]
    pub const fn without(self, signal: i32) -> Self {
        if signal >= 1 && signal <= MAX_SIGNAL {
            Self(self.0 & !(1 << (signal - 1)))
        } else {
            self
        }
    }

    /// Returns whether `signal` is in the set.
    pub const fn contains(self, signal: i32) -> bool {
        signal >= 1 && signal <= MAX_SIGNAL && self.0 & (1 << (signal - 1)) != 0
    }
}

const SIG_SETMASK: libc::c_int = 2;

/// Replaces the calling thread's mask of blocked signals; returns the former mask.
pub fn sigprocmask(blocked: SignalSet) -> Result<SignalSet, SyscallError> {
    let mut former = SignalSet::empty();
    // SAFETY: the kernel reads and writes 8 bytes each, the size of `SignalSet`, and the size is given. The raw call is
    // used because glibc refuses to block its own two signals, which a new program must not inherit as unblocked.
    let value = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            SIG_SETMASK,
            &raw const blocked,
            &raw mut former,
            size_of::<SignalSet>(),
        )
    };
    call!(check(value), "rt_sigprocmask(SIG_SETMASK, {:#x})", blocked.0)?;
    Ok(former)
}

/// Gives every signal its default action again, as a new program expects it.
pub fn reset_handlers() {
    for signal in 1..=MAX_SIGNAL {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        let action = kernel_sigaction {
            handler: 0,
            flags: 0,
            restorer: 0,
            mask: 0,
        };
        // SAFETY: SIG_DFL needs no code; the kernel reads one `kernel_sigaction` and the mask's size is given. No
        // handler of glibc or Rust is needed any more because the caller is about to run another program.
        let value = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const action,
                std::ptr::null_mut::<kernel_sigaction>(),
                8usize,
            )
        };
        debug_assert!(value == 0, "rt_sigaction({signal}, SIG_DFL) cannot fail");
    }
}

/// The kernel's `struct sigaction` on x86_64 and aarch64 (64-bit, with restorer field).
#[repr(C)]
struct kernel_sigaction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// Sets the action of `signal` to ignore; children made later inherit it and, for SIGCHLD, are reaped by the kernel.
pub fn ignore(signal: i32) -> Result<(), SyscallError> {
    // SAFETY: SIG_IGN runs no code of ours.
    let former = unsafe { libc::signal(signal, libc::SIG_IGN) };
    if former == libc::SIG_ERR {
        return Err(SyscallError::new(
            format!("signal({signal}, SIG_IGN)"),
            Errno::INVAL,
        ));
    }
    Ok(())
}

/// Sets the action of `signal` to the default.
pub fn set_default(signal: i32) -> Result<(), SyscallError> {
    // SAFETY: SIG_DFL runs no code of ours.
    let former = unsafe { libc::signal(signal, libc::SIG_DFL) };
    if former == libc::SIG_ERR {
        return Err(SyscallError::new(
            format!("signal({signal}, SIG_DFL)"),
            Errno::INVAL,
        ));
    }
    Ok(())
}

/// Returns a signalfd (close-on-exec, non-blocking) for `signals`, which must be blocked.
pub fn signalfd(signals: SignalSet) -> Result<OwnedFd, SyscallError> {
    // SAFETY: the kernel reads 8 bytes, the size of `SignalSet`, and the size is given.
    let value = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const signals,
            size_of::<SignalSet>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    };
    let value = call!(check(value), "signalfd4(-1, {:#x})", signals.0)?;
    let raw = i32::try_from(value).unwrap_or(-1);
    // SAFETY: the value is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// One signal read from a signalfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The signal's number.
    pub signal: i32,
    /// The sender's pid, 0 if the kernel or another PID namespace sent it.
    pub pid: u32,
}

/// Reads one signal from a signalfd; `None` if there is none now.
pub fn read_signalfd(fd: BorrowedFd<'_>) -> Result<Option<Received>, SyscallError> {
    // The first three words of `struct signalfd_siginfo` (128 bytes) are number, errno and code, the fourth the pid.
    let mut info = [0u8; 128];
    match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut info)) {
        Ok(128) => {
            let word = |at: usize| u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
            Ok(Some(Received {
                signal: i32::try_from(word(0)).unwrap_or(0),
                pid: word(12),
            }))
        }
        Ok(_) | Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(SyscallError::new("read(signalfd)", errno)),
    }
}

/// Waits for one of `signals`, which must be blocked, and takes it; `None` after `timeout`.
pub fn sigtimedwait(signals: SignalSet, timeout: Option<Duration>) -> Result<Option<i32>, SyscallError> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let pointer = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref::<libc::timespec>);
    // SAFETY: the kernel reads 8 bytes of the set (its size is given) and a timespec or null; no siginfo is asked for.
    let value = unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const signals,
            std::ptr::null_mut::<libc::siginfo_t>(),
            pointer,
            size_of::<SignalSet>(),
        )
    };
    match check(value) {
        Ok(signal) => Ok(i32::try_from(signal).ok()),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(SyscallError::new(
            format!("rt_sigtimedwait({:#x})", signals.0),
            errno,
        )),
    }
}

/// Sends `signal` (any number, 0 tests) to the process behind `pidfd`.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), SyscallError> {
    // SAFETY: a null siginfo asks the kernel to fill it in as kill(2) does.
    let value = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    call!(check(value), "pidfd_send_signal({signal})").map(drop)
}

/// Sends `signal` (any number) to the process `pid`.
pub fn kill(pid: Pid, signal: i32) -> Result<(), SyscallError> {
    // SAFETY: takes no pointers.
    let value = unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) };
    call!(check(value.into()), "kill({pid:?}, {signal})").map(drop)
}

/// Sends `signal` (any number) to every process of the process group `group`.
pub fn kill_group(group: Pid, signal: i32) -> Result<(), SyscallError> {
    // SAFETY: takes no pointers.
    let value = unsafe { libc::kill(-group.as_raw_nonzero().get(), signal) };
    call!(check(value.into()), "kill(-{group:?}, {signal})").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = SignalSet::empty().with(15).with(64).with(65).with(0);
        assert!(set.contains(15) && set.contains(64) && !set.contains(1) && !set.contains(65));
        assert!(!SignalSet::all().without(9).contains(9));
    }
}
