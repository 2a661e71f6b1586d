//! Joining and leaving namespaces.
#![expect(
    unsafe_code,
    reason = "rustix's setns takes only link files, its unshare is marked unsafe"
)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::clone::CloneFlags;
use crate::error::{SyscallError, call, check};
use crate::signal::{self, SignalSet};

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

/// Does `work` in the network namespace of the link file `namespace` and goes back; no other thread is moved.
///
/// A thread that cannot go back would do everything that follows in the wrong network, so the process ends then. It takes
/// a kernel without memory for that.
pub fn visit_network<T>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T) -> Result<T, SyscallError> {
    struct Home(OwnedFd);
    impl Drop for Home {
        fn drop(&mut self) {
            if setns(self.0.as_fd(), CloneFlags::NEWNET).is_err() {
                std::process::abort();
            }
        }
    }
    let path = "/proc/thread-self/ns/net";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = call!(rustix::fs::open(path, flags, Mode::empty()), "open({path:?})")?;
    setns(namespace, CloneFlags::NEWNET)?;
    // Also when `work` panics.
    let _home = Home(own);
    Ok(work())
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

/// Returns a new user namespace with these maps, in the form of `/proc/PID/uid_map`, and without any process.
///
/// A process is needed to make it: one that shares this one's memory, so that nothing is copied, runs nothing but
/// `pause` on a stack of its own, and is gone when this returns.
pub fn new_user_namespace(users: &str, groups: &str) -> Result<OwnedFd, SyscallError> {
    /// Far more than the child needs, which calls one function.
    const STACK: usize = 16 << 10;
    let mut stack = vec![0u128; STACK / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end.cast::<libc::c_void>();
    let flags = libc::CLONE_NEWUSER | libc::CLONE_VM | libc::SIGCHLD;
    // The child shares this thread's `errno` too: with every signal blocked nothing ends its `pause` and writes one.
    let former = signal::sigprocmask(SignalSet::all())?;
    // SAFETY: `top` is the aligned end of memory that lives until the child was waited for below; `wait_for_ever` touches
    // nothing but that stack, and its argument is not used.
    let pid = unsafe { libc::clone(wait_for_ever, top, flags, std::ptr::null_mut()) };
    let pid = call!(check(pid.into()), "clone(CLONE_NEWUSER|CLONE_VM)");
    // Ours, and they were valid a moment ago.
    drop(signal::sigprocmask(former));
    let pid = pid?;
    let pid = i32::try_from(pid).unwrap_or(-1);
    let namespace = write_maps(pid, users, groups);
    // SAFETY: takes no pointers. The child was not waited for yet, so the pid is its own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    loop {
        // SAFETY: a null status is allowed.
        let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
        if waited != -1 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            break;
        }
    }
    // Only now nothing runs on it any more.
    drop(stack);
    namespace
}

extern "C" fn wait_for_ever(_: *mut libc::c_void) -> libc::c_int {
    loop {
        // SAFETY: takes no pointers.
        unsafe { libc::pause() };
    }
}

fn write_maps(pid: i32, users: &str, groups: &str) -> Result<OwnedFd, SyscallError> {
    let write = |name: &str, text: &str| {
        let path = format!("/proc/{pid}/{name}");
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = call!(rustix::fs::open(&path, flags, Mode::empty()), "open({path:?})")?;
        // One write: the kernel takes a map whole or not at all.
        call!(
            rustix::io::write(&file, text.as_bytes()),
            "write({path:?}, {text:?})"
        )
        .map(drop)
    };
    write("uid_map", users)?;
    write("gid_map", groups)?;
    let path = format!("/proc/{pid}/ns/user");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    call!(rustix::fs::open(&path, flags, Mode::empty()), "open({path:?})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_namespace_without_a_process() {
        let namespace = match new_user_namespace("0 100000 65536\n", "0 100000 65536\n") {
            // Not root, or no user namespaces here.
            Err(error) if matches!(error.errno(), rustix::io::Errno::PERM | rustix::io::Errno::NOSPC) => {
                return;
            }
            other => other.unwrap(),
        };
        let own = std::fs::metadata("/proc/self/ns/user").unwrap();
        let stat = rustix::fs::fstat(&namespace).unwrap();
        assert_ne!(std::os::unix::fs::MetadataExt::ino(&own), stat.st_ino);
        assert!(new_user_namespace("nonsense", "").is_err());
    }
}
