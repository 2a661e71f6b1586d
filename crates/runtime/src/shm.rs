//! The `/dev/shm` of another container, for one that joins its IPC namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::clone::{CloneFlags, Cloned};
use sys::mount::Depth;
use sys::path::Root;

use crate::channel::{Channel, Message};
use crate::error::{AtStep, CreateError, Result, Step};
use crate::option::MountOptions;

/// `TMPFS_MAGIC` of linux/magic.h.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Returns `/dev/shm` of the process whose directory in /proc is `process`, as a detached mount (parent).
///
/// Entering a mount namespace changes the root directory, so a process between does it and never comes back.
pub(crate) fn take(process: &Path, options: &MountOptions) -> Result<OwnedFd> {
    let (channel, theirs) = Channel::pair()?;
    let between = match sys::clone::fork().at(Step::Mount)? {
        Cloned::Child => {
            let sent = clone_inside(process).and_then(|tree| theirs.send_mounts(&[tree.as_fd()]));
            if let Err(error) = &sent {
                theirs.send_error(error);
            }
            sys::process::exit_now(i32::from(sent.is_err()));
        }
        Cloned::Parent { pidfd, .. } => pidfd,
    };
    drop(theirs);
    let message = channel.receive();
    sys::process::wait_pidfd(between.as_fd()).at(Step::Mount)?;
    let tree = match message? {
        Message::Mounts { mut fds, .. } => fds.pop(),
        Message::Failed(error) => return Err(error),
        _ => None,
    };
    let tree = tree
        .ok_or_else(|| CreateError::new(Step::Mount, 0, "take /dev/shm: the process between ended early"))?;
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
