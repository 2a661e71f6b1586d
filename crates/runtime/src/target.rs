//! Where a mount goes: a path inside the container's root, which the image controls.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::path::Root;

use crate::error::{AtStep, CreateError, Result, Step};
use crate::mount::{PlannedMount, is_path};

/// Opens the place for a mount, and makes it if it is missing; links are followed inside the root only.
pub(crate) fn open(root: &Root, destination: &Path, directory: bool) -> Result<OwnedFd> {
    let context = || format!("mount at {destination:?}");
    let place = match root.open_in_root(destination, OFlags::PATH, Mode::empty()) {
        Err(error) if error.errno() == Errno::NOENT => make(root, destination, directory)?,
        result => result.at_with(Step::Mount, context)?,
    };
    let stat = rustix::fs::fstat(&place).at_with(Step::Mount, context)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    match (directory, is_directory) {
        (true, false) => Err(CreateError::new(
            Step::Mount,
            libc::ENOTDIR,
            format!(
                "{}: not a directory, but a directory is to be mounted there",
                context()
            ),
        )),
        (false, true) => Err(CreateError::new(
            Step::Mount,
            libc::EISDIR,
            format!("{}: a directory, but a file is to be mounted there", context()),
        )),
        _ => Ok(place),
    }
}

fn make(root: &Root, destination: &Path, directory: bool) -> Result<OwnedFd> {
    let context = || format!("make mount point {destination:?}");
    if directory {
        return root.mkdir_all(destination, 0o755).at_with(Step::Mount, context);
    }
    let parent = destination.parent().unwrap_or(Path::new("/"));
    let parent = root.mkdir_all(parent, 0o755).at_with(Step::Mount, context)?;
    let name = destination.file_name().unwrap_or(OsStr::new("."));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // A dangling link is there already, so it is refused here and not followed.
    drop(rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)).at_with(Step::Mount, context)?);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&parent, name, flags, Mode::empty()).at_with(Step::Mount, context)
}

/// Makes the directory `name` in `parent`, a file system of our own that nobody else has written to, if it is missing.
pub(crate) fn make_in_empty(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd> {
    let context = || format!("make mount point {name:?}");
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        result => result.at_with(Step::Mount, context)?,
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).at_with(Step::Mount, context)
}

/// `PROC_SUPER_MAGIC` of linux/magic.h.
const PROC_MAGIC: i64 = 0x9fa0;

/// Files of `/proc` that may be mounted over: those that lxcfs and its like replace.
const PROC_FILES: [&str; 9] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
];

/// Refuses a mount inside of `/proc`, wherever links of the image have led to it: it could replace files that the
/// runtime or the program trusts (CVE-2019-16884).
pub(crate) fn refuse_inside_proc(place: BorrowedFd<'_>, mount: &PlannedMount) -> Result<()> {
    let context = || format!("mount at {:?}", mount.destination);
    let file_system = rustix::fs::fstatfs(place).at_with(Step::Mount, context)?;
    if file_system.f_type != PROC_MAGIC
        || PROC_FILES.iter().any(|file| is_path(&mount.destination, file))
        || is_path(&mount.destination, "/proc")
    {
        return Ok(());
    }
    Err(CreateError::new(
        Step::Mount,
        libc::EPERM,
        format!("{}: it is inside /proc", context()),
    ))
}
