//! Hiding paths of `/proc` and `/sys`, and making them read-only; each one is checked after it was done.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, makedev};
use sys::mount::{Attributes, Change, Depth, mount_setattr, move_mount, open_tree_clone};
use sys::path::Root;

use crate::error::{AtStep, CreateError, Result, Step};
use crate::rootfs::is_missing;

/// Returns an empty read-only directory, detached.
pub(crate) fn make_empty_directory() -> Result<OwnedFd> {
    let config = sys::mount::fsopen(c"tmpfs").at(Step::Mask)?;
    for (key, value) in [(c"mode", c"555"), (c"nr_inodes", c"1"), (c"size", c"4k")] {
        sys::mount::fsconfig_set_string(&config, key, value).at(Step::Mask)?;
    }
    sys::mount::fsconfig_create(&config).at(Step::Mask)?;
    let attributes = Attributes::RDONLY | Attributes::NOSUID | Attributes::NODEV | Attributes::NOEXEC;
    sys::mount::fsmount(&config, attributes).at(Step::Mask)
}

/// What masks are made of: each is cloned for every path once it is in its first place.
#[derive(Debug)]
pub(crate) struct Covers {
    /// A detached or attached copy of our own `/dev/null`.
    null: Cover,
    empty: Cover,
}

#[derive(Debug)]
struct Cover {
    tree: OwnedFd,
    stat: Stat,
    attached: bool,
}

impl Cover {
    fn new(tree: OwnedFd, attached: bool) -> Result<Self> {
        let stat = rustix::fs::fstat(&tree).at(Step::Mask)?;
        Ok(Self { tree, stat, attached })
    }

    fn place(&mut self, place: BorrowedFd<'_>) -> std::result::Result<(), sys::SyscallError> {
        if self.attached {
            let copy = open_tree_clone(&self.tree, "", Depth::One)?;
            return move_mount(&copy, place);
        }
        move_mount(&self.tree, place)?;
        self.attached = true;
        Ok(())
    }
}

impl Covers {
    /// Takes the covers; `null` is refused unless it is the null device.
    pub(crate) fn new(null: OwnedFd, empty: OwnedFd) -> Result<Self> {
        let null = Cover::new(null, false)?;
        let is_null = FileType::from_raw_mode(null.stat.st_mode) == FileType::CharacterDevice
            && null.stat.st_rdev == makedev(1, 3);
        if !is_null {
            return Err(CreateError::new(
                Step::Mask,
                libc::EINVAL,
                "/dev/null is not the null device",
            ));
        }
        Ok(Self {
            null,
            empty: Cover::new(empty, false)?,
        })
    }

    /// Hides `path`: a directory behind an empty one, anything else behind the null device. A path that is not there
    /// needs no mask; one that cannot be placed, or is not what the program will see, is an error.
    pub(crate) fn mask(&mut self, root: &Root, path: &Path) -> Result<()> {
        let context = || format!("mask {path:?}");
        let place = match root.open_in_root(path, OFlags::PATH, Mode::empty()) {
            Err(error) if is_missing(error.errno()) => return Ok(()),
            result => result.at_with(Step::Mask, context)?,
        };
        let stat = rustix::fs::fstat(&place).at_with(Step::Mask, context)?;
        let cover = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            &mut self.empty
        } else {
            &mut self.null
        };
        cover.place(place.as_fd()).at_with(Step::Mask, context)?;
        // The path as the program will walk it (we are in its root), not our descriptor.
        let seen = rustix::fs::stat(path).at_with(Step::Mask, context)?;
        if (seen.st_dev, seen.st_ino) != (cover.stat.st_dev, cover.stat.st_ino) {
            return Err(CreateError::new(
                Step::Mask,
                libc::EPERM,
                format!("{}: something else is still seen there", context()),
            ));
        }
        Ok(())
    }
}

/// Makes `path`, with all below it, read-only; a path that is not there needs nothing.
pub(crate) fn make_read_only(root: &Root, path: &Path) -> Result<()> {
    let context = || format!("make {path:?} read-only");
    let place = match root.open_in_root(path, OFlags::PATH, Mode::empty()) {
        Err(error) if is_missing(error.errno()) => return Ok(()),
        result => result.at_with(Step::Mask, context)?,
    };
    let copy = open_tree_clone(&place, "", Depth::Recursive).at_with(Step::Mask, context)?;
    let change = Change {
        set: Attributes::RDONLY,
        ..Change::default()
    };
    mount_setattr(&copy, Depth::Recursive, change).at_with(Step::Mask, context)?;
    move_mount(&copy, &place).at_with(Step::Mask, context)?;
    let seen = rustix::fs::statvfs(path).at_with(Step::Mask, context)?;
    if !seen.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        return Err(CreateError::new(
            Step::Mask,
            libc::EPERM,
            format!("{}: it can still be written", context()),
        ));
    }
    Ok(())
}
