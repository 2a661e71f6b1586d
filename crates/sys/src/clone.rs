//! `clone3` and `fork`: new processes that go on in the same Rust code with a copy of the memory; [`aside`]: one that shares it.
//!
//! [`clone3`]: no `CLONE_VM` and no new stack: the child returns from the call as after fork(2), so it may run normal Rust code
//! on its private copy. That is sound only when the caller is the only thread of its process: a lock that another
//! thread holds at that moment (the allocator's, stdio's) stays held for ever in the child. The zygote, the shims and
//! `berth oci` are single-threaded; debug builds check it on each call.
#![expect(
    unsafe_code,
    reason = "clone3 has no wrapper in libc or rustix, and pids and fds come back raw"
)]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::process::{Pid, WaitOptions};

use crate::error::{SyscallError, call, check};

/// Flags of [`clone3`]: namespaces and `CLONE_PARENT`; nothing that shares memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloneFlags(u64);

impl CloneFlags {
    /// A new mount namespace.
    pub const NEWNS: Self = Self(0x0002_0000);
    /// A new cgroup namespace.
    pub const NEWCGROUP: Self = Self(0x0200_0000);
    /// A new UTS namespace.
    pub const NEWUTS: Self = Self(0x0400_0000);
    /// A new IPC namespace.
    pub const NEWIPC: Self = Self(0x0800_0000);
    /// A new user namespace; it owns the other new namespaces of the same call.
    pub const NEWUSER: Self = Self(0x1000_0000);
    /// A new PID namespace, of which the child is PID 1.
    pub const NEWPID: Self = Self(0x2000_0000);
    /// A new network namespace.
    pub const NEWNET: Self = Self(0x4000_0000);
    /// A new time namespace with the offsets of the present one.
    pub const NEWTIME: Self = Self(0x0000_0080);
    /// The child's parent is the caller's parent.
    pub const PARENT: Self = Self(0x0000_8000);

    /// Returns no flag.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Returns whether every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns the flags as the kernel numbers them.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl std::ops::BitOr for CloneFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for CloneFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// Which side of a [`clone3`] the caller is.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller.
    Parent {
        /// The new process as the caller's PID namespace numbers it.
        pid: Pid,
        /// A pidfd of it (close-on-exec).
        pidfd: OwnedFd,
    },
}

const CLONE_PIDFD: u64 = 0x0000_1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Creates a process as fork(2) does, in new namespaces and, if given, in the cgroup v2 directory `cgroup`.
///
/// The caller must be the only thread of its process, see the module's comment. The child ends with SIGCHLD.
pub fn clone3(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> Result<Cloned, SyscallError> {
    debug_assert!(
        is_single_threaded(),
        "clone3 copies one thread: the caller must be the only one"
    );
    let mut pidfd: i32 = -1;
    let mut arguments = clone_args {
        flags: flags.0 | CLONE_PIDFD,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        child_tid: 0,
        parent_tid: 0,
        // With CLONE_PARENT the signal is that of the caller itself and must not be given.
        exit_signal: if flags.contains(CloneFlags::PARENT) {
            0
        } else {
            libc::SIGCHLD.unsigned_abs().into()
        },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
    }
    // SAFETY: the kernel reads `arguments` (its size is given) and writes `pidfd`, both of which live past the call.
    // Without CLONE_VM and with stack 0 the child runs on a copy of this stack, as after fork.
    let value = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<clone_args>()) };
    let value = call!(
        check(value),
        "clone3({{flags={:#x}, cgroup={}}})",
        arguments.flags,
        arguments.cgroup
    )?;
    let pid = i32::try_from(value).ok().and_then(Pid::from_raw);
    match pid {
        None => Ok(Cloned::Child),
        Some(pid) => {
            // SAFETY: the kernel has stored a new fd here that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}

/// Creates a process as fork(2) does. The caller must be the only thread of its process.
pub fn fork() -> Result<Cloned, SyscallError> {
    clone3(CloneFlags::empty(), None)
}

/// The stack of a process made by [`aside`], 2 MiB of which only what is used takes memory. A page below it faults.
#[derive(Debug)]
pub struct Stack {
    lowest: *mut c_void,
}

impl Stack {
    const SIZE: usize = 2 << 20;
    const GUARD: usize = 4096;

    /// Reserves one.
    pub fn new() -> Result<Self, SyscallError> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let mapped = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                Self::SIZE,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )
        };
        let lowest = call!(mapped, "mmap(a stack)")?;
        let stack = Self { lowest };
        // SAFETY: the first page of our own mapping, which nobody uses.
        let guarded = unsafe { mprotect(lowest, Self::GUARD, MprotectFlags::empty()) };
        call!(guarded, "mprotect(a stack's guard)")?;
        Ok(stack)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: our own mapping; who borrowed it has ended.
        unsafe { munmap(self.lowest, Self::SIZE) }.ok();
    }
}

/// Runs `work` in a process of its own that shares the caller's memory and descriptors (the child of vfork(2)), and waits until
/// that has ended: what it does to itself, such as joining namespaces, nobody else has.
///
/// What it makes by [`clone3`] with [`CloneFlags::PARENT`] is the caller's child, has its own copy of the memory, and must not
/// return from `work`. The caller must be the only thread of its process.
pub fn aside(stack: &mut Stack, mut work: &mut dyn FnMut()) -> Result<(), SyscallError> {
    debug_assert!(is_single_threaded(), "the caller must be the only thread");
    extern "C" fn enter(work: *mut c_void) -> libc::c_int {
        // SAFETY: `aside` has passed this pointer, and waits.
        let work = unsafe { &mut *work.cast::<&mut dyn FnMut()>() };
        work();
        0
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: with CLONE_VFORK this thread, the only one, is stopped as long as the other process has this memory: nobody
    // sees `work` or the allocator half done. It has a stack of its own, whose upper end is given; the address is that of a page.
    let value = unsafe {
        libc::clone(
            enter,
            stack.lowest.wrapping_byte_add(Stack::SIZE),
            flags,
            (&raw mut work).cast(),
        )
    };
    let value = call!(check(value.into()), "clone({flags:#x})")?;
    // It has ended; nobody else waits for it.
    let pid = i32::try_from(value).ok().and_then(Pid::from_raw);
    rustix::io::retry_on_intr(|| rustix::process::waitpid(pid, WaitOptions::empty())).ok();
    Ok(())
}

/// Returns whether the calling process has one thread, as far as `/proc` tells.
pub fn is_single_threaded() -> bool {
    // The task directory has two links and one per thread.
    rustix::fs::stat("/proc/self/task").map_or(true, |stat| stat.st_nlink <= 3)
}

/// `struct clone_args` of linux/sched.h, version 2 (with `cgroup`, Linux 5.7).
#[repr(C)]
struct clone_args {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
