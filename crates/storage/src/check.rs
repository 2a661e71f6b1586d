//! Whether a layer is still what its tar says: the tar is unpacked once more, beside it, and the two trees are compared.
//!
//! That is exact by construction, for every driver: contents, kinds, modes, owners, device numbers, link targets, hard
//! links and extended attributes; also times, but for directories, whose times the archive need not say. It costs one
//! unpacking and the space for it, one layer at a time; in return nothing is recorded when layers are made, and a damaged
//! layer is mended by putting the new tree in its place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use oci::ChainId;
use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, lgetxattr, llistxattr, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::add_layer::{AddError, LayerSource, Unpacked, unpack_layer};
use crate::driver::{Driver, LayerFacts};
use crate::error::StorageError;
use crate::tree;

/// Most differences that are named.
const NAMED: usize = 16;

/// What a check of one layer found.
#[derive(Debug)]
pub struct LayerCheck {
    differences: Differences,
    fresh: Unpacked,
    facts: LayerFacts,
    layer: ChainId,
}

impl LayerCheck {
    /// Returns what is different, by path: at most 16, then how many more. Empty: the layer is sound.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.differences.named.clone();
        let more = self.differences.count - problems.len();
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        problems
    }

    /// Puts the newly unpacked tree in the layer's place. The old one is set aside: a running container may stand on
    /// it (see [`Driver::release_set_aside`]).
    pub fn repair(self, driver: &dyn Driver) -> Result<(), StorageError> {
        driver.replace_layer(self.fresh.into_staging(), &self.layer, &self.facts)
    }
}

/// Compares a layer with its tar (plain, gzip or zstd), whose digest is checked as well. The layers below must be
/// sound. A layer that is not there at all differs in one thing.
pub fn check_layer(
    driver: &dyn Driver,
    source: &LayerSource<'_>,
    tar: impl Read + Send,
) -> Result<LayerCheck, AddError> {
    let fresh = unpack_layer(driver, source.parent, source.diff_id, tar)?;
    let summary = fresh.summary();
    if summary.diff_id != *source.diff_id {
        return Err(AddError::Mismatch {
            expected: source.diff_id.clone(),
            actual: summary.diff_id.clone(),
        });
    }
    let facts = LayerFacts {
        diff_id: summary.diff_id.clone(),
        parent: source.parent.cloned(),
        size: summary.content_bytes,
    };
    let mut differences = Differences::default();
    match driver.layer(source.chain_id) {
        Ok(own) if own == facts => {}
        Ok(_) => differences.add(b"", "its facts are wrong"),
        Err(StorageError::NoLayer { .. }) => differences.add(b"", "it, or its facts, are missing"),
        Err(error) => differences.add(b"", &base::error::chain(&error).to_string()),
    }
    match driver.open_layer(source.chain_id) {
        Err(error) => differences.add(b"", &base::error::chain(&error).to_string()),
        Ok(own) => {
            let mut comparer = Comparer {
                differences: &mut differences,
                links: HashMap::new(),
                reverse: HashMap::new(),
            };
            let compared = comparer.roots(own.as_fd(), fresh.root());
            // What cannot be read is damaged as well: a bad sector, a loop in a directory.
            if let Err(error) = compared {
                differences.add(b"", &format!("it cannot be read: {error}"));
            }
        }
    }
    Ok(LayerCheck {
        differences,
        fresh,
        facts,
        layer: source.chain_id.clone(),
    })
}

#[derive(Debug, Default)]
struct Differences {
    named: Vec<String>,
    count: usize,
}

impl Differences {
    fn add(&mut self, path: &[u8], problem: &str) {
        self.count += 1;
        if self.named.len() < NAMED {
            let path: String = String::from_utf8_lossy(&path[..path.len().min(300)])
                .chars()
                .flat_map(char::escape_debug)
                .collect();
            self.named.push(if path.is_empty() {
                problem.to_owned()
            } else {
                format!("\"{path}\" {problem}")
            });
        }
    }
}

/// A file's device and inode.
type Inode = (u64, u64);

struct Comparer<'a> {
    differences: &'a mut Differences,
    /// For files with several names: which file of the one tree is which of the other.
    links: HashMap<Inode, Inode>,
    reverse: HashMap<Inode, Inode>,
}

impl Comparer<'_> {
    fn roots(&mut self, own: BorrowedFd<'_>, model: BorrowedFd<'_>) -> io::Result<()> {
        let (own_stat, model_stat) = (fstat(own)?, fstat(model)?);
        self.attributes(b"/", &own_stat, &model_stat);
        self.xattrs(b"/", (own, c"."), (model, c"."))?;
        self.directory(own, model, b"", 0)
    }

    fn directory(
        &mut self,
        own: BorrowedFd<'_>,
        model: BorrowedFd<'_>,
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        tree::check_depth(depth)?;
        let own_names: BTreeSet<CString> = tree::names(own)?.into_iter().collect();
        let model_names: BTreeSet<CString> = tree::names(model)?.into_iter().collect();
        for name in model_names.difference(&own_names) {
            self.differences.add(&tree::join(path, name), "is missing");
        }
        for name in own_names.difference(&model_names) {
            self.differences
                .add(&tree::join(path, name), "does not belong there");
        }
        for name in own_names.intersection(&model_names) {
            self.entry(own, model, name, &tree::join(path, name), depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        own: BorrowedFd<'_>,
        model: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        depth: usize,
    ) -> io::Result<()> {
        let own_stat = statat(own, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let model_stat = statat(model, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if !self.attributes(path, &own_stat, &model_stat) {
            return Ok(());
        }
        self.xattrs(path, (own, name), (model, name))?;
        if tree::is_directory(&own_stat) {
            let (own, model) = (
                tree::open_directory(own, name)?,
                tree::open_directory(model, name)?,
            );
            return self.directory(own.as_fd(), model.as_fd(), path, depth + 1);
        }
        let (own_inode, model_inode) = (inode(&own_stat), inode(&model_stat));
        if model_stat.st_nlink > 1 || own_stat.st_nlink > 1 {
            let known = *self.links.entry(own_inode).or_insert(model_inode);
            let back = *self.reverse.entry(model_inode).or_insert(own_inode);
            if known != model_inode || back != own_inode {
                self.differences.add(path, "is linked to another file");
                return Ok(());
            }
        }
        match rustix::fs::FileType::from_raw_mode(own_stat.st_mode) {
            rustix::fs::FileType::RegularFile => {
                if !same_content(own, model, name)? {
                    self.differences.add(path, "has another content");
                }
            }
            rustix::fs::FileType::Symlink => {
                if readlinkat(own, name, Vec::new())? != readlinkat(model, name, Vec::new())? {
                    self.differences.add(path, "links to another target");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Compares what `stat` tells; returns whether both are of one kind, so that looking further makes sense.
    fn attributes(&mut self, path: &[u8], own: &Stat, model: &Stat) -> bool {
        let kind = |stat: &Stat| rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if kind(own) != kind(model) {
            self.differences.add(path, "is of another kind");
            return false;
        }
        if own.st_mode != model.st_mode {
            self.differences.add(path, "has another mode");
        }
        if (own.st_uid, own.st_gid) != (model.st_uid, model.st_gid) {
            self.differences.add(path, "has another owner");
        }
        if own.st_rdev != model.st_rdev {
            self.differences.add(path, "is another device");
        }
        if tree::is_directory(own) {
            return true;
        }
        if own.st_nlink != model.st_nlink {
            self.differences.add(path, "has another number of names");
        }
        if own.st_size != model.st_size {
            self.differences.add(path, "has another size");
        }
        let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
        // A whiteout is made when the layer is, and the archive's time for it is of no use.
        if time(own) != time(model) && !tree::is_whiteout(own) {
            self.differences.add(path, "was changed at another time");
        }
        own.st_size == model.st_size
    }

    fn xattrs(
        &mut self,
        path: &[u8],
        own: (BorrowedFd<'_>, &CStr),
        model: (BorrowedFd<'_>, &CStr),
    ) -> io::Result<()> {
        if xattrs(own.0, own.1)? != xattrs(model.0, model.1)? {
            self.differences.add(path, "has other extended attributes");
        }
        Ok(())
    }
}

fn inode(stat: &Stat) -> Inode {
    (stat.st_dev, stat.st_ino)
}

fn same_content(own: BorrowedFd<'_>, model: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let open = |directory| openat(directory, name, flags, Mode::empty()).map(File::from);
    let (mut own, mut model) = (open(own)?, open(model)?);
    let (mut left, mut right) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    loop {
        let count = own.read(&mut left)?;
        if count == 0 {
            return Ok(model.read(&mut right[..1])? == 0);
        }
        match model.read_exact(&mut right[..count]) {
            Ok(()) if left[..count] == right[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Returns the extended attributes of `name`, which is not followed.
fn xattrs(directory: BorrowedFd<'_>, name: &CStr) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let mut attributes = BTreeMap::new();
    let mut list = vec![0; 64 << 10];
    let length = match llistxattr(&path[..], &mut list[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => return Err(error.into()),
    };
    if length == 0 {
        return Ok(attributes);
    }
    let mut value = vec![0; 64 << 10];
    for name in list[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let length = lgetxattr(&path[..], name, &mut value[..])?;
        attributes.insert(name.to_vec(), value[..length].to_vec());
    }
    Ok(attributes)
}
