//! Packs a directory into an archive: the opposite of `unpack`.
//!
//! Names are sorted, so the same tree gives the same bytes. Nothing is followed, and other file systems mounted below
//! are left out (their mount points are kept as empty directories).

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use base::error::{Kind, Kinded};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom as FdSeek, Stat, fstat, lgetxattr, llistxattr, major, minor,
    openat, readlinkat, seek, statat,
};
use rustix::io::Errno;

use crate::entry::{Entry, EntryKind, for_display};
use crate::remove::children;
use crate::unpack::Whiteouts;
use crate::writer::TarWriter;

/// Deepest tree that is packed; each level holds one descriptor open.
const MAX_DEPTH: usize = 512;

/// How to pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackOptions {
    /// The host id that stands for 0: ids from here on, 65,536 of them, are shifted back. 0 means that they are as they
    /// should be.
    pub owner_base: u32,
    /// `Overlay`: the directory is an overlay's upper one; its whiteouts become `.wh.NAME`. Anything else: there are
    /// none.
    pub whiteouts: Whiteouts,
    /// Whether holes are written as such (GNU's PAX 1.0 format) or as zeros.
    pub sparse: Sparse,
}

/// What becomes of holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// They stay holes.
    Keep,
    /// They become zeros, which every reader understands.
    Fill,
}

/// What was packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackSummary {
    /// The number of members.
    pub entries: u64,
    /// The sum of the sizes of all regular files in bytes.
    pub content_bytes: u64,
    /// Sockets, which no archive can hold and which are left out.
    pub skipped_sockets: u64,
}

/// Why a directory could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// A file could not be read.
    #[error("{doing} \"{path}\"")]
    Read {
        /// The step.
        doing: &'static str,
        /// The file, relative to the directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file belongs to nobody in the container.
    #[error("the owner {id} of \"{path}\" is outside of the container's user namespace")]
    Owner {
        /// The file.
        path: String,
        /// The owner on the host.
        id: u32,
    },
    /// The tree is too deep.
    #[error("\"{path}\" lies more than {MAX_DEPTH} directories deep")]
    Depth {
        /// The directory.
        path: String,
    },
    /// The receiver does not take it.
    #[error("write archive")]
    Write(#[source] io::Error),
}

impl Kinded for PackError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { source, .. } => base::error::kind_of_io(source),
            Self::Owner { .. } | Self::Depth { .. } => Kind::Unsupported,
            Self::Write(_) => Kind::Cancelled,
        }
    }
}

/// Writes everything below `directory` into `target`, the directory itself as `./` first.
pub fn pack(
    directory: BorrowedFd<'_>,
    target: impl Write,
    options: &PackOptions,
) -> Result<PackSummary, PackError> {
    let mut packer = Packer {
        writer: TarWriter::new(io::BufWriter::with_capacity(128 << 10, target)),
        options,
        links: HashMap::new(),
        summary: PackSummary::default(),
        device: 0,
    };
    let stat = fstat(directory).map_err(|error| read("look at", b".", error))?;
    packer.device = stat.st_dev;
    packer.directory(directory, b".", &stat, 0)?;
    packer.writer.finish().map_err(PackError::Write)?;
    Ok(packer.summary)
}

struct Packer<'a, W: Write> {
    writer: TarWriter<io::BufWriter<W>>,
    options: &'a PackOptions,
    /// First names of files that have several.
    links: HashMap<(u64, u64), Vec<u8>>,
    summary: PackSummary,
    device: u64,
}

impl<W: Write> Packer<'_, W> {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        depth: usize,
    ) -> Result<(), PackError> {
        if depth > MAX_DEPTH {
            return Err(PackError::Depth {
                path: for_display(path),
            });
        }
        let mut entry = self.entry(EntryKind::Directory, path, stat)?;
        let proc_path = format!("/proc/self/fd/{}", directory.as_raw_fd()).into_bytes();
        let opaque = self.xattrs(&mut entry, &[&proc_path[..], b"/."].concat())?;
        self.append(&entry, &mut io::empty())?;
        if stat.st_dev != self.device {
            return Ok(());
        }
        if opaque && depth > 0 {
            self.whiteout(path, b".wh..opq")?;
        }
        let mut names = children(directory).map_err(|error| read("list", path, error))?;
        names.sort();
        for name in names {
            self.child(directory, path, &name, depth)?;
        }
        Ok(())
    }

    fn child(
        &mut self,
        directory: BorrowedFd<'_>,
        parent: &[u8],
        name: &CString,
        depth: usize,
    ) -> Result<(), PackError> {
        let path = match parent {
            b"." => name.to_bytes().to_vec(),
            _ => [parent, b"/", name.to_bytes()].concat(),
        };
        let failed = |doing| move |error: Errno, path: &[u8]| read(doing, path, error);
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // A running program took it away.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(read("look at", &path, error)),
        };
        let open = |flags| {
            openat(
                directory,
                name,
                flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let own =
                    open(OFlags::RDONLY | OFlags::DIRECTORY).map_err(|error| failed("open")(error, &path))?;
                return self.directory(own.as_fd(), &path, &stat, depth + 1);
            }
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::Fifo => EntryKind::Fifo,
            FileType::CharacterDevice
                if stat.st_rdev == 0 && self.options.whiteouts == Whiteouts::Overlay =>
            {
                return self.whiteout(parent, name.to_bytes());
            }
            FileType::CharacterDevice => EntryKind::CharDevice,
            _ => {
                self.summary.skipped_sockets += 1;
                return Ok(());
            }
        };
        let mut entry = self.entry(kind, &path, &stat)?;
        if stat.st_nlink > 1 {
            match self.links.get(&(stat.st_dev, stat.st_ino)) {
                Some(first) => {
                    entry.kind = EntryKind::HardLink;
                    entry.link.clone_from(first);
                    return self.append(&entry, &mut io::empty());
                }
                None => {
                    self.links.insert((stat.st_dev, stat.st_ino), path.clone());
                }
            }
        }
        let mut proc_path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        proc_path.extend_from_slice(name.to_bytes());
        self.xattrs(&mut entry, &proc_path)?;
        match kind {
            EntryKind::File => {
                let file =
                    open(OFlags::RDONLY | OFlags::NONBLOCK).map_err(|error| failed("open")(error, &path))?;
                self.file(entry, file, &stat)
            }
            EntryKind::Symlink => {
                let target =
                    readlinkat(directory, name, Vec::new()).map_err(|error| failed("read")(error, &path))?;
                entry.link = target.into_bytes();
                self.append(&entry, &mut io::empty())
            }
            _ => {
                if kind != EntryKind::Fifo {
                    entry.device = (major(stat.st_rdev), minor(stat.st_rdev));
                }
                self.append(&entry, &mut io::empty())
            }
        }
    }

    fn file(&mut self, mut entry: Entry, file: OwnedFd, stat: &Stat) -> Result<(), PackError> {
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        let path = entry.path.clone();
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if self.options.sparse == Sparse::Keep && allocated < entry.size {
            entry.sparse =
                pieces(&file, entry.size).map_err(|error| read("find the holes of", &path, error))?;
        }
        self.summary.content_bytes += entry.stored_size();
        let file = File::from(file);
        match entry.sparse.clone() {
            None => {
                // A file that shrinks meanwhile is filled up, as tar does, so that the archive stays whole.
                let mut content = file.take(entry.size).chain(io::repeat(0));
                self.append(&entry, &mut content)
            }
            Some(map) => self.append(
                &entry,
                &mut Pieces {
                    file,
                    map,
                    at: 0,
                    done: 0,
                },
            ),
        }
    }

    fn entry(&self, kind: EntryKind, path: &[u8], stat: &Stat) -> Result<Entry, PackError> {
        let path = match (kind, path) {
            (EntryKind::Directory, b".") => b"./".to_vec(),
            (EntryKind::Directory, path) => [path, b"/"].concat(),
            (_, path) => path.to_vec(),
        };
        let base = self.options.owner_base;
        let owner = |id: u32| {
            let fits = base == 0 || id.checked_sub(base).is_some_and(|own| own < 65_536);
            if fits {
                Ok(id.wrapping_sub(base))
            } else {
                Err(PackError::Owner {
                    path: for_display(&path),
                    id,
                })
            }
        };
        let (uid, gid) = (owner(stat.st_uid)?, owner(stat.st_gid)?);
        let mut entry = Entry::new(path, kind, stat.st_mode & 0o7777);
        (entry.uid, entry.gid) = (uid, gid);
        entry.mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
        Ok(entry)
    }

    /// Reads the attributes that `unpack` keeps; returns whether the directory is opaque.
    fn xattrs(&self, entry: &mut Entry, path: &[u8]) -> Result<bool, PackError> {
        let failed = |error| read("read the attributes of", &entry.path, error);
        let mut names = vec![0u8; 64 << 10];
        let length = match llistxattr(path, &mut names[..]) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        let mut opaque = false;
        for name in names[..length]
            .split(|&byte| byte == 0)
            .filter(|name| !name.is_empty())
        {
            if name == b"trusted.overlay.opaque" {
                opaque = self.options.whiteouts == Whiteouts::Overlay;
            }
            let kept = matches!(
                name,
                b"security.capability" | b"system.posix_acl_access" | b"system.posix_acl_default"
            ) || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."));
            if !kept {
                continue;
            }
            let mut value = vec![0u8; 64 << 10];
            match lgetxattr(path, name, &mut value[..]) {
                Ok(length) => {
                    value.truncate(length);
                    found.push((name.to_vec(), value));
                }
                Err(Errno::NODATA) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        found.sort();
        entry.xattrs = found;
        Ok(opaque)
    }

    fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<(), PackError> {
        let path = match parent {
            b"." => [b".wh.", name].concat(),
            _ => [parent, b"/.wh.", name].concat(),
        };
        self.append(&Entry::new(path, EntryKind::File, 0o600), &mut io::empty())
    }

    fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), PackError> {
        self.summary.entries += 1;
        self.writer.append(entry, content).map_err(PackError::Write)
    }
}

/// Returns where `file` has data, or `None` if it has no hole.
fn pieces(file: &OwnedFd, size: u64) -> Result<Option<Vec<(u64, u64)>>, Errno> {
    let mut map = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, FdSeek::Data(at)) {
            Ok(start) => start.min(size),
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error),
        };
        let end = seek(file, FdSeek::Hole(start))?.min(size);
        if end > start {
            map.push((start, end - start));
        }
        at = end.max(start + 1);
    }
    // GNU tar takes the length of a file that ends in a hole from an empty last piece.
    if map.last().is_none_or(|&(offset, length)| offset + length < size) {
        map.push((size, 0));
    }
    if map.len() > 1 << 16 || map.first() == Some(&(0, size)) {
        seek(file, FdSeek::Start(0))?;
        return Ok(None);
    }
    Ok(Some(map))
}

/// The pieces of a sparse file, one after the other.
struct Pieces {
    file: File,
    map: Vec<(u64, u64)>,
    at: usize,
    done: u64,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(&(offset, length)) = self.map.get(self.at) {
            let left = length - self.done;
            if left == 0 {
                (self.at, self.done) = (self.at + 1, 0);
                continue;
            }
            self.file.seek(SeekFrom::Start(offset + self.done))?;
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = self.file.read(&mut buffer[..part])?;
            self.done += u64::try_from(count).unwrap_or(u64::MAX);
            return Ok(count);
        }
        Ok(0)
    }
}

fn read(doing: &'static str, path: &[u8], error: impl Into<io::Error>) -> PackError {
    PackError::Read {
        doing,
        path: for_display(path),
        source: error.into(),
    }
}
