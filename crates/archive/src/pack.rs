//! Packs a directory into an archive: the opposite of `unpack`.
//!
//! Names are sorted, so the same tree gives the same bytes. Nothing is followed, and other file systems mounted below
//! are left out (their mount points are kept as empty directories).

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use base::error::{Kind, Kinded};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom as FdSeek, Stat, fgetxattr, fstat, fstatfs, lgetxattr,
    llistxattr, major, minor, openat, readlinkat, seek, statat,
};
use rustix::io::Errno;

use crate::entry::{Entry, EntryKind, for_display};
use crate::ids::IdShift;
use crate::remove::children;
use crate::unpack::{Whiteouts, is_kept_attribute};
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
            Self::Depth { .. } => Kind::Unsupported,
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
    let ids = match options.owner_base {
        0 => IdShift::none(),
        base => IdShift::range(base, 65_536),
    };
    let stat = fstat(directory).map_err(|error| read("look at", b".", error))?;
    let mut walk = Walk {
        packer: Packer::new(target, options.sparse),
        ids,
        whiteouts: options.whiteouts,
        device: stat.st_dev,
    };
    walk.directory(directory, b".", &stat, 0)?;
    walk.packer.finish()
}

/// A walk over one directory tree.
struct Walk<W: Write> {
    packer: Packer<W>,
    ids: IdShift,
    whiteouts: Whiteouts,
    device: u64,
}

impl<W: Write> Walk<W> {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        depth: usize,
    ) -> Result<(), PackError> {
        if depth > MAX_DEPTH {
            return Err(too_deep(path));
        }
        self.packer.directory(directory, path, stat, &self.ids)?;
        if stat.st_dev != self.device {
            return Ok(());
        }
        if depth > 0 && self.whiteouts == Whiteouts::Overlay && is_opaque(directory) {
            self.packer.opaque(path)?;
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
        let path = join(parent, name.to_bytes());
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // A running program took it away.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(read("look at", &path, error)),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let own = openat(directory, name, flags, Mode::empty())
                    .map_err(|error| read("open", &path, error))?;
                self.directory(own.as_fd(), &path, &stat, depth + 1)
            }
            FileType::CharacterDevice if stat.st_rdev == 0 && self.whiteouts == Whiteouts::Overlay => {
                self.packer.whiteout(parent, name.to_bytes())
            }
            _ => self.packer.file(directory, name, &path, &stat, &self.ids),
        }
    }
}

/// Writes files into an archive, one after the other; which ones, and under which names, is the caller's business.
///
/// Paths have no leading slash; `.` is the archive's root, written as `./`.
#[derive(Debug)]
pub struct Packer<W: Write> {
    writer: TarWriter<io::BufWriter<W>>,
    sparse: Sparse,
    /// First names of files that have several.
    links: HashMap<(u64, u64), Vec<u8>>,
    summary: PackSummary,
}

impl<W: Write> Packer<W> {
    /// Returns a packer into `target`.
    pub fn new(target: W, sparse: Sparse) -> Self {
        Self {
            writer: TarWriter::new(io::BufWriter::with_capacity(128 << 10, target)),
            sparse,
            links: HashMap::new(),
            summary: PackSummary::default(),
        }
    }

    /// Writes the end of the archive.
    pub fn finish(self) -> Result<PackSummary, PackError> {
        self.writer.finish().map_err(PackError::Write)?;
        Ok(self.summary)
    }

    /// Writes an open directory, without what is in it.
    pub fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        ids: &IdShift,
    ) -> Result<(), PackError> {
        let mut entry = entry(EntryKind::Directory, path, stat, ids);
        let own = format!("/proc/self/fd/{}/.", directory.as_raw_fd());
        entry.xattrs = attributes(own.as_bytes(), path, ids)?;
        self.append(&entry, &mut io::empty())
    }

    /// Writes `name` in `parent`, which is no directory, as `path`; a second name of the same file becomes a hard link.
    /// Sockets are left out and counted.
    pub fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
        ids: &IdShift,
    ) -> Result<(), PackError> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink,
            FileType::BlockDevice => EntryKind::BlockDevice,
            FileType::CharacterDevice => EntryKind::CharDevice,
            FileType::Fifo => EntryKind::Fifo,
            _ => {
                self.summary.skipped_sockets += 1;
                return Ok(());
            }
        };
        let mut entry = entry(kind, path, stat, ids);
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&key)
        {
            entry.kind = EntryKind::HardLink;
            entry.link.clone_from(first);
            return self.append(&entry, &mut io::empty());
        }
        let mut own = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        own.extend_from_slice(name.to_bytes());
        match kind {
            EntryKind::File => {
                // Found first and opened then, by its descriptor: opening a device that took its place would act.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let node = match openat(parent, name, flags, Mode::empty()) {
                    Ok(node) => node,
                    // A running program took it away.
                    Err(Errno::NOENT) => return Ok(()),
                    Err(error) => return Err(read("open", path, error)),
                };
                let stat = fstat(&node).map_err(|error| read("look at", path, error))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Ok(());
                }
                if is_of_kernel(node.as_fd()) {
                    return Ok(());
                }
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = format!("/proc/self/fd/{}", node.as_raw_fd());
                let file = rustix::fs::open(file, flags, Mode::empty())
                    .map_err(|error| read("open", path, error))?;
                entry.xattrs = attributes(&own, path, ids)?;
                self.content(entry, file, &stat)?;
            }
            EntryKind::Symlink => {
                let target = match readlinkat(parent, name, Vec::new()) {
                    Ok(target) => target,
                    Err(Errno::NOENT) => return Ok(()),
                    Err(error) => return Err(read("read", path, error)),
                };
                entry.link = target.into_bytes();
                entry.xattrs = attributes(&own, path, ids)?;
                self.append(&entry, &mut io::empty())?;
            }
            _ => {
                if kind != EntryKind::Fifo {
                    entry.device = (major(stat.st_rdev), minor(stat.st_rdev));
                }
                entry.xattrs = attributes(&own, path, ids)?;
                self.append(&entry, &mut io::empty())?;
            }
        }
        if stat.st_nlink > 1 {
            self.links.insert(key, path.to_vec());
        }
        Ok(())
    }

    /// Writes a regular file that is known by its open descriptor.
    fn content(&mut self, mut entry: Entry, file: OwnedFd, stat: &Stat) -> Result<(), PackError> {
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if self.sparse == Sparse::Keep && allocated < entry.size {
            entry.sparse =
                pieces(&file, entry.size).map_err(|error| read("find the holes of", &entry.path, error))?;
        }
        self.summary.content_bytes += entry.stored_size();
        let file = File::from(file);
        match entry.sparse.clone() {
            None => {
                // A file that shrinks meanwhile is filled up, as tar does, so that the archive stays whole.
                let mut content = file.take(entry.size).chain(io::repeat(0));
                self.append(&entry, &mut content)
            }
            Some(map) => {
                let pieces = Pieces {
                    file,
                    map,
                    at: 0,
                    done: 0,
                };
                self.append(&entry, &mut pieces.chain(io::repeat(0)))
            }
        }
    }

    /// Says that `name` in the directory `parent` is gone.
    pub fn whiteout(&mut self, parent: &[u8], name: &[u8]) -> Result<(), PackError> {
        let path = join(parent, &[b".wh.", name].concat());
        self.append(&Entry::new(path, EntryKind::File, 0o600), &mut io::empty())
    }

    /// Says that everything that lower layers have in the directory `path` is gone.
    pub fn opaque(&mut self, path: &[u8]) -> Result<(), PackError> {
        self.whiteout(path, b".wh..opq")
    }

    fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), PackError> {
        self.summary.entries += 1;
        self.writer.append(entry, content).map_err(PackError::Write)
    }
}

fn entry(kind: EntryKind, path: &[u8], stat: &Stat, ids: &IdShift) -> Entry {
    let path = match kind {
        EntryKind::Directory => [path, b"/"].concat(),
        _ => path.to_vec(),
    };
    let mut entry = Entry::new(path, kind, stat.st_mode & 0o7777);
    (entry.uid, entry.gid) = (ids.user_inside(stat.st_uid), ids.group_inside(stat.st_gid));
    entry.mtime = (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
    entry
}

/// An extended attribute: its name and its value.
pub type Attribute = (Vec<u8>, Vec<u8>);

/// Returns the attributes of a file that layers may have, as they are inside of the container; sorted. `own` is how to
/// get at the file, `path` what to call it.
pub fn attributes(own: &[u8], path: &[u8], ids: &IdShift) -> Result<Vec<Attribute>, PackError> {
    let failed = |error| read("read the attributes of", path, error);
    let mut names = [0u8; 4096];
    let mut long = Vec::new();
    let names = match llistxattr(own, &mut names[..]) {
        Ok(length) => &names[..length],
        Err(Errno::OPNOTSUPP | Errno::NOENT) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            long.resize(64 << 10, 0);
            let length = llistxattr(own, &mut long[..]).map_err(failed)?;
            &long[..length]
        }
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for name in names
        .split(|&byte| byte == 0)
        .filter(|name| is_kept_attribute(name))
    {
        let mut value = vec![0u8; 64 << 10];
        match lgetxattr(own, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                if let Some(value) = ids.attribute_inside(name, value) {
                    found.push((name.to_vec(), value));
                }
            }
            Err(Errno::NODATA | Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    found.sort();
    Ok(found)
}

/// File systems by which one speaks to the kernel (linux/magic.h). The daemon is real root: what it reads and writes there
/// for a container that put a link or a mount in its way would be the host's business.
const KERNEL_FILE_SYSTEMS: [u32; 16] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6573_5543, // fusectl
    0xf97c_ff8c, // selinuxfs
];

/// Returns whether a file lies where one speaks to the kernel.
pub fn is_of_kernel(file: BorrowedFd<'_>) -> bool {
    fstatfs(file).is_ok_and(|facts| {
        let magic = u64::try_from(facts.f_type).unwrap_or(0) & 0xffff_ffff;
        KERNEL_FILE_SYSTEMS.iter().any(|&kind| u64::from(kind) == magic)
    })
}

fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0u8; 2];
    matches!(
        fgetxattr(directory, "trusted.overlay.opaque", &mut value[..]),
        Ok(1) if value[0] == b'y'
    )
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        b"" | b"." => name.to_vec(),
        _ => [parent, b"/", name].concat(),
    }
}

fn too_deep(path: &[u8]) -> PackError {
    PackError::Depth {
        path: for_display(path),
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
