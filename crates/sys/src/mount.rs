//! The mount API on file descriptors: configure a file system, mount it detached, change it, attach it.
//!
//! A detached mount is a descriptor like any other: it can be worked in by `*at` calls, handed to another process
//! and attached there. Closing the last descriptor of one that was never attached unmounts it, which waits for an
//! RCU grace period; hot paths keep such descriptors until later.
#![expect(unsafe_code, reason = "mount_setattr is in neither libc nor rustix")]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use crate::error::{SyscallError, call, check};

/// Attributes of a mount (`MOUNT_ATTR_…`), as the kernel numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(
    /// The bits.
    pub u64,
);

impl Attributes {
    /// No writing.
    pub const RDONLY: Self = Self(0x1);
    /// Set-user-id bits and file capabilities have no effect.
    pub const NOSUID: Self = Self(0x2);
    /// Device nodes cannot be opened.
    pub const NODEV: Self = Self(0x4);
    /// Programs cannot be run.
    pub const NOEXEC: Self = Self(0x8);
    /// The mask of the access time's modes; clear it when setting one of them.
    pub const ATIME: Self = Self(0x70);
    /// Access times are never written.
    pub const NOATIME: Self = Self(0x10);
    /// Access times are always written.
    pub const STRICTATIME: Self = Self(0x20);
    /// Access times of directories are never written.
    pub const NODIRATIME: Self = Self(0x80);
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: Self = Self(0x20_0000);

    /// Returns no attribute.
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Returns whether there is no attribute.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns whether every attribute of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::ops::BitOr for Attributes {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for Attributes {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// How mounts below a mount travel to and from its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// In neither direction.
    Private,
    /// From the peers to this mount.
    Slave,
    /// In both directions.
    Shared,
    /// In neither direction, and the mount cannot be bound.
    Unbindable,
}

/// How far a change or a clone reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// This mount alone.
    One,
    /// This mount and every mount below it.
    Recursive,
}

/// A change of a mount, for [`mount_setattr`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Change<'a> {
    /// Attributes to set.
    pub set: Attributes,
    /// Attributes to clear.
    pub clear: Attributes,
    /// The new propagation.
    pub propagation: Option<Propagation>,
    /// A user namespace: ids on disk are shifted by its map (idmapped mount, Linux 5.12).
    pub idmap: Option<BorrowedFd<'a>>,
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct mount_attr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the mount whose root is `mount`, and with [`Depth::Recursive`] all below it, at once or not at all.
pub fn mount_setattr(mount: impl AsFd, depth: Depth, change: Change<'_>) -> Result<(), SyscallError> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let mut attributes = mount_attr {
        attr_set: change.set.0,
        attr_clr: change.clear.0,
        propagation: match change.propagation {
            None => 0,
            Some(Propagation::Private) => libc::MS_PRIVATE,
            Some(Propagation::Slave) => libc::MS_SLAVE,
            Some(Propagation::Shared) => libc::MS_SHARED,
            Some(Propagation::Unbindable) => libc::MS_UNBINDABLE,
        },
        userns_fd: 0,
    };
    if let Some(namespace) = change.idmap {
        attributes.attr_set |= MOUNT_ATTR_IDMAP;
        attributes.userns_fd = namespace.as_raw_fd().unsigned_abs().into();
    }
    let recursive = match depth {
        Depth::One => 0,
        Depth::Recursive => libc::AT_RECURSIVE,
    };
    let raw = mount.as_fd().as_raw_fd();
    // SAFETY: the path is an empty C string, and the kernel reads the structure, whose size is given.
    let value = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            raw,
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw mut attributes,
            size_of::<mount_attr>(),
        )
    };
    call!(
        check(value),
        "mount_setattr({raw}, {depth:?}, {{set={:#x}, clear={:#x}, propagation={:?}}})",
        attributes.attr_set,
        attributes.attr_clr,
        change.propagation
    )
    .map(drop)
}

/// Returns a new, empty configuration of the file system `name`.
pub fn fsopen(name: &CStr) -> Result<OwnedFd, SyscallError> {
    call!(
        rustix::mount::fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC),
        "fsopen({name:?})"
    )
}

/// Returns a configuration of the file system whose mount's root is `mount`, to change it.
pub fn fspick(mount: impl AsFd) -> Result<OwnedFd, SyscallError> {
    let mount = mount.as_fd();
    call!(
        rustix::mount::fspick(
            mount,
            c"",
            FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH
        ),
        "fspick({}, \"\")",
        mount.as_raw_fd()
    )
}

/// Changes the file system of a configuration from [`fspick`].
pub fn fsconfig_reconfigure(config: impl AsFd) -> Result<(), SyscallError> {
    rustix::mount::fsconfig_reconfigure(config.as_fd())
        .map_err(|errno| with_log(config.as_fd(), "fsconfig(CMD_RECONFIGURE)".to_owned(), errno))
}

/// Sets the string option `key` of a configuration.
pub fn fsconfig_set_string(config: impl AsFd, key: &CStr, value: &CStr) -> Result<(), SyscallError> {
    rustix::mount::fsconfig_set_string(config.as_fd(), key, value).map_err(|errno| {
        with_log(
            config.as_fd(),
            format!("fsconfig(SET_STRING, {key:?}, {value:?})"),
            errno,
        )
    })
}

/// Sets the option `key` of a configuration, which has no value.
pub fn fsconfig_set_flag(config: impl AsFd, key: &CStr) -> Result<(), SyscallError> {
    rustix::mount::fsconfig_set_flag(config.as_fd(), key)
        .map_err(|errno| with_log(config.as_fd(), format!("fsconfig(SET_FLAG, {key:?})"), errno))
}

/// Sets the option `key` of a configuration to a descriptor (overlay's layers: Linux 6.13).
pub fn fsconfig_set_fd(config: impl AsFd, key: &CStr, value: impl AsFd) -> Result<(), SyscallError> {
    rustix::mount::fsconfig_set_fd(config.as_fd(), key, value.as_fd())
        .map_err(|errno| with_log(config.as_fd(), format!("fsconfig(SET_FD, {key:?})"), errno))
}

/// Makes the superblock of a configuration.
pub fn fsconfig_create(config: impl AsFd) -> Result<(), SyscallError> {
    rustix::mount::fsconfig_create(config.as_fd())
        .map_err(|errno| with_log(config.as_fd(), "fsconfig(CMD_CREATE)".to_owned(), errno))
}

/// Returns a detached mount of a configuration whose superblock was made.
pub fn fsmount(config: impl AsFd, attributes: Attributes) -> Result<OwnedFd, SyscallError> {
    let bits = u32::try_from(attributes.0).unwrap_or(u32::MAX);
    rustix::mount::fsmount(
        config.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::from_bits_retain(bits),
    )
    .map_err(|errno| with_log(config.as_fd(), format!("fsmount({bits:#x})"), errno))
}

/// Adds what the file system said about the failure, which it leaves in its configuration's log.
fn with_log(config: BorrowedFd<'_>, mut call: String, errno: Errno) -> SyscallError {
    let mut buffer = [0u8; 512];
    while let Ok(length @ 1..) = rustix::io::read(config, &mut buffer) {
        let line = String::from_utf8_lossy(&buffer[..length]);
        call.push_str(" [");
        call.push_str(line.trim());
        call.push(']');
        if call.len() > 4096 {
            break;
        }
    }
    SyscallError::new(call, errno)
}

/// Returns a detached copy of the mount tree at `path` below `directory` (a bind mount without a place yet).
///
/// Follows a symbolic link at the end of `path`; an empty path is `directory` itself.
pub fn open_tree_clone(
    directory: impl AsFd,
    path: impl AsRef<Path>,
    depth: Depth,
) -> Result<OwnedFd, SyscallError> {
    let path = path.as_ref();
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if depth == Depth::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if path.as_os_str().is_empty() {
        flags |= OpenTreeFlags::AT_EMPTY_PATH;
    }
    let directory = directory.as_fd();
    call!(
        rustix::mount::open_tree(directory, path, flags),
        "open_tree({}, {path:?}, OPEN_TREE_CLONE, {depth:?})",
        directory.as_raw_fd()
    )
}

/// As [`open_tree_clone`] for a path as the calling process sees it.
pub fn open_tree_clone_at(path: impl AsRef<Path>, depth: Depth) -> Result<OwnedFd, SyscallError> {
    open_tree_clone(CWD, path, depth)
}

/// Attaches the mount `mount` at the file or directory `target` (an `O_PATH` descriptor will do).
pub fn move_mount(mount: impl AsFd, target: impl AsFd) -> Result<(), SyscallError> {
    let (mount, target) = (mount.as_fd(), target.as_fd());
    call!(
        rustix::mount::move_mount(
            mount,
            c"",
            target,
            c"",
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
        ),
        "move_mount({}, \"\", {}, \"\")",
        mount.as_raw_fd(),
        target.as_raw_fd()
    )
}

/// Unmounts what is at `path`, as soon as nobody uses it any more.
pub fn umount2_detach(path: impl AsRef<Path>) -> Result<(), SyscallError> {
    let path = path.as_ref();
    call!(
        rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW),
        "umount2({path:?}, MNT_DETACH)"
    )
}

/// Makes the mount at `new_root` the root of the caller's mount namespace and puts the old root at `put_old`.
pub fn pivot_root(new_root: impl AsRef<Path>, put_old: impl AsRef<Path>) -> Result<(), SyscallError> {
    let (new_root, put_old) = (new_root.as_ref(), put_old.as_ref());
    call!(
        rustix::process::pivot_root(new_root, put_old),
        "pivot_root({new_root:?}, {put_old:?})"
    )
}
