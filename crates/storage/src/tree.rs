//! Copying and measuring trees, entry by entry below descriptors; nothing is followed.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
    chownat, fchmod, fstat, ioctl_ficlone, lgetxattr, linkat, llistxattr, lsetxattr, mkdirat, mknodat,
    openat, openat2, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::driver::Usage;
use crate::error::StorageError;

/// Deepest tree that is copied or measured; each level holds a descriptor or two open.
const MAX_DEPTH: usize = 512;

/// Removes a tree of Berth's own, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), StorageError> {
    archive::remove_tree_at(path).map_err(StorageError::step("remove", path))
}

/// Opens a directory of Berth's own.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, StorageError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(StorageError::step("open", path))
}

/// Opens the directory `name` itself in `parent`, never through a link.
pub(crate) fn open_directory(parent: impl AsFd, name: &CStr) -> io::Result<OwnedFd> {
    Ok(openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
    )?)
}

/// Returns the names in a directory, in no order.
pub(crate) fn names(directory: impl AsFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for item in Dir::read_from(directory)? {
        let item = item?;
        if !matches!(item.file_name().to_bytes(), b"." | b"..") {
            names.push(item.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Returns whether `stat` is overlay's whiteout.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Returns whether `stat` is a directory.
pub(crate) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Measures what is below `directory`, without whiteouts and without the directory itself.
pub(crate) fn usage(directory: BorrowedFd<'_>) -> io::Result<Usage> {
    let mut usage = Usage::default();
    let mut seen = std::collections::HashSet::new();
    measure(directory, &mut usage, &mut seen, 0)?;
    Ok(usage)
}

fn measure(
    directory: BorrowedFd<'_>,
    usage: &mut Usage,
    seen: &mut std::collections::HashSet<u64>,
    depth: usize,
) -> io::Result<()> {
    for name in names(directory)? {
        let stat = match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // A running program took it away.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        if is_whiteout(&stat) || (stat.st_nlink > 1 && !is_directory(&stat) && !seen.insert(stat.st_ino)) {
            continue;
        }
        usage.inodes += 1;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => usage.bytes += u64::try_from(stat.st_size).unwrap_or(0),
            // Deeper than any program but a hostile one goes; what lies there is not counted.
            FileType::Directory if depth < MAX_DEPTH => match open_directory(directory, &name) {
                Ok(child) => measure(child.as_fd(), usage, seen, depth + 1)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
            _ => {}
        }
    }
    Ok(())
}

/// Copies files into a tree that nobody else uses, keeping owners, modes, times, attributes and hard links.
#[derive(Debug)]
pub(crate) struct Copier<'a> {
    /// The tree's top.
    target: BorrowedFd<'a>,
    /// Where the first name of a file with several went, relative to the top.
    links: HashMap<(u64, u64), CString>,
    /// A directory to leave out, by device and inode.
    skip: Option<(u64, u64)>,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(target: BorrowedFd<'a>, skip: Option<(u64, u64)>) -> Self {
        Self {
            target,
            links: HashMap::new(),
            skip,
        }
    }

    /// Copies all that is below `source`, and its attributes, to the target's top. Other file systems mounted below are
    /// left out.
    pub(crate) fn copy_all(&mut self, source: BorrowedFd<'_>) -> io::Result<()> {
        let target = self.target;
        let stat = fstat(source)?;
        self.copy_directory(source, target, b"", &stat, 0)
    }

    fn copy_directory(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        depth: usize,
    ) -> io::Result<()> {
        check_depth(depth)?;
        for name in names(source)? {
            let child = statat(source, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if self.skip == Some((child.st_dev, child.st_ino)) {
                continue;
            }
            let child_path = join(path, &name);
            if is_directory(&child) {
                mkdirat(target, &name, Mode::from(0o700))?;
                let (from, to) = (open_directory(source, &name)?, open_directory(target, &name)?);
                if child.st_dev == stat.st_dev {
                    self.copy_directory(from.as_fd(), to.as_fd(), &child_path, &child, depth + 1)?;
                } else {
                    copy_directory_attributes(from.as_fd(), to.as_fd(), &child)?;
                }
            } else {
                self.copy_file(source, target, &name, path, &child)?;
            }
        }
        copy_directory_attributes(source, target, stat)
    }

    /// Copies what is not a directory; `path` is the target directory's, relative to the top.
    pub(crate) fn copy_file(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> io::Result<()> {
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                return Ok(linkat(self.target, first, target, name, AtFlags::empty())?);
            }
            let own = CString::new(join(path, name))?;
            // A path beyond the kernel's limit cannot be linked to by its name; such a file is copied again.
            if own.as_bytes().len() < 4000 {
                self.links.insert((stat.st_dev, stat.st_ino), own);
            }
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => copy_content(source, target, name, stat)?,
            FileType::Symlink => symlinkat(readlinkat(source, name, Vec::new())?.as_c_str(), target, name)?,
            // A socket file is of no use without its program.
            FileType::Socket => return Ok(()),
            kind => mknodat(target, name, kind, Mode::from(0o600), stat.st_rdev)?,
        }
        chownat(
            target,
            name,
            Some(Uid::from_raw(stat.st_uid)),
            Some(Gid::from_raw(stat.st_gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        copy_attributes(&proc_path(source, name), &proc_path(target, name))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            let node = openat(
                target,
                name,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?;
            rustix::fs::chmod(
                format!("/proc/self/fd/{}", node.as_raw_fd()),
                Mode::from(stat.st_mode & 0o7777),
            )?;
        }
        Ok(utimensat(target, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

pub(crate) fn check_depth(depth: usize) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the tree is too deep"));
    }
    Ok(())
}

pub(crate) fn join(path: &[u8], name: &CStr) -> Vec<u8> {
    if path.is_empty() {
        name.to_bytes().to_vec()
    } else {
        [path, b"/", name.to_bytes()].concat()
    }
}

/// Gives the open directory `target` the owner, attributes, mode and times of `source`.
pub(crate) fn copy_directory_attributes(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    stat: &Stat,
) -> io::Result<()> {
    rustix::fs::fchown(
        target,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )?;
    copy_attributes(&proc_path(source, c"."), &proc_path(target, c"."))?;
    fchmod(target, Mode::from(stat.st_mode & 0o7777))?;
    Ok(rustix::fs::futimens(target, &times(stat))?)
}

/// A path to `name` in an open directory: the magic link of our own descriptor, then one step that is not followed.
fn proc_path(directory: BorrowedFd<'_>, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Copies the attributes that layers may have (`archive` lets no others in).
fn copy_attributes(source: &[u8], target: &[u8]) -> io::Result<()> {
    let mut list = [0u8; 4096];
    let mut long = Vec::new();
    let list = match llistxattr(source, &mut list[..]) {
        Ok(length) => &list[..length],
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(Errno::RANGE) => {
            long.resize(64 << 10, 0);
            let length = llistxattr(source, &mut long[..])?;
            &long[..length]
        }
        Err(error) => return Err(error.into()),
    };
    for name in list.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let kept = matches!(
            name,
            b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
        ) || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
        if !kept {
            continue;
        }
        let mut value = vec![0u8; 64 << 10];
        match lgetxattr(source, name, &mut value[..]) {
            Ok(length) => match lsetxattr(target, name, &value[..length], XattrFlags::empty()) {
                Ok(()) | Err(Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            },
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Copies a regular file: shares its blocks where the file system can, keeps its holes where it cannot.
fn copy_content(source: BorrowedFd<'_>, target: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = openat(source, name, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = openat(target, name, flags, Mode::from(0o600))?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size == 0 || ioctl_ficlone(&to, &from).is_ok() {
        return Ok(());
    }
    let (mut from, mut to) = (File::from(from), File::from(to));
    let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
    if allocated >= size {
        // `io::copy` uses copy_file_range between files.
        io::copy(&mut from, &mut to)?;
        return Ok(());
    }
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(&from, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(&from, rustix::fs::SeekFrom::Hole(start))?;
        from.seek(SeekFrom::Start(start))?;
        to.seek(SeekFrom::Start(start))?;
        io::copy(
            &mut Read::by_ref(&mut from).take(end.saturating_sub(start)),
            &mut to,
        )?;
        at = end.max(start + 1);
    }
    to.set_len(size)
}
