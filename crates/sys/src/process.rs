//! Processes: waiting, ending, resource limits, and what a new program inherits.
#![expect(
    unsafe_code,
    reason = "raw calls: execveat, prlimit by number, _exit, personality, ioprio, process_vm_writev"
)]

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use rustix::thread::CpuSet;

use crate::error::{SyscallError, call, check};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this code.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
}

impl Ended {
    /// Returns the code as a shell reports it: 128 + signal when a signal ended the process.
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(code) => u8::try_from(code & 0xff).unwrap_or(255),
            Self::Signaled(signal) => u8::try_from(128 + (signal & 0x7f)).unwrap_or(255),
        }
    }
}

/// Reaps the child behind `pidfd`; waits for its end.
pub fn wait_pidfd(pidfd: BorrowedFd<'_>) -> Result<Ended, SyscallError> {
    loop {
        if let Some(ended) = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED)? {
            return Ok(ended.1);
        }
    }
}

/// Reaps the child behind `pidfd` if it has ended.
pub fn try_wait_pidfd(pidfd: BorrowedFd<'_>) -> Result<Option<Ended>, SyscallError> {
    let ended = waitid(
        WaitId::PidFd(pidfd),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    )?;
    Ok(ended.map(|(_, ended)| ended))
}

/// Reaps any child that has ended; `None` if there is no such child now (also when there are no children at all).
pub fn try_wait_any() -> Result<Option<(Pid, Ended)>, SyscallError> {
    use rustix::process::{WaitOptions, wait};
    match rustix::io::retry_on_intr(|| wait(WaitOptions::NOHANG)) {
        Err(Errno::CHILD) | Ok(None) => Ok(None),
        Ok(Some((pid, status))) => Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Some((pid, Ended::Exited(code))),
            (None, Some(signal)) => Some((pid, Ended::Signaled(signal))),
            (None, None) => None,
        }),
        Err(errno) => Err(SyscallError::new("wait4(-1, WNOHANG)", errno)),
    }
}

/// Waits for and reaps any child; `None` when there are no children.
pub fn wait_any() -> Result<Option<(Pid, Ended)>, SyscallError> {
    use rustix::process::{WaitOptions, wait};
    loop {
        match wait(WaitOptions::empty()) {
            Err(Errno::CHILD) => return Ok(None),
            Err(Errno::INTR) | Ok(None) => {}
            Ok(Some((pid, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => return Ok(Some((pid, Ended::Exited(code)))),
                (None, Some(signal)) => return Ok(Some((pid, Ended::Signaled(signal)))),
                (None, None) => {}
            },
            Err(errno) => return Err(SyscallError::new("wait4(-1)", errno)),
        }
    }
}

fn waitid(id: WaitId<'_>, options: WaitIdOptions) -> Result<Option<((), Ended)>, SyscallError> {
    let status = rustix::io::retry_on_intr(|| rustix::process::waitid(id.clone(), options));
    let status = call!(status, "waitid({id:?}, {options:?})")?;
    Ok(status.and_then(|status| {
        let exited = status.exit_status().map(Ended::Exited);
        exited
            .or_else(|| status.terminating_signal().map(Ended::Signaled))
            .map(|ended| ((), ended))
    }))
}

/// Ends the calling process at once: no destructors, no exit handlers, no flushing.
///
/// For the child of [`crate::clone::clone3`], which must not run the exit handlers of the process it was copied from.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it is used afterwards.
    unsafe { libc::_exit(code) }
}

/// A null-terminated array of strings as `execve` takes it, made ahead of the clone.
#[derive(Debug)]
pub struct StringArray {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl StringArray {
    /// Returns the array of `strings`.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect();
        Self { strings, pointers }
    }

    /// Returns the strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }

    /// Adds one string at the end.
    pub fn push(&mut self, string: CString) {
        let mut strings = std::mem::take(&mut self.strings);
        strings.push(string);
        *self = Self::new(strings);
    }
}

/// Runs `path` in place of the calling program; returns only on failure.
pub fn execve(
    path: &CStr,
    arguments: &StringArray,
    environment: &StringArray,
) -> Result<Infallible, SyscallError> {
    // SAFETY: `path` is a C string; both arrays hold pointers to strings that `StringArray` owns, and end with null.
    let value = unsafe {
        libc::execve(
            path.as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
        )
    };
    match check(value.into()) {
        Err(errno) => Err(SyscallError::new(format!("execve({path:?})"), errno)),
        Ok(_) => Err(SyscallError::new(format!("execve({path:?})"), Errno::IO)),
    }
}

/// Runs the program behind `fd` in place of the calling one; returns only on failure.
pub fn fexecve(
    fd: BorrowedFd<'_>,
    arguments: &StringArray,
    environment: &StringArray,
) -> Result<Infallible, SyscallError> {
    // SAFETY: the path is an empty C string; both arrays hold pointers to strings that `StringArray` owns, and end with
    // null.
    let value = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    match check(value) {
        Err(errno) => Err(SyscallError::new(format!("execveat({})", fd.as_raw_fd()), errno)),
        Ok(_) => Err(SyscallError::new("execveat", Errno::IO)),
    }
}

/// A soft and a hard limit; `u64::MAX` is "unlimited".
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// What is enforced.
    pub soft: u64,
    /// How far the process may raise it by itself.
    pub hard: u64,
}

/// Sets (when `limit` is given) and returns the former value of a resource limit of `pid` (`None`: the caller).
pub fn prlimit(
    pid: Option<Pid>,
    resource: u32,
    limit: Option<ResourceLimit>,
) -> Result<ResourceLimit, SyscallError> {
    let mut former = ResourceLimit { soft: 0, hard: 0 };
    let new = limit
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref::<ResourceLimit>);
    // SAFETY: `new` is null or points to a `struct rlimit64`, which `ResourceLimit` has the layout of; `former` is
    // written by the kernel and lives past the call.
    let value = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid.map_or(0, |pid| pid.as_raw_nonzero().get()),
            resource,
            new,
            &raw mut former,
        )
    };
    call!(check(value), "prlimit64({pid:?}, {resource}, {limit:?})")?;
    Ok(former)
}

/// Sets the execution domain (personality(2)) of the calling process.
pub fn personality(persona: u32) -> Result<(), SyscallError> {
    // SAFETY: takes no pointers; the flags in use change what the next program sees.
    let value = unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(persona)) };
    call!(check(value), "personality({persona:#x})").map(drop)
}

/// Sets the I/O priority (class in bits 13 and up, level below) of the calling process.
pub fn ioprio_set(priority: u16) -> Result<(), SyscallError> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes no pointers.
    let value = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            libc::c_int::from(priority),
        )
    };
    call!(check(value), "ioprio_set({priority:#x})").map(drop)
}

/// What [`sched_setattr`] sets, see sched_setattr(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerAttributes {
    /// The structure's size; filled in by the call.
    pub size: u32,
    /// `SCHED_OTHER` 0, `FIFO` 1, `RR` 2, `BATCH` 3, `IDLE` 5, `DEADLINE` 6.
    pub policy: u32,
    /// `SCHED_FLAG_…`.
    pub flags: u64,
    /// The nice value of the policies OTHER and BATCH.
    pub nice: i32,
    /// The static priority of FIFO and RR.
    pub priority: u32,
    /// Nanoseconds, DEADLINE.
    pub runtime: u64,
    /// Nanoseconds, DEADLINE.
    pub deadline: u64,
    /// Nanoseconds, DEADLINE.
    pub period: u64,
}

/// Sets the scheduling policy of the calling thread.
pub fn sched_setattr(mut attributes: SchedulerAttributes) -> Result<(), SyscallError> {
    attributes.size = 48;
    // SAFETY: the kernel reads `size` (48) bytes, the size of the structure.
    let value = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    call!(check(value), "sched_setattr({attributes:?})").map(drop)
}

/// Sets the calling process's nice value.
pub fn set_nice(nice: i32) -> Result<(), SyscallError> {
    // SAFETY: takes no pointers.
    let value = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    call!(check(value.into()), "setpriority(PRIO_PROCESS, 0, {nice})").map(drop)
}

/// Has the calling process killed with `signal` when its parent thread ends; `None` takes it back.
///
/// Credentials changed later take it back as well (prctl(2)), so it is called after them.
pub fn set_parent_death_signal(signal: Option<i32>) -> Result<(), SyscallError> {
    prctl(libc::PR_SET_PDEATHSIG, signal.unwrap_or(0).unsigned_abs().into())
}

/// Sets whether another process of the same user may trace this one, read its `/proc` files or take its core.
pub fn set_dumpable(dumpable: bool) -> Result<(), SyscallError> {
    prctl(libc::PR_SET_DUMPABLE, dumpable.into())
}

/// Has orphaned descendants become children of the calling process.
pub fn set_subreaper(subreaper: bool) -> Result<(), SyscallError> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, subreaper.into())
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> Result<(), SyscallError> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used here take a number, no pointer.
    let value = unsafe { libc::prctl(option, argument, zero, zero, zero) };
    call!(check(value.into()), "prctl({option}, {argument})").map(drop)
}

/// Lets the calling thread run on every CPU of its cpuset, whatever the program that started it was pinned to.
pub fn reset_cpu_affinity() -> Result<(), SyscallError> {
    call!(
        rustix::thread::sched_setaffinity(None, &every_cpu()),
        "sched_setaffinity(every CPU)"
    )
}

/// Keeps a process that sleeps off the CPU of the caller, who is about to wake it and goes on working, until the process calls
/// [`reset_cpu_affinity`]. An error where there is no other CPU.
///
/// The kernel likes to run who is woken where the waker runs, in its place. It would look for a CPU that is idle, but in a
/// virtual machine those are away from the host's and count as preempted (`available_idle_cpu` in kernel/sched): so both
/// share one CPU and the others sleep.
pub fn keep_off_this_cpu(pid: Pid, pidfd: impl AsFd) -> Result<(), SyscallError> {
    // The number is the process's as long as it lives, which takes longer to become another's than the next call.
    crate::signal::pidfd_send_signal(pidfd.as_fd(), 0)?;
    let mut others = every_cpu();
    others.unset(rustix::thread::sched_getcpu());
    call!(
        rustix::thread::sched_setaffinity(Some(pid), &others),
        "sched_setaffinity({pid:?}, every other CPU)"
    )
}

/// Keeps the calling thread on the CPU where it is until it calls [`reset_cpu_affinity`]: who wakes it from another one and
/// goes on working does not get it in its place, as [`keep_off_this_cpu`].
pub fn stay_on_this_cpu() -> Result<(), SyscallError> {
    let mut this = CpuSet::new();
    this.set(rustix::thread::sched_getcpu());
    call!(
        rustix::thread::sched_setaffinity(None, &this),
        "sched_setaffinity(this CPU)"
    )
}

fn every_cpu() -> CpuSet {
    let mut every = CpuSet::new();
    for cpu in 0..CpuSet::MAX_CPU {
        every.set(cpu);
    }
    every
}

/// Opens the directory of process `pid` in /proc. It stays that process's: nothing can be opened through it any more when
/// the process is gone, also when its number is another's by then.
pub fn open_directory(pid: i32) -> Result<OwnedFd, SyscallError> {
    let path = format!("/proc/{pid}");
    call!(
        rustix::fs::open(
            &*path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty()
        ),
        "open({path})"
    )
}

/// Returns when the process of such a directory was made, in clock ticks since boot (field 22 of proc(5)'s `stat`);
/// `None` if it is gone or only waits to be reaped.
pub fn start_time(directory: impl AsFd) -> Option<u64> {
    use std::io::Read;
    let file = rustix::fs::openat(directory, "stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    std::fs::File::from(file).read_to_string(&mut text).ok()?;
    // The second field, the name, may hold anything, also spaces and parentheses.
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Sets the title that `ps` shows, by overwriting the process's own argument area; longer titles are cut.
///
/// Only for a process whose `argv` memory is not read any more (the zygote's children). Returns whether it worked.
pub fn set_title(title: &str) -> bool {
    // /proc/self/stat, fields 48 and 49 (proc(5)): the bounds of the argument area.
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else {
        return false;
    };
    let Some((_, rest)) = stat.rsplit_once(')') else {
        return false;
    };
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let bound = |index: usize| fields.get(index).and_then(|field| field.parse::<usize>().ok());
    let (Some(start), Some(end)) = (bound(45), bound(46)) else {
        return false;
    };
    if start == 0 || end <= start {
        return false;
    }
    let room = end - start;
    let mut bytes = vec![0u8; room];
    let length = title.len().min(room - 1);
    bytes[..length].copy_from_slice(&title.as_bytes()[..length]);
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: room,
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(start),
        iov_len: room,
    };
    let own = rustix::process::getpid().as_raw_nonzero().get();
    // By a system call, so that a wrong bound is an error and not a fault; /proc/self/mem cannot be opened by a process
    // that may not be dumped.
    // SAFETY: `local` describes `bytes`, which lives across the call; `remote` is the argument area, which nothing
    // reads any more.
    let written = unsafe {
        libc::process_vm_writev(
            own,
            std::ptr::from_ref(&local),
            1,
            std::ptr::from_ref(&remote),
            1,
            0,
        )
    };
    usize::try_from(written) == Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        assert_eq!(Ended::Exited(3).code(), 3);
        assert_eq!(Ended::Signaled(9).code(), 137);
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = open_directory(std::process::id().try_into().unwrap()).unwrap();
        assert!(start_time(&own).is_some());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let directory = open_directory(child.id().try_into().unwrap()).unwrap();
        child.wait().unwrap();
        assert_eq!(start_time(&directory), None);
    }

    #[test]
    fn limits_are_read_and_set() {
        let core = prlimit(None, libc::RLIMIT_CORE, None).unwrap();
        let same = prlimit(None, libc::RLIMIT_CORE, Some(core)).unwrap();
        assert_eq!(core, same);
    }
}
