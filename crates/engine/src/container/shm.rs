//! Another size for the `/dev/shm` of a running container.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use sys::SyscallError;
use sys::path::Root;

/// Why `/dev/shm` was not resized.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResizeError {
    /// There is another thing in its place, or it belongs to others too.
    #[error("the container has no /dev/shm of its own")]
    NotItsOwn,
    /// The kernel refused, for example because more is in use.
    #[error("set the size of /dev/shm to {size} bytes")]
    Kernel {
        /// The size wanted.
        size: u64,
        /// What failed.
        source: SyscallError,
    },
}

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Gives `/dev/shm` of the container with process `pid` another size, in bytes.
///
/// Nobody enters the container: its files are reached through its root directory in /proc, and the file system is
/// changed by a descriptor.
pub(crate) fn resize(pid: i32, size: u64) -> Result<(), ResizeError> {
    let kernel = |source: SyscallError| ResizeError::Kernel { size, source };
    let memory = open(pid).map_err(kernel)?;
    if !is_own(memory.as_fd()) {
        return Err(ResizeError::NotItsOwn);
    }
    let config = sys::mount::fspick(&memory).map_err(kernel)?;
    let value = std::ffi::CString::new(size.to_string()).unwrap_or_default();
    sys::mount::fsconfig_set_string(&config, c"size", &value).map_err(kernel)?;
    sys::mount::fsconfig_reconfigure(&config).map_err(kernel)
}

fn open(pid: i32) -> Result<OwnedFd, SyscallError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = Root::open(format!("/proc/{pid}/root"))?;
    root.open_beneath("dev/shm", flags | OFlags::NOFOLLOW, Mode::empty())
}

/// Returns whether `memory` is the top of a tmpfs that is mounted in containers only. A container that may mount could
/// have put a directory of the host there, which must not get another size from within.
fn is_own(memory: BorrowedFd<'_>) -> bool {
    let is_tmpfs = rustix::fs::fstatfs(memory)
        .is_ok_and(|statistics| u64::from_ne_bytes(statistics.f_type.to_ne_bytes()) == TMPFS_MAGIC);
    let Ok(place) = rustix::fs::statx(
        memory,
        "",
        rustix::fs::AtFlags::EMPTY_PATH,
        rustix::fs::StatxFlags::BASIC_STATS,
    ) else {
        return false;
    };
    let is_mount = place
        .stx_attributes
        .contains(rustix::fs::StatxAttributes::MOUNT_ROOT);
    let device = format!("{}:{}", place.stx_dev_major, place.stx_dev_minor);
    // The third column of the mount table is the device (proc_pid_mountinfo(5)).
    let is_hosts = std::fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|table| table.lines().any(|line| line.split(' ').nth(2) == Some(&device)));
    is_tmpfs && is_mount && !is_hosts
}
