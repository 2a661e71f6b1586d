//! What a container's writable part changes: as a list, as a layer, and the whole file system as an archive.
//!
//! The container's file system and the layers below it are walked side by side, without mounting anything. With overlay
//! only what lies in the upper directory is looked at; the vfs driver's full copy is compared with the topmost layer file
//! by file. A file counts as changed when its type, mode, owner, device, size, time, link target, attributes or content
//! differ: what was only copied up and put back is no change, and an edit whose time was put back is one.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, CString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use archive::{IdShift, PackError, PackSummary, Packer, Sparse};
use base::error::{Kind, Kinded, kind_of_io};
use base::id::ContainerId;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};

use crate::driver::Driver;
use crate::error::StorageError;
use crate::merge::{Found, Merged, is_opaque};
use crate::tree::{check_depth, join};

/// A container's file system, and what it was made from.
#[derive(Debug)]
pub struct View {
    /// The container's root.
    pub(crate) present: Merged,
    /// The root of the layers below.
    pub(crate) base: Merged,
    /// Whether the writable part is an overlay's upper directory: with the differences only, and with shifted ids.
    pub(crate) is_upper: bool,
    /// What the driver itself hid from the container, relative to the root.
    pub(crate) hidden: Option<PathBuf>,
}

/// What the walk has to know of the container.
#[derive(Clone, Debug, Default)]
pub struct DifferenceOptions {
    /// How ids in an overlay's upper directory are shifted.
    pub ids: IdShift,
    /// Where the engine itself mounts something in every container (`/etc/hosts`, `/proc`): what was made there to be
    /// mounted upon is not the container's doing.
    pub engine_paths: Vec<String>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The absolute path inside of the container.
    pub path: PathBuf,
    /// What was done.
    pub kind: ChangeKind,
}

/// What was done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is another file, or a directory in which something changed.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

/// Why the differences cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum DifferenceError {
    /// The container's file system cannot be opened.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file cannot be read.
    #[error("{doing} \"/{path}\"")]
    Read {
        /// The step.
        doing: &'static str,
        /// The path inside.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be put into the archive.
    #[error(transparent)]
    Pack(#[from] PackError),
}

impl Kinded for DifferenceError {
    fn kind(&self) -> Kind {
        match self {
            Self::Storage(error) => error.kind(),
            Self::Read { source, .. } => kind_of_io(source),
            Self::Pack(error) => error.kind(),
        }
    }
}

/// Lists what a container's writable part changes, parents before children, names sorted.
pub fn changes(
    driver: &dyn Driver,
    container: &ContainerId,
    options: &DifferenceOptions,
) -> Result<Vec<Change>, DifferenceError> {
    let view = driver.view(container)?;
    let mut walk = Walk::new(&view, options, List(Vec::new()));
    walk.enter(&view.present, Some(&view.base))?;
    Ok(walk.sink.0)
}

/// Writes a layer with what a container's writable part changes: applied upon the layers below, it gives the container's
/// file system. The same files give the same bytes.
pub fn pack_changes(
    driver: &dyn Driver,
    container: &ContainerId,
    options: &DifferenceOptions,
    target: impl Write,
) -> Result<PackSummary, DifferenceError> {
    let view = driver.view(container)?;
    let mut walk = Walk::new(&view, options, Layer(Packer::new(target, Sparse::Keep)));
    if !view.is_upper {
        // In a full copy an old name does not show that its file has got a new one.
        let mut first = Walk::new(&view, options, Linked(HashSet::new()));
        first.enter(&view.present, Some(&view.base))?;
        walk.linked = first.sink.0;
    }
    let (stat, below) = (look(top(&view.present), b"")?, look(top(&view.base), b"")?);
    if walk.differs(&view.present, &stat, &view.base, &below, b"")? {
        let ids = walk.ids(view.present.has_upper).clone();
        let packer = &mut walk.sink.0;
        packer.directory(top(&view.present), b".", &stat, &ids)?;
    }
    walk.enter(&view.present, Some(&view.base))?;
    Ok(walk.sink.0.finish()?)
}

/// Writes a container's whole file system, without what is mounted in it.
pub fn pack_all(
    driver: &dyn Driver,
    container: &ContainerId,
    options: &DifferenceOptions,
    target: impl Write,
) -> Result<PackSummary, DifferenceError> {
    let view = driver.view(container)?;
    // Holes become zeros: not every reader of such archives knows them.
    let mut walk = Walk::new(&view, options, Layer(Packer::new(target, Sparse::Fill)));
    walk.engine.clear();
    walk.above_engine.clear();
    walk.enter(&view.present, None)?;
    Ok(walk.sink.0.finish()?)
}

/// What becomes of the changes.
trait Sink {
    /// Whether opaque directories are marked and written whole, not compared.
    const MARKS_OPAQUE: bool;

    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        ids: &IdShift,
        kind: ChangeKind,
    ) -> Result<(), DifferenceError>;
    fn file(&mut self, file: &File<'_>, ids: &IdShift, kind: ChangeKind) -> Result<(), DifferenceError>;
    fn deleted(&mut self, parent: &[u8], name: &CStr) -> Result<(), DifferenceError>;
    fn opaque(&mut self, path: &[u8]) -> Result<(), DifferenceError>;
}

/// Something that is no directory.
struct File<'a> {
    parent: BorrowedFd<'a>,
    name: &'a CStr,
    path: &'a [u8],
    stat: &'a Stat,
}

/// The changes as a list.
struct List(Vec<Change>);

impl List {
    fn add(&mut self, path: &[u8], kind: ChangeKind) {
        use std::os::unix::ffi::OsStringExt;
        let path = [b"/", path].concat();
        self.0.push(Change {
            path: PathBuf::from(std::ffi::OsString::from_vec(path)),
            kind,
        });
    }
}

impl Sink for List {
    const MARKS_OPAQUE: bool = false;

    fn directory(
        &mut self,
        _: BorrowedFd<'_>,
        path: &[u8],
        _: &Stat,
        _: &IdShift,
        kind: ChangeKind,
    ) -> Result<(), DifferenceError> {
        self.add(path, kind);
        Ok(())
    }

    fn file(&mut self, file: &File<'_>, _: &IdShift, kind: ChangeKind) -> Result<(), DifferenceError> {
        self.add(file.path, kind);
        Ok(())
    }

    fn deleted(&mut self, parent: &[u8], name: &CStr) -> Result<(), DifferenceError> {
        self.add(&join(parent, name), ChangeKind::Deleted);
        Ok(())
    }

    fn opaque(&mut self, _: &[u8]) -> Result<(), DifferenceError> {
        Ok(())
    }
}

/// The files with several names among the changes.
struct Linked(HashSet<(u64, u64)>);

impl Sink for Linked {
    const MARKS_OPAQUE: bool = true;

    fn directory(
        &mut self,
        _: BorrowedFd<'_>,
        _: &[u8],
        _: &Stat,
        _: &IdShift,
        _: ChangeKind,
    ) -> Result<(), DifferenceError> {
        Ok(())
    }

    fn file(&mut self, file: &File<'_>, _: &IdShift, _: ChangeKind) -> Result<(), DifferenceError> {
        if file.stat.st_nlink > 1 {
            self.0.insert((file.stat.st_dev, file.stat.st_ino));
        }
        Ok(())
    }

    fn deleted(&mut self, _: &[u8], _: &CStr) -> Result<(), DifferenceError> {
        Ok(())
    }

    fn opaque(&mut self, _: &[u8]) -> Result<(), DifferenceError> {
        Ok(())
    }
}

/// The changes as an archive.
struct Layer<W: Write>(Packer<W>);

impl<W: Write> Sink for Layer<W> {
    const MARKS_OPAQUE: bool = true;

    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        ids: &IdShift,
        _: ChangeKind,
    ) -> Result<(), DifferenceError> {
        Ok(self.0.directory(directory, path, stat, ids)?)
    }

    fn file(&mut self, file: &File<'_>, ids: &IdShift, _: ChangeKind) -> Result<(), DifferenceError> {
        Ok(self.0.file(file.parent, file.name, file.path, file.stat, ids)?)
    }

    fn deleted(&mut self, parent: &[u8], name: &CStr) -> Result<(), DifferenceError> {
        Ok(self.0.whiteout(parent, name.to_bytes())?)
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), DifferenceError> {
        Ok(self.0.opaque(path)?)
    }
}

/// A directory that is told only when something below it is.
struct Pending {
    directory: OwnedFd,
    path: Vec<u8>,
    stat: Stat,
    is_upper: bool,
    kind: ChangeKind,
}

struct Walk<'a, S> {
    sink: S,
    is_upper: bool,
    options: &'a DifferenceOptions,
    plain: IdShift,
    /// Paths of the engine, and the directories above them, without leading slashes.
    engine: BTreeSet<Vec<u8>>,
    above_engine: BTreeSet<Vec<u8>>,
    hidden: Option<Vec<u8>>,
    pending: Vec<Pending>,
    /// Files with several names of which one at least is in the layer.
    linked: HashSet<(u64, u64)>,
}

impl<'a, S: Sink> Walk<'a, S> {
    fn new(view: &View, options: &'a DifferenceOptions, sink: S) -> Self {
        use std::os::unix::ffi::OsStrExt;
        let (mut engine, mut above_engine) = (BTreeSet::new(), BTreeSet::new());
        for path in &options.engine_paths {
            let path = path.trim_matches('/');
            let slashes = path
                .match_indices('/')
                .map(|(at, _)| path.as_bytes()[..at].to_vec());
            above_engine.extend(slashes);
            engine.insert(path.as_bytes().to_vec());
        }
        Self {
            sink,
            is_upper: view.is_upper,
            options,
            plain: IdShift::none(),
            engine,
            above_engine,
            hidden: view
                .hidden
                .as_ref()
                .map(|path| path.as_os_str().as_bytes().to_vec()),
            pending: Vec::new(),
            linked: HashSet::new(),
        }
    }

    fn enter(&mut self, present: &Merged, base: Option<&Merged>) -> Result<(), DifferenceError> {
        let same_lowers =
            self.is_upper && base.is_some() && !(present.layers.len() == 1 && is_opaque(top(present)));
        self.children(present, base, b"", same_lowers, 0)
    }

    /// Compares the children of a directory. With `same_lowers` it differs from `base` by its upper directory only.
    fn children(
        &mut self,
        present: &Merged,
        base: Option<&Merged>,
        path: &[u8],
        same_lowers: bool,
        depth: usize,
    ) -> Result<(), DifferenceError> {
        let failed = |source| read("list", path, source);
        check_depth(depth).map_err(failed)?;
        let names = if same_lowers {
            let mut names = crate::tree::names(top(present)).map_err(failed)?;
            names.sort();
            names
        } else {
            let mut names: BTreeSet<CString> = present.names().map_err(failed)?.into_iter().collect();
            if let Some(base) = base {
                names.extend(base.names().map_err(failed)?);
            }
            names.into_iter().collect()
        };
        for name in names {
            let child_path = join(path, &name);
            let found = find(present, &name, &child_path)?;
            let below = match base {
                Some(base) => find(base, &name, &child_path)?,
                None => Found::Nothing,
            };
            if self.hidden.as_deref() == Some(&child_path) {
                continue;
            }
            match found {
                Found::Nothing => {
                    if !matches!(below, Found::Nothing) {
                        self.flush()?;
                        self.sink.deleted(path, &name)?;
                    }
                }
                Found::Other(layer, stat) => {
                    let file = File {
                        parent: present.layers[layer].as_fd(),
                        name: &name,
                        path: &child_path,
                        stat: &stat,
                    };
                    let is_upper = layer == 0 && present.has_upper;
                    self.other(&file, is_upper, &below, base)?;
                }
                Found::Directory(directory) => {
                    self.directory(&directory, &below, &child_path, same_lowers, depth)?;
                }
            }
        }
        Ok(())
    }

    fn other(
        &mut self,
        file: &File<'_>,
        is_upper: bool,
        below: &Found,
        base: Option<&Merged>,
    ) -> Result<(), DifferenceError> {
        let kind = match below {
            Found::Nothing => {
                if self.engine.contains(file.path) && is_empty_file(file.stat) {
                    return Ok(());
                }
                ChangeKind::Added
            }
            Found::Directory(_) => ChangeKind::Modified,
            Found::Other(layer, stat) => {
                let Some(base) = base else { return Ok(()) };
                let old = File {
                    parent: base.layers[*layer].as_fd(),
                    stat,
                    ..*file
                };
                if !self.file_differs(file, is_upper, &old)? {
                    return Ok(());
                }
                ChangeKind::Modified
            }
        };
        self.flush()?;
        let ids = self.ids(is_upper).clone();
        self.sink.file(file, &ids, kind)
    }

    fn directory(
        &mut self,
        present: &Merged,
        below: &Found,
        path: &[u8],
        same_lowers: bool,
        depth: usize,
    ) -> Result<(), DifferenceError> {
        let stat = look(top(present), path)?;
        let old = match below {
            Found::Directory(old) => Some(old),
            Found::Nothing | Found::Other(..) => None,
        };
        if let Some(old) = old
            && same_lowers
            && !present.has_upper
        {
            // Not even opened for writing.
            debug_assert_eq!(old.layers.len(), present.layers.len());
            return Ok(());
        }
        let (kind, told) = match below {
            Found::Directory(old) => {
                let before = look(top(old), path)?;
                (
                    ChangeKind::Modified,
                    self.differs(present, &stat, old, &before, path)?,
                )
            }
            Found::Other(..) => (ChangeKind::Modified, true),
            Found::Nothing => {
                let of_engine = self.engine.contains(path) || self.above_engine.contains(path);
                (ChangeKind::Added, !of_engine)
            }
        };
        let opaque = present.has_upper && self.is_upper && is_opaque(top(present));
        let directory = top(present)
            .try_clone_to_owned()
            .map_err(|source| read("open", path, source))?;
        self.pending.push(Pending {
            directory,
            path: path.to_vec(),
            stat,
            is_upper: present.has_upper,
            kind,
        });
        let waiting = self.pending.len();
        let mark = opaque && old.is_some() && S::MARKS_OPAQUE;
        if told || mark {
            self.flush()?;
        }
        if mark {
            self.sink.opaque(path)?;
            self.children(present, None, path, false, depth + 1)?;
        } else {
            let same_lowers = same_lowers && !opaque && old.is_some();
            self.children(present, old, path, same_lowers, depth + 1)?;
        }
        // Nothing below it was told either.
        if self.pending.len() >= waiting {
            self.pending.truncate(waiting - 1);
        }
        Ok(())
    }

    /// Tells the directories that waited for something below them.
    fn flush(&mut self) -> Result<(), DifferenceError> {
        for pending in std::mem::take(&mut self.pending) {
            let ids = self.ids(pending.is_upper).clone();
            let directory = pending.directory.as_fd();
            self.sink
                .directory(directory, &pending.path, &pending.stat, &ids, pending.kind)?;
        }
        Ok(())
    }

    /// Returns how ids are shifted where a file lies.
    fn ids(&self, is_upper: bool) -> &IdShift {
        if self.is_upper && is_upper {
            &self.options.ids
        } else {
            &self.plain
        }
    }

    /// Returns whether a directory has another mode, owner or other attributes. Its time and size tell nothing: making
    /// and removing files changes them, as with docker.
    fn differs(
        &self,
        present: &Merged,
        stat: &Stat,
        old: &Merged,
        before: &Stat,
        path: &[u8],
    ) -> Result<bool, DifferenceError> {
        let ids = self.ids(present.has_upper);
        if owner_and_mode(stat, ids) != owner_and_mode(before, &self.plain) {
            return Ok(true);
        }
        let attributes = |directory: BorrowedFd<'_>, ids: &IdShift| {
            let own = format!("/proc/self/fd/{}/.", directory.as_raw_fd());
            archive::attributes(own.as_bytes(), path, ids)
        };
        Ok(attributes(top(present), ids)? != attributes(top(old), &self.plain)?)
    }

    fn file_differs(&self, file: &File<'_>, is_upper: bool, old: &File<'_>) -> Result<bool, DifferenceError> {
        let (stat, before) = (file.stat, old.stat);
        if (stat.st_dev, stat.st_ino) == (before.st_dev, before.st_ino) {
            return Ok(false);
        }
        let ids = self.ids(is_upper);
        let facts = |stat: &Stat| {
            (
                FileType::from_raw_mode(stat.st_mode),
                stat.st_size,
                stat.st_mtime,
                stat.st_mtime_nsec,
                stat.st_rdev,
            )
        };
        if facts(stat) != facts(before)
            || owner_and_mode(stat, ids) != owner_and_mode(before, &self.plain)
            || (S::MARKS_OPAQUE && self.is_linked_otherwise(stat, before))
        {
            return Ok(true);
        }
        let attributes = |file: &File<'_>, ids: &IdShift| {
            let mut own = format!("/proc/self/fd/{}/", file.parent.as_raw_fd()).into_bytes();
            own.extend_from_slice(file.name.to_bytes());
            archive::attributes(&own, file.path, ids)
        };
        if attributes(file, ids)? != attributes(old, &self.plain)? {
            return Ok(true);
        }
        let failed = |source: io::Error| read("compare", file.path, source);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(!same_content(file, old).map_err(failed)?),
            FileType::Symlink => {
                let target = |file: &File<'_>| readlinkat(file.parent, file.name, Vec::new());
                let (now, then) = (target(file), target(old));
                Ok(now.map_err(|error| failed(error.into()))?
                    != then.map_err(|error| failed(error.into()))?)
            }
            _ => Ok(false),
        }
    }
}

impl<S> Walk<'_, S> {
    /// Returns whether a file has other names than before, as far as one of them tells: all of them have to be in the
    /// layer to be one file again, or none.
    fn is_linked_otherwise(&self, stat: &Stat, before: &Stat) -> bool {
        stat.st_nlink != before.st_nlink
            || (stat.st_nlink > 1 && (self.is_upper || self.linked.contains(&(stat.st_dev, stat.st_ino))))
    }
}

fn top(directory: &Merged) -> BorrowedFd<'_> {
    // A merged directory is never empty.
    directory.layers[0].as_fd()
}

fn find(directory: &Merged, name: &CStr, path: &[u8]) -> Result<Found, DifferenceError> {
    match directory.find(name) {
        // A running program took it away in between.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        other => other.map_err(|source| read("look at", path, source)),
    }
}

fn look(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Stat, DifferenceError> {
    fstat(directory).map_err(|error| read("look at", path, error.into()))
}

fn is_empty_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0
}

fn owner_and_mode(stat: &Stat, ids: &IdShift) -> (u32, u32, u32) {
    (
        stat.st_mode,
        ids.user_inside(stat.st_uid),
        ids.group_inside(stat.st_gid),
    )
}

fn same_content(one: &File<'_>, other: &File<'_>) -> io::Result<bool> {
    let open = |file: &File<'_>| -> io::Result<std::fs::File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(file.parent, file.name, flags, Mode::empty())?.into())
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    let (mut left, mut right) = (vec![0; 128 << 10], vec![0; 128 << 10]);
    loop {
        let (this, that) = (fill(&mut one, &mut left)?, fill(&mut other, &mut right)?);
        if left[..this] != right[..that] {
            return Ok(false);
        }
        if this == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut std::fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn read(doing: &'static str, path: &[u8], source: io::Error) -> DifferenceError {
    DifferenceError::Read {
        doing,
        path: path.escape_ascii().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests;
