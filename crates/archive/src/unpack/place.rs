//! Makes one entry after the other.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chownat, fchmod, fchown,
    fsetxattr, futimens, linkat, lsetxattr, makedev, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::{Meaning, Path, UnpackOptions, Whiteouts, components, refuse};
use crate::entry::{Entry, EntryKind};
use crate::error::UnpackError;
use crate::reader::TarReader;
use crate::remove::{children, is_directory, remove_tree};
use crate::target::{Directory, Target, open_directory};

/// Overlay's mark of a directory that hides what lower layers have there.
const OVERLAY_OPAQUE: &str = "trusted.overlay.opaque";

pub(super) struct Unpacker<'a> {
    target: Target,
    options: &'a UnpackOptions,
    /// Times of directories, set when nothing changes them any more.
    times: Vec<(Vec<u8>, (i64, u32))>,
    /// What this archive made, for whiteouts that delete: they only mean the layers below.
    made: HashSet<Vec<u8>>,
    /// Directories in which nothing of the layers below is left.
    emptied: HashSet<Vec<u8>>,
    lost_xattrs: u64,
    defaults: Defaults,
}

/// What a new file is without being told, so that only what differs is set: most files of most layers belong to root
/// and have a mode that the process's mask lets through.
#[derive(Debug)]
struct Defaults {
    /// Whether new files belong to user 0.
    user_0: bool,
    /// The bits of a mode that a new file gets as they are asked for.
    mode: u32,
}

impl Defaults {
    fn read() -> Self {
        // The only way to read the mask without changing it for a moment. Without it every mode is set.
        let status = base::file::read_optional(std::path::Path::new("/proc/self/status"), 64 << 10);
        let text = status.ok().flatten().unwrap_or_default();
        let mask = String::from_utf8_lossy(&text)
            .lines()
            .find_map(|line| u32::from_str_radix(line.strip_prefix("Umask:")?.trim(), 8).ok());
        Self {
            user_0: rustix::process::geteuid().is_root(),
            mode: mask.map_or(0, |mask| 0o777 & !mask),
        }
    }
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(target: BorrowedFd<'_>, options: &'a UnpackOptions) -> io::Result<Self> {
        Ok(Self {
            target: Target::new(target)?,
            options,
            times: Vec::new(),
            made: HashSet::new(),
            emptied: HashSet::new(),
            lost_xattrs: 0,
            defaults: Defaults::read(),
        })
    }

    pub(super) fn place<R: BufRead>(
        &mut self,
        entry: &Entry,
        path: &Path,
        content: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        match &path.meaning {
            Meaning::Nothing => Ok(()),
            Meaning::Root => self
                .root(entry)
                .map_err(|source| make("set attributes of", entry, source)),
            Meaning::Opaque => self
                .opaque(&path.parent)
                .map_err(|source| make("empty", entry, source)),
            Meaning::Whiteout(name) => self
                .whiteout(&path.parent, name)
                .map_err(|source| make("white out", entry, source)),
            Meaning::Name(name) => {
                self.named(entry, &path.parent, name, content)?;
                if self.options.whiteouts == Whiteouts::Apply {
                    self.remember(&path.parent, name);
                }
                Ok(())
            }
        }
    }

    /// Sets the times of directories and returns the number of attributes that were lost.
    pub(super) fn finish(mut self) -> Result<u64, UnpackError> {
        for (path, mtime) in std::mem::take(&mut self.times) {
            let (parent, name) = split(&path);
            let set = |target: &mut Target| -> io::Result<()> {
                if name.is_empty() {
                    return Ok(futimens(&*target.open(b"")?, &times(mtime))?);
                }
                // A later member or whiteout may have put something else there.
                match open_directory(&*target.open(parent)?, name) {
                    Ok(directory) => Ok(futimens(directory, &times(mtime))?),
                    Err(_gone) => Ok(()),
                }
            };
            match set(&mut self.target) {
                Ok(()) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                Err(source) => {
                    return Err(UnpackError::Make {
                        doing: "set the time of",
                        path: crate::entry::for_display(&path),
                        source,
                    });
                }
            }
        }
        Ok(self.lost_xattrs)
    }

    fn root(&mut self, entry: &Entry) -> io::Result<()> {
        let root = self.target.open(b"")?;
        self.attributes(root.as_fd(), entry, None)?;
        self.target.refresh_root()?;
        self.times.push((Vec::new(), entry.mtime));
        Ok(())
    }

    fn named<R: BufRead>(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &[u8],
        content: &mut TarReader<R>,
    ) -> Result<(), UnpackError> {
        let directory = self
            .target
            .open_or_make(parent)
            .map_err(|source| make("open the directory of", entry, source))?;
        let opened = &*directory;
        let directory = opened.as_fd();
        let made = match entry.kind {
            EntryKind::Directory => self.directory(entry, opened, parent, name),
            EntryKind::File => self.file(entry, opened, name, content),
            EntryKind::HardLink => return self.hard_link(entry, directory, name),
            EntryKind::Symlink => self
                .again(directory, name, || symlinkat(&entry.link[..], directory, name))
                .and_then(|()| self.attributes_of_name(opened, name, entry)),
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                let is_whiteout = entry.kind == EntryKind::CharDevice && entry.device == (0, 0);
                if is_whiteout && self.options.whiteouts != Whiteouts::Literal {
                    return Err(refuse(entry, "device 0/0 is overlay's whiteout"));
                }
                self.node(entry, opened, name)
            }
        };
        made.map_err(|source| make("make", entry, source))
    }

    fn directory(&mut self, entry: &Entry, opened: &Directory, path: &[u8], name: &[u8]) -> io::Result<()> {
        let parent = opened.as_fd();
        let mut was_whiteout = false;
        let mut is_new = true;
        match mkdirat(parent, name, Mode::from(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if !is_directory(stat.st_mode) {
                    was_whiteout = self.options.whiteouts == Whiteouts::Overlay
                        && FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
                        && stat.st_rdev == 0;
                    self.replace(parent, name)?;
                    mkdirat(parent, name, Mode::from(0o700))?;
                } else {
                    is_new = false;
                }
            }
            Err(error) => return Err(error.into()),
        }
        let directory = open_directory(parent, name)?;
        if was_whiteout {
            // The layer deletes the lower directory and makes a new one: it must not show what was deleted.
            fsetxattr(&directory, OVERLAY_OPAQUE, b"y", XattrFlags::empty())?;
        }
        let made_in = Some(opened).filter(|_| is_new);
        self.attributes(directory.as_fd(), entry, made_in.map(|parent| (parent, 0o700)))?;
        let path = join(path, name);
        if !is_new {
            self.target.forget_path(&path);
        }
        self.times.push((path, entry.mtime));
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        entry: &Entry,
        parent: &Directory,
        name: &[u8],
        content: &mut TarReader<R>,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Only its owner may have the content before all is set; root's own needs nothing more than its mode.
        let is_default = self.is_default_owner(entry, parent);
        let mode = if is_default && entry.xattrs.is_empty() && entry.mode & !self.defaults.mode == 0 {
            entry.mode
        } else {
            0o600
        };
        let made = self.again(parent.as_fd(), name, || {
            openat(parent, name, flags, Mode::from(mode))
        })?;
        let mut file = File::from(made);
        match &entry.sparse {
            None => content.take_content(entry.size, |piece| file.write_all(piece))?,
            Some(map) => {
                for &(offset, length) in map {
                    file.seek(SeekFrom::Start(offset))?;
                    content.take_content(length, |piece| file.write_all(piece))?;
                }
                file.set_len(entry.size)?;
            }
        }
        self.attributes(file.as_fd(), entry, Some((parent, mode)))?;
        Ok(futimens(&file, &times(entry.mtime))?)
    }

    fn hard_link(&mut self, entry: &Entry, parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), UnpackError> {
        let target = components(&entry.link).map_err(|_dots| refuse(entry, "its target has \"..\""))?;
        let Some((&target_name, directories)) = target.split_last() else {
            return Err(refuse(entry, "its target is the root"));
        };
        let link = |own: &mut Self| -> io::Result<()> {
            let from = own.target.open(&directories.join(&b'/'))?;
            let stat = statat(&*from, target_name, AtFlags::SYMLINK_NOFOLLOW)?;
            if is_directory(stat.st_mode) {
                return Err(io::Error::from(io::ErrorKind::IsADirectory));
            }
            match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                // It is that file already; removing it first would lose it.
                Ok(own) if (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino) => return Ok(()),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            own.again(parent, name, || {
                linkat(&*from, target_name, parent, name, AtFlags::empty())
            })
        };
        link(self).map_err(|source| make("link", entry, source))
    }

    fn node(&mut self, entry: &Entry, opened: &Directory, name: &[u8]) -> io::Result<()> {
        let parent = opened.as_fd();
        let kind = match entry.kind {
            EntryKind::CharDevice => FileType::CharacterDevice,
            EntryKind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        let device = makedev(entry.device.0, entry.device.1);
        self.again(parent, name, || {
            mknodat(parent, name, kind, Mode::from(0o600), device)
        })?;
        self.attributes_of_name(opened, name, entry)?;
        // An O_PATH descriptor cannot be given a mode; its magic link can, and leads nowhere else.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(parent, name, flags, Mode::empty())?;
        Ok(rustix::fs::chmod(
            format!("/proc/self/fd/{}", node.as_raw_fd()),
            Mode::from(entry.mode),
        )?)
    }

    /// Makes something, taking away first what has its name.
    fn again<T>(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        match make() {
            Err(Errno::EXIST) => {
                self.replace(parent, name)?;
                Ok(make()?)
            }
            other => Ok(other?),
        }
    }

    fn replace(&mut self, parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        self.target.forget();
        remove_tree(parent, name)
    }

    /// Returns whether what is made in `parent` has the owners of `entry` without being told.
    fn is_default_owner(&self, entry: &Entry, parent: &Directory) -> bool {
        let is_root = (entry.uid, entry.gid) == (0, 0) && self.options.owner_base == 0;
        is_root && self.defaults.user_0 && parent.gives_group_0
    }

    /// Sets owner, attributes and mode, in the one order that works. For a file that was just made, `made` has its
    /// parent and the mode that was asked for: what it has already is not set again.
    fn attributes(
        &mut self,
        file: BorrowedFd<'_>,
        entry: &Entry,
        made: Option<(&Directory, u32)>,
    ) -> io::Result<()> {
        let (uid, gid) = self.owner(entry)?;
        if !made.is_some_and(|(parent, _)| self.is_default_owner(entry, parent)) {
            fchown(file, Some(uid), Some(gid))?;
        }
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
            let set = fsetxattr(file, &name[..], value, XattrFlags::empty());
            self.count_lost(set)?;
            if name == b"system.posix_acl_default" {
                // From here on modes of new files are not what is asked for.
                self.defaults.mode = 0;
            }
        }
        let has_mode = made.is_some_and(|(_, mode)| mode == entry.mode && mode & !self.defaults.mode == 0);
        if !has_mode {
            fchmod(file, Mode::from(entry.mode))?;
        }
        Ok(())
    }

    /// Sets owner, attributes and time of what cannot be opened: links and device nodes, just made in `opened`.
    fn attributes_of_name(&mut self, opened: &Directory, name: &[u8], entry: &Entry) -> io::Result<()> {
        let parent = opened.as_fd();
        let (uid, gid) = self.owner(entry)?;
        if !self.is_default_owner(entry, opened) {
            chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        for (attribute, value) in entry.xattrs.iter().filter(|(attribute, _)| is_kept(attribute)) {
            let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
            path.extend_from_slice(name);
            let set = lsetxattr(path, &attribute[..], value, XattrFlags::empty());
            self.count_lost(set)?;
        }
        Ok(utimensat(
            parent,
            name,
            &times(entry.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    fn count_lost(&mut self, set: rustix::io::Result<()>) -> io::Result<()> {
        match set {
            Ok(()) => Ok(()),
            // User attributes are not allowed on links and nodes, and some file systems have none at all.
            Err(Errno::OPNOTSUPP | Errno::PERM) => {
                self.lost_xattrs += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn owner(&self, entry: &Entry) -> io::Result<(Uid, Gid)> {
        let shift = |id: u32| {
            let too_large = || {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the owner is beyond the user namespace",
                )
            };
            let fits = self.options.owner_base == 0 || id < 65_536;
            id.checked_add(self.options.owner_base)
                .filter(|_| fits)
                .ok_or_else(too_large)
        };
        Ok((Uid::from_raw(shift(entry.uid)?), Gid::from_raw(shift(entry.gid)?)))
    }

    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> io::Result<()> {
        if self.options.whiteouts == Whiteouts::Apply {
            return self.delete(parent, name);
        }
        let directory = self.target.open_or_make(parent)?;
        let directory = directory.as_fd();
        match mknodat(directory, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => Ok(()),
            // The layer has both the whiteout and the name: the name stays, and hides the lower one wholly.
            Err(Errno::EXIST) => match open_directory(directory, name) {
                Ok(own) => Ok(fsetxattr(own, OVERLAY_OPAQUE, b"y", XattrFlags::empty())?),
                Err(_not_a_directory) => Ok(()),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn opaque(&mut self, path: &[u8]) -> io::Result<()> {
        if self.options.whiteouts == Whiteouts::Overlay {
            let directory = self.target.open_or_make(path)?;
            return Ok(fsetxattr(&*directory, OVERLAY_OPAQUE, b"y", XattrFlags::empty())?);
        }
        let directory = match self.target.open(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.target.forget();
        self.empty(directory.as_fd(), path)
    }

    /// Deletes `name` unless this archive made it; of a directory that it made, everything else inside.
    fn delete(&mut self, parent: &[u8], name: &[u8]) -> io::Result<()> {
        let directory = match self.target.open(parent) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        self.target.forget();
        let path = join(parent, name);
        if !self.made.contains(&path) {
            return remove_tree(&*directory, name);
        }
        match open_directory(&*directory, name) {
            Ok(own) => self.empty(own.as_fd(), &path),
            Err(_not_a_directory) => Ok(()),
        }
    }

    fn empty(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> io::Result<()> {
        if !self.emptied.insert(path.to_vec()) {
            return Ok(());
        }
        for child in children(directory)? {
            let child = child.to_bytes();
            let child_path = join(path, child);
            if !self.made.contains(&child_path) {
                remove_tree(directory, child)?;
            } else if let Ok(own) = open_directory(directory, child) {
                self.empty(own.as_fd(), &child_path)?;
            }
        }
        Ok(())
    }

    fn remember(&mut self, parent: &[u8], name: &[u8]) {
        let mut path = parent;
        while !path.is_empty() && self.made.insert(path.to_vec()) {
            path = split(path).0;
        }
        self.made.insert(join(parent, name));
    }
}

impl std::fmt::Debug for Unpacker<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Unpacker")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

fn make(doing: &'static str, entry: &Entry, source: io::Error) -> UnpackError {
    UnpackError::Make {
        doing,
        path: entry.path_for_display(),
        source,
    }
}

/// Returns whether archives may have this attribute.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    match name {
        b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default" => true,
        _ => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
    }
}

fn times(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.0,
        tv_nsec: mtime.1.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() {
        name.to_vec()
    } else {
        [parent, b"/", name].concat()
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
