//! The `/dev/shm` of another container, for one that joins its IPC namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::clone::CloneFlags;
use sys::mount::Depth;
use sys::path::Root;

use crate::between;
use crate::error::{AtStep, CreateError, Result, Step};
use crate::option::MountOptions;

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Returns `/dev/shm` of the process whose directory in /proc is `process`, as a detached mount (parent).
///
/// A process between enters the container's mount namespace for it.
pub(crate) fn take(process: &Path, options: &MountOptions) -> Result<OwnedFd> {
    let doing = "take /dev/shm";
    let tree = between::detached_mount(CloneFlags::empty(), Step::Mount, doing, || clone_inside(process))?;
    crate::mount::change(tree.as_fd(), options, Depth::One, None)
        .at_with(Step::Mount, || "change the joined /dev/shm".to_owned())?;
    Ok(tree)
}

fn clone_inside(process: &Path) -> Result<OwnedFd> {
    let link = process.join("ns/mnt");
    let namespace = rustix::fs::open(&link, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .at_with(Step::Namespace, || format!("open namespace {link:?}"))?;
    sys::namespace::setns(namespace.as_fd(), CloneFlags::NEWNS).at(Step::Namespace)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let directory = Root::open("/")
        .and_then(|root| root.open_beneath("dev/shm", flags, Mode::empty()))
        .at_with(Step::Mount, || "open /dev/shm of the joined container".to_owned())?;
    let file_system = rustix::fs::fstatfs(&directory).at(Step::Mount)?;
    let place = rustix::fs::statx(
        &directory,
        "",
        rustix::fs::AtFlags::EMPTY_PATH,
        rustix::fs::StatxFlags::BASIC_STATS,
    )
    .at(Step::Mount)?;
    let is_mount = place
        .stx_attributes
        .contains(rustix::fs::StatxAttributes::MOUNT_ROOT);
    // Memory that is mounted there, not a part of /dev or of the image.
    if file_system.f_type != TMPFS_MAGIC || !is_mount {
        return Err(CreateError::new(
            Step::Mount,
            libc::EINVAL,
            "the joined container has no /dev/shm of its own",
        ));
    }
    sys::mount::open_tree_clone(&directory, "", Depth::One)
        .at_with(Step::Mount, || "clone /dev/shm".to_owned())
}
