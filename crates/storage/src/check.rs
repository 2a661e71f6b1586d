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
    let fresh = unpack_layer(driver, source.parent, source.diff_id, None, tar)?;
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
            rustix::fs::FileType::RegularFile if !same_content(own, model, name)? => {
                self.differences.add(path, "has another content");
            }
            rustix::fs::FileType::Symlink
                if readlinkat(own, name, Vec::new())? != readlinkat(model, name, Vec::new())? =>
            {
                self.differences.add(path, "links to another target");
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use archive::{Entry, EntryKind, TarWriter};
    use oci::Digest;

    use super::*;
    use crate::{DriverKind, add_layer, open};

    fn tar() -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        let mut put = |path: &str, kind, mode, link: &str, content: &str| {
            let mut entry = Entry::new(path, kind, mode);
            entry.link = link.into();
            entry.size = content.len() as u64;
            entry.mtime = (1000, 5);
            if path == "d/file" {
                entry.xattrs.push((b"user.note".to_vec(), b"x".to_vec()));
                (entry.uid, entry.gid) = (7, 8);
            }
            if kind == EntryKind::CharDevice {
                entry.device = (1, 3);
            }
            writer.append(&entry, &mut content.as_bytes()).unwrap();
        };
        put("d", EntryKind::Directory, 0o755, "", "");
        put("d/file", EntryKind::File, 0o640, "", "content");
        put("d/other", EntryKind::File, 0o640, "", "content");
        put("d/name", EntryKind::HardLink, 0o640, "d/file", "");
        put("link", EntryKind::Symlink, 0o777, "d/file", "");
        put("null", EntryKind::CharDevice, 0o666, "", "");
        put("implied/by/this", EntryKind::File, 0o644, "", "");
        put(".wh.gone", EntryKind::File, 0o644, "", "");
        put("d/.wh..wh..opq", EntryKind::File, 0o644, "", "");
        writer.finish().unwrap()
    }

    /// What can happen to a file, and how it is named.
    type Case = (&'static str, fn(&Path));

    fn rewrite(path: &Path, content: &str) {
        use std::io::Write;
        let meta = std::fs::metadata(path).unwrap();
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(path)
            .unwrap();
        file.write_all(content.as_bytes()).unwrap();
        // As a disk does it: nothing tells but the content.
        file.set_modified(meta.modified().unwrap()).unwrap();
    }

    const CASES: &[Case] = &[
        ("\"d/other\" has another content", |diff| {
            rewrite(&diff.join("d/other"), "conteNt");
        }),
        ("\"d/other\" has another size", |diff| {
            rewrite(&diff.join("d/other"), "cont");
        }),
        ("\"d/other\" is missing", |diff| {
            std::fs::remove_file(diff.join("d/other")).unwrap();
        }),
        ("\"d/more\" does not belong there", |diff| {
            symlink("x", diff.join("d/more")).unwrap();
        }),
        ("\"d/file\" has another mode", |diff| {
            std::fs::set_permissions(diff.join("d/file"), PermissionsExt::from_mode(0o4640)).unwrap();
        }),
        ("\"d\" has another mode", |diff| {
            std::fs::set_permissions(diff.join("d"), PermissionsExt::from_mode(0o777)).unwrap();
        }),
        ("\"d/file\" has another owner", |diff| {
            std::os::unix::fs::chown(diff.join("d/file"), Some(9), None).unwrap();
        }),
        ("\"d/other\" was changed at another time", |diff| {
            let file = std::fs::File::open(diff.join("d/other")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
        ("\"link\" links to another target", |diff| {
            std::fs::remove_file(diff.join("link")).unwrap();
            symlink("d/fike", diff.join("link")).unwrap();
            let link = diff.join("link");
            let time = rustix::fs::Timespec {
                tv_sec: 1000,
                tv_nsec: 5,
            };
            let times = rustix::fs::Timestamps {
                last_access: time,
                last_modification: time,
            };
            rustix::fs::utimensat(rustix::fs::CWD, &link, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }),
        ("\"link\" is of another kind", |diff| {
            std::fs::remove_file(diff.join("link")).unwrap();
            std::fs::create_dir(diff.join("link")).unwrap();
        }),
        ("\"d/name\" is linked to another file", |diff| {
            // The same content, by another file: a write to one would not be seen in the other.
            std::fs::rename(diff.join("d/name"), diff.join("d/swap")).unwrap();
            std::fs::hard_link(diff.join("d/other"), diff.join("d/name")).unwrap();
            std::fs::remove_file(diff.join("d/swap")).unwrap();
        }),
        ("\"d/file\" has other extended attributes", |diff| {
            let path = diff.join("d/file");
            rustix::fs::setxattr(path, "user.note", b"y", rustix::fs::XattrFlags::empty()).unwrap();
        }),
        ("\"d\" has other extended attributes", |diff| {
            let path = diff.join("d");
            rustix::fs::setxattr(
                path,
                "trusted.overlay.redirect",
                b"/x",
                rustix::fs::XattrFlags::empty(),
            )
            .unwrap();
        }),
        ("\"null\" is another device", |diff| {
            let path = diff.join("null");
            std::fs::remove_file(&path).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::CharacterDevice,
                Mode::from(0o666),
                rustix::fs::makedev(1, 5),
            )
            .unwrap();
        }),
        ("its facts are wrong", |diff| {
            let facts = diff.parent().unwrap().join("facts.json");
            let text = std::fs::read_to_string(&facts).unwrap();
            rewrite(&facts, &text.replace("\"size\":14", "\"size\":15"));
        }),
        ("is damaged", |diff| {
            rewrite(&diff.parent().unwrap().join("facts.json"), "{");
        }),
        ("facts, are missing", |diff| {
            std::fs::remove_file(diff.parent().unwrap().join("facts.json")).unwrap();
        }),
        ("No such file", |diff| archive::remove_tree_at(diff).unwrap()),
        ("it, or its facts, are missing", |diff| {
            archive::remove_tree_at(diff.parent().unwrap()).unwrap();
        }),
    ];

    #[test]
    fn f_20_every_kind_of_damage_is_named_and_mended() {
        let tar = tar();
        let diff_id = Digest::sha256(&tar);
        let layer = ChainId::next(None, &diff_id);
        let source = LayerSource {
            chain_id: &layer,
            parent: None,
            diff_id: &diff_id,
        };
        for kind in [DriverKind::Overlay, DriverKind::Vfs] {
            let directory = tempfile::tempdir().unwrap();
            let driver = open(kind, directory.path()).unwrap();
            add_layer(&*driver, &source, &tar[..]).unwrap();
            let problems = || check_layer(&*driver, &source, &tar[..]).unwrap().problems();
            assert_eq!(problems(), [""; 0]);
            let diff = driver
                .directory()
                .join("layers")
                .join(layer.digest().hex())
                .join("diff");
            for (problem, damage) in CASES {
                damage(&diff);
                let check = check_layer(&*driver, &source, &tar[..]).unwrap();
                let found = check.problems();
                assert!(
                    found.iter().any(|found| found.contains(problem)),
                    "{problem}: {found:?}"
                );
                check.repair(&*driver).unwrap();
                assert_eq!(problems(), [""; 0], "after {problem}");
            }
            let aside = driver.directory().join("aside");
            let count = || std::fs::read_dir(&aside).unwrap().count();
            assert_eq!(count(), CASES.len() - 1, "all but the layer that was gone");
            driver.release_set_aside(&|used| *used == layer).unwrap();
            assert_eq!(count(), CASES.len() - 1);
            driver.release_set_aside(&|_| false).unwrap();
            assert_eq!(count(), 0);
            // Many are counted.
            for at in 0..20 {
                std::fs::create_dir(diff.join(format!("more{at}"))).unwrap();
            }
            assert_eq!(problems().last().unwrap(), "and 4 more");
            // A tar that is another one is an error, not a damage.
            let mut other = tar.clone();
            other.extend([0; 512]);
            assert!(matches!(
                check_layer(&*driver, &source, &other[..]),
                Err(AddError::Mismatch { .. })
            ));
            assert_eq!(
                std::fs::read_dir(driver.directory().join("staging"))
                    .unwrap()
                    .count(),
                0
            );
        }
    }
}
