//! From an archive to a container's directory, in which the container may do as it likes meanwhile.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use archive::{Decoder, Entry, EntryKind, Limits, ReadError, TarReader, is_of_kernel};
use base::error::{Kind, Kinded, kind_of_io};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat, openat2, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::path::below;
use super::root::Sight;

/// How often something that got in the way is taken away again.
const TRIES: usize = 16;

/// How to extract.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Whether it is an error that a directory would replace something else, or the other way round.
    pub(super) keep_kinds: bool,
    /// The ids, inside, that all files get; `None`: their own.
    pub(super) owner: Option<(u32, u32)>,
}

/// Why an archive was not extracted, or not to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExtractError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is compressed in a way that is not known.
    #[error("read archive")]
    Compression(#[source] io::Error),
    /// A member asks for something that is not done.
    #[error("refuse \"{path}\": {problem}")]
    Refused {
        /// The member.
        path: String,
        /// What it asks for.
        problem: &'static str,
    },
    /// Docker's text: a directory is in the way, or would be.
    #[error("{text}")]
    Kinds {
        /// Docker's text.
        text: String,
    },
    /// A member could not be made.
    #[error("{doing} \"{path}\"")]
    Make {
        /// The step.
        doing: &'static str,
        /// The member.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl ExtractError {
    /// Returns whether the file system is read-only.
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Self::Make { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem)
    }
}

impl Kinded for ExtractError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read(error) => error.kind(),
            Self::Compression(_) | Self::Refused { .. } | Self::Kinds { .. } => Kind::Invalid,
            Self::Make { .. } if self.is_read_only() => Kind::Denied,
            Self::Make { source, .. } => kind_of_io(source),
        }
    }
}

/// Extracts the archive in `reader` below `directory`, whose path inside of the container is `path`.
pub(super) fn extract(
    sight: &Sight,
    path: &str,
    directory: OwnedFd,
    reader: impl Read,
    options: &Options,
) -> Result<(), ExtractError> {
    let decoder = Decoder::new(reader).map_err(ExtractError::Compression)?;
    let mut tar = TarReader::new(decoder, Limits::LAYER);
    let mut extractor = Extractor {
        sight,
        path,
        directory,
        options,
        times: Vec::new(),
    };
    while let Some(entry) = tar.next_entry()? {
        extractor.place(&entry, &mut tar)?;
    }
    tar.drain()?;
    extractor.finish();
    Ok(())
}

struct Extractor<'a> {
    sight: &'a Sight,
    path: &'a str,
    directory: OwnedFd,
    options: &'a Options,
    /// Directories whose times are set when nothing changes them any more.
    times: Vec<(OwnedFd, (i64, u32))>,
}

/// Directories that are kept open for their times; the others get theirs at once.
const MOST_KEPT: usize = 256;

impl Extractor<'_> {
    fn place<R: Read>(&mut self, entry: &Entry, content: &mut TarReader<R>) -> Result<(), ExtractError> {
        let components = components(&entry.path).map_err(|problem| refuse(entry, problem))?;
        let Some((&name, parents)) = components.split_last() else {
            if entry.kind != EntryKind::Directory {
                return Err(refuse(entry, "the root is not a directory"));
            }
            let own = reopen(self.directory.as_fd()).map_err(|error| make("open", entry, error))?;
            return self.finish_directory(own, entry);
        };
        if components.len() > Limits::LAYER.depth {
            return Err(refuse(entry, "it lies too deep"));
        }
        let parent = self
            .open_parent(&parents.join(&b'/'))
            .map_err(|error| make("open the directory of", entry, error))?;
        if is_of_kernel(parent.as_fd()) {
            return Err(refuse(entry, "it would lie in a file system of the kernel"));
        }
        self.check_kinds(parent.as_fd(), name, entry)?;
        let name_of = OsStr::from_bytes(name).to_owned();
        match entry.kind {
            EntryKind::Directory => self.make_directory(parent.as_fd(), &name_of, entry),
            EntryKind::File => self
                .file(parent, &name_of, entry, content)
                .map_err(|error| make("make", entry, error)),
            EntryKind::HardLink => self.hard_link(parent, &name_of, entry),
            EntryKind::Symlink => self
                .symlink(parent, &name_of, entry)
                .map_err(|error| make("make", entry, error)),
            EntryKind::Fifo => self
                .fifo(parent, &name_of, entry)
                .map_err(|error| make("make", entry, error)),
            EntryKind::CharDevice | EntryKind::BlockDevice => Err(refuse(
                entry,
                "devices are not copied into containers: use --device",
            )),
        }
    }

    /// Opens the directory `path` below the target, links resolved as in the container, and makes what is missing of it.
    fn open_parent(&self, path: &[u8]) -> io::Result<OwnedFd> {
        if path.is_empty() {
            return self.directory.try_clone();
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // Nearly always there is no link; then it is found below the very directory that was opened.
        if let Ok(directory) = openat2(&self.directory, path, flags, Mode::empty(), resolve) {
            return Ok(directory);
        }
        let whole = below(self.path, path);
        self.sight.root.mkdir_all(&whole, 0o755).map_err(io::Error::from)
    }

    /// Refuses to change what a name is, if that was asked for. The texts are docker's.
    fn check_kinds(&self, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), ExtractError> {
        let present = match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Err(_nothing) => return Ok(()),
        };
        let wanted = entry.kind == EntryKind::Directory;
        if !self.options.keep_kinds || present == wanted {
            return Ok(());
        }
        let path = below(self.path, name);
        let (present, wanted) = if present {
            ("directory", "non-directory")
        } else {
            ("non-directory", "directory")
        };
        Err(ExtractError::Kinds {
            text: format!(
                "cannot overwrite {present} \"{}\" with {wanted} \"{}\"",
                path.to_string_lossy().escape_debug(),
                self.path
            ),
        })
    }

    fn make_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        entry: &Entry,
    ) -> Result<(), ExtractError> {
        let failed = |error: io::Error| make("make", entry, error);
        let open = || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(parent, name, flags, Mode::empty())
        };
        let mut tries = 0;
        let directory = loop {
            match mkdirat(parent, name, Mode::from(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            }
            match open() {
                Ok(directory) => break directory,
                // Something else is there.
                Err(Errno::NOTDIR | Errno::LOOP) if tries < TRIES => {
                    tries += 1;
                    self.clear(parent, name).map_err(failed)?;
                }
                Err(error) => return Err(failed(error.into())),
            }
        };
        self.finish_directory(directory, entry)
    }

    fn finish_directory(&mut self, directory: OwnedFd, entry: &Entry) -> Result<(), ExtractError> {
        self.attributes(directory.as_fd(), entry)
            .map_err(|error| make("set the attributes of", entry, error))?;
        if self.times.len() < MOST_KEPT {
            self.times.push((directory, entry.mtime));
        } else {
            futimens(directory, &times(entry.mtime)).ok();
        }
        Ok(())
    }

    fn file<R: Read>(
        &self,
        parent: OwnedFd,
        name: &OsString,
        entry: &Entry,
        content: &mut TarReader<R>,
    ) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.again(parent.as_fd(), name, || {
            openat(&parent, &**name, flags, Mode::from(0o600))
        })?;
        let mut file = File::from(file);
        match &entry.sparse {
            None => copy(content, &mut file, entry.size)?,
            Some(map) => {
                for &(offset, length) in map {
                    file.seek(SeekFrom::Start(offset))?;
                    copy(content, &mut file, length)?;
                }
                file.set_len(entry.size)?;
            }
        }
        self.attributes(file.as_fd(), entry)?;
        Ok(futimens(&file, &times(entry.mtime))?)
    }

    fn symlink(&self, parent: OwnedFd, name: &OsString, entry: &Entry) -> io::Result<()> {
        self.again(parent.as_fd(), name, || {
            symlinkat(&entry.link[..], &parent, &**name)
        })?;
        let (user, group) = self.owner(entry);
        chownat(
            &parent,
            &**name,
            Some(user),
            Some(group),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        Ok(utimensat(
            &parent,
            &**name,
            &times(entry.mtime),
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    fn fifo(&self, parent: OwnedFd, name: &OsString, entry: &Entry) -> io::Result<()> {
        self.again(parent.as_fd(), name, || {
            mknodat(&parent, &**name, FileType::Fifo, Mode::from(0o600), 0)
        })?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = openat(&parent, &**name, flags, Mode::empty())?;
        // The container may have put another file there, which must not get an owner and a mode of ours.
        if FileType::from_raw_mode(fstat(&node)?.st_mode) != FileType::Fifo {
            return Err(io::Error::from(Errno::AGAIN));
        }
        let (user, group) = self.owner(entry);
        let own = format!("/proc/self/fd/{}", node.as_raw_fd());
        rustix::fs::chown(&own, Some(user), Some(group))?;
        Ok(rustix::fs::chmod(&own, Mode::from(entry.mode))?)
    }

    fn hard_link(&self, parent: OwnedFd, name: &OsString, entry: &Entry) -> Result<(), ExtractError> {
        let target = components(&entry.link).map_err(|problem| refuse(entry, problem))?;
        let Some((&target_name, directories)) = target.split_last() else {
            return Err(refuse(entry, "its target is the root"));
        };
        let link = || -> io::Result<()> {
            let from = self.open_parent(&directories.join(&b'/'))?;
            self.again(parent.as_fd(), name, || {
                linkat(&from, target_name, &parent, &**name, AtFlags::empty())
            })
        };
        link().map_err(|error| make("link", entry, error))
    }

    /// Makes something; what has its name is taken away first.
    fn again<T>(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        make: impl Fn() -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        for _ in 0..TRIES {
            match make() {
                Err(Errno::EXIST) => self.clear(parent, name)?,
                other => return Ok(other?),
            }
        }
        Err(io::Error::from(Errno::EXIST))
    }

    fn clear(&self, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
        archive::remove_tree(parent, name.as_bytes())
    }

    /// Sets owner, attributes and mode, in the one order that works.
    fn attributes(&self, file: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
        let (user, group) = self.owner(entry);
        fchown(file, Some(user), Some(group))?;
        for (name, value) in &entry.xattrs {
            let Some(value) = self.sight.ids.attribute_outside(name, value.clone()) else {
                continue;
            };
            match fsetxattr(file, &name[..], &value, XattrFlags::empty()) {
                // What the file system cannot hold, or this file system not for containers.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(fchmod(file, Mode::from(entry.mode))?)
    }

    /// Returns the owner on the disk. Ids that the container does not have become its root's.
    fn owner(&self, entry: &Entry) -> (Uid, Gid) {
        let ids = &self.sight.ids;
        let (user, group) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let root = |id: Option<u32>| id.unwrap_or(0);
        let user = ids.user_outside(user).or_else(|| ids.user_outside(0));
        let group = ids.group_outside(group).or_else(|| ids.group_outside(0));
        (Uid::from_raw(root(user)), Gid::from_raw(root(group)))
    }

    fn finish(self) {
        for (directory, mtime) in self.times {
            // The container may have removed it.
            futimens(directory, &times(mtime)).ok();
        }
    }
}

/// Opens for reading what is open as a path only.
fn reopen(directory: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(directory, ".", flags, Mode::empty())?)
}

/// Splits a path; a leading slash and `.` are dropped, `..` is refused.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let mut components = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err("its path has \"..\""),
            name if name.len() > 255 => return Err("its name is too long"),
            name => components.push(name),
        }
    }
    Ok(components)
}

fn copy<R: Read>(content: &mut TarReader<R>, file: &mut File, bytes: u64) -> io::Result<()> {
    let copied = io::copy(&mut content.take(bytes), file)?;
    if copied != bytes {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    file.flush()
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

fn refuse(entry: &Entry, problem: &'static str) -> ExtractError {
    ExtractError::Refused {
        path: entry.path_for_display(),
        problem,
    }
}

fn make(doing: &'static str, entry: &Entry, source: io::Error) -> ExtractError {
    ExtractError::Make {
        doing,
        path: entry.path_for_display(),
        source,
    }
}
