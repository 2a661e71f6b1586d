//! Differences of real overlays and of copies, and the property that matters: a layer of the changes, applied upon the
//! layers below, gives the container's files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::{Entry, EntryKind, Limits, TarReader, TarWriter};
use oci::rootfs::Rootfs;
use oci::{ChainId, Digest};
use proptest::prelude::*;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::*;
use crate::driver::{Base, DriverKind, SnapshotOptions, open};
use crate::{LayerSource, add_layer};

const OPTIONS: SnapshotOptions = SnapshotOptions {
    volatile: false,
    owners: None,
    size: None,
};

/// A data root with one layer, and a container upon it.
struct Place {
    directory: tempfile::TempDir,
    driver: Arc<dyn Driver>,
    layers: Vec<ChainId>,
    container: ContainerId,
    next: u32,
}

fn id(number: u32) -> ContainerId {
    format!("{number:064x}").parse().unwrap()
}

impl Place {
    fn new(kind: DriverKind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let driver = open(kind, directory.path()).unwrap();
        let mut own = Self {
            directory,
            driver,
            layers: Vec::new(),
            container: id(0),
            next: 1,
        };
        own.add(&base_tar());
        own.container = own.snapshot();
        own
    }

    fn add(&mut self, tar: &[u8]) {
        let diff_id = Digest::sha256(tar);
        let mut diffs: Vec<Digest> = Vec::new();
        for layer in &self.layers {
            diffs.push(self.driver.layer(layer).unwrap().diff_id);
        }
        diffs.push(diff_id.clone());
        let chain_id = ChainId::chain(&diffs).pop().unwrap();
        let source = LayerSource {
            chain_id: &chain_id,
            parent: self.layers.last(),
            diff_id: &diff_id,
        };
        add_layer(&*self.driver, &source, tar).unwrap();
        self.layers.push(chain_id);
    }

    fn snapshot(&mut self) -> ContainerId {
        let container = id(self.next);
        self.next += 1;
        self.driver
            .create_snapshot(&container, &Base::Layers(&self.layers), &OPTIONS)
            .unwrap();
        container
    }

    /// Returns the container's root, mounted for this process's descriptor only.
    fn root(&self) -> Option<(PathBuf, OwnedFd)> {
        let root = match self.driver.rootfs(&self.container).unwrap() {
            Rootfs::Directory { path, .. } => File::open(path).unwrap().into(),
            Rootfs::Overlay {
                lowers, upper, work, ..
            } => mount(&lowers, &upper, &work)?,
        };
        Some((PathBuf::from(format!("/proc/self/fd/{}", root.as_raw_fd())), root))
    }

    fn changes(&self) -> Vec<String> {
        let changes = changes(&*self.driver, &self.container, &DifferenceOptions::default()).unwrap();
        let line = |change: &Change| {
            let letter = match change.kind {
                ChangeKind::Modified => "C",
                ChangeKind::Added => "A",
                ChangeKind::Deleted => "D",
            };
            format!("{letter} {}", change.path.display())
        };
        changes.iter().map(line).collect()
    }

    fn layer(&self) -> Vec<u8> {
        let mut tar = Vec::new();
        pack_changes(
            &*self.driver,
            &self.container,
            &DifferenceOptions::default(),
            &mut tar,
        )
        .unwrap();
        tar
    }

    fn all(&self, container: &ContainerId) -> Vec<u8> {
        let mut tar = Vec::new();
        pack_all(&*self.driver, container, &DifferenceOptions::default(), &mut tar).unwrap();
        tar
    }
}

/// Mounts an overlay for nobody else; `None` if this process may not.
fn mount(lowers: &[PathBuf], upper: &Path, work: &Path) -> Option<OwnedFd> {
    let config = match rustix::mount::fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(rustix::io::Errno::PERM | rustix::io::Errno::NODEV) => return None,
        other => other.unwrap(),
    };
    for lower in lowers {
        rustix::mount::fsconfig_set_string(&config, c"lowerdir+", lower).unwrap();
    }
    rustix::mount::fsconfig_set_string(&config, c"upperdir", upper).unwrap();
    rustix::mount::fsconfig_set_string(&config, c"workdir", work).unwrap();
    rustix::mount::fsconfig_create(&config).unwrap();
    let tree =
        rustix::mount::fsmount(&config, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    // A descriptor that can be read, not only walked from.
    Some(
        openat(
            &tree,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap(),
    )
}

fn base_tar() -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    let mut add = |path: &str, kind, mode, content: &str, link: &str| {
        let mut entry = Entry::new(path, kind, mode);
        entry.size = content.len() as u64;
        entry.link = link.as_bytes().to_vec();
        entry.mtime = (1_000_000, 5);
        writer.append(&entry, &mut content.as_bytes()).unwrap();
    };
    use EntryKind::{Directory, File, HardLink, Symlink};
    add("a", Directory, 0o755, "", "");
    add("a/one", File, 0o644, "first", "");
    add("a/two", File, 0o600, "second", "");
    add("a/sub", Directory, 0o700, "", "");
    add("a/sub/deep", File, 0o644, "deep", "");
    add("b", Directory, 0o755, "", "");
    add("b/link", Symlink, 0o777, "", "../a/one");
    add("b/hard", HardLink, 0o600, "", "a/two");
    add("c", File, 0o4755, "program", "");
    add("etc", Directory, 0o755, "", "");
    writer.finish().unwrap()
}

fn put(path: impl AsRef<Path>, content: &str) {
    let mut options = File::options();
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .open(path.as_ref());
    opened.unwrap().write_all(content.as_bytes()).unwrap();
}

fn both(test: impl Fn(Place)) {
    test(Place::new(DriverKind::Overlay));
    test(Place::new(DriverKind::Vfs));
}

#[test]
fn what_was_done_is_told_in_order() {
    both(|place| {
        let Some((root, _open)) = place.root() else { return };
        assert_eq!(place.changes(), Vec::<String>::new());
        put(root.join("a/one"), "changed");
        std::fs::remove_file(root.join("a/sub/deep")).unwrap();
        std::fs::create_dir(root.join("new")).unwrap();
        put(root.join("new/file"), "x");
        std::fs::set_permissions(root.join("c"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::remove_file(root.join("b/link")).unwrap();
        std::fs::create_dir(root.join("b/link")).unwrap();
        let expected = [
            "C /a",
            "C /a/one",
            "C /a/sub",
            "D /a/sub/deep",
            "C /b",
            "C /b/link",
            "C /c",
            "A /new",
            "A /new/file",
        ];
        assert_eq!(place.changes(), expected);
    });
}

/// T8: a file that was edited in place, with its size kept and its time put back, is a change.
#[test]
fn t08_an_edit_with_its_time_put_back_is_a_change() {
    both(|place| {
        let Some((root, _open)) = place.root() else { return };
        let path = root.join("a/one");
        let before = path.metadata().unwrap();
        put(&path, "FIRST");
        let file = File::options().write(true).open(&path).unwrap();
        let times = std::fs::FileTimes::new().set_modified(before.modified().unwrap());
        file.set_times(times).unwrap();
        assert_eq!(
            (before.len(), before.mtime()),
            (5, path.metadata().unwrap().mtime())
        );
        assert_eq!(place.changes(), ["C /a", "C /a/one"]);
        // And back: what is as it was is no change, though overlay has a copy of it.
        put(&path, "first");
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(times).unwrap();
        assert_eq!(place.changes(), Vec::<String>::new());
        assert_eq!(place.layer().len(), 1024);
    });
}

#[test]
fn a_directory_that_was_made_anew_hides_the_old_one() {
    both(|place| {
        let Some((root, _open)) = place.root() else { return };
        crate::tree::remove(&root.join("a")).unwrap();
        std::fs::create_dir(root.join("a")).unwrap();
        put(root.join("a/one"), "other");
        assert_eq!(place.changes(), ["C /a", "C /a/one", "D /a/sub", "D /a/two"]);
        is_identity(place);
    });
}

#[test]
fn what_the_engine_made_is_no_change() {
    both(|place| {
        let Some((root, _open)) = place.root() else { return };
        put(root.join("etc/hosts"), "");
        std::fs::create_dir(root.join("proc")).unwrap();
        std::fs::create_dir_all(root.join("run/engine/own")).unwrap();
        let options = DifferenceOptions {
            ids: IdShift::none(),
            engine_paths: ["/etc/hosts", "/proc", "/run/engine/own"]
                .map(str::to_owned)
                .to_vec(),
        };
        let all = || changes(&*place.driver, &place.container, &options).unwrap();
        assert_eq!(all(), []);
        // But what is put beside it is one, and its directories with it.
        put(root.join("run/engine/file"), "x");
        let paths: Vec<_> = all().into_iter().map(|change| change.path).collect();
        assert_eq!(
            paths,
            ["/run", "/run/engine", "/run/engine/file"].map(PathBuf::from)
        );
    });
}

/// Layers have the ids of the container, not those of the host.
#[test]
fn ids_are_those_inside() {
    let place = Place::new(DriverKind::Overlay);
    let Some((root, _open)) = place.root() else { return };
    put(root.join("mine"), "x");
    std::os::unix::fs::chown(root.join("mine"), Some(100_007), Some(100_008)).unwrap();
    put(root.join("foreign"), "x");
    std::os::unix::fs::chown(root.join("foreign"), Some(7), Some(7)).unwrap();
    let options = DifferenceOptions {
        ids: IdShift::range(100_000, 65_536),
        engine_paths: Vec::new(),
    };
    let mut tar = Vec::new();
    pack_changes(&*place.driver, &place.container, &options, &mut tar).unwrap();
    let mut owners = BTreeMap::new();
    let mut reader = TarReader::new(&tar[..], Limits::LAYER);
    while let Some(entry) = reader.next_entry().unwrap() {
        owners.insert(entry.path_for_display(), (entry.uid, entry.gid));
    }
    assert_eq!(owners["mine"], (7, 8));
    assert_eq!(owners["foreign"], (65_534, 65_534));
}

/// Everything that is in an archive, but for the times of directories: making and removing a file is no change.
fn listing(tar: &[u8]) -> BTreeMap<String, String> {
    let mut reader = TarReader::new(tar, Limits::LAYER);
    let mut all = BTreeMap::new();
    while let Some(mut entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        if entry.kind == EntryKind::Directory {
            entry.mtime = (0, 0);
        }
        let path = entry.path_for_display();
        all.insert(path, format!("{entry:?} {content:?}"));
    }
    all
}

/// The layer, applied upon what is below, gives the container's files.
fn is_identity(mut place: Place) {
    let layer = place.layer();
    assert_eq!(layer, place.layer(), "the same files give the same bytes");
    let before = place.all(&place.container.clone());
    place.add(&layer);
    let other = place.snapshot();
    let after = place.all(&other);
    assert_eq!(listing(&before), listing(&after));
    drop(place.directory);
}

/// Something that a program does to a file system.
#[derive(Clone, Debug)]
enum Deed {
    Write(usize, u8),
    Touch(usize),
    Mode(usize, u32),
    Owner(usize, u32),
    Remove(usize),
    Directory(usize),
    Link(usize, usize),
    Hard(usize, usize),
    Rename(usize, usize),
    Fifo(usize),
    Hole(usize),
    Attribute(usize),
}

const PATHS: [&str; 12] = [
    "a",
    "a/one",
    "a/two",
    "a/sub",
    "a/sub/deep",
    "b",
    "b/link",
    "b/hard",
    "c",
    "new",
    "new/x",
    "a/sub/new",
];

fn deed() -> impl Strategy<Value = Deed> {
    let path = || 0..PATHS.len();
    prop_oneof![
        (path(), any::<u8>()).prop_map(|(path, byte)| Deed::Write(path, byte)),
        path().prop_map(Deed::Touch),
        (
            path(),
            prop_oneof![Just(0o4711), Just(0o755), Just(0o600), Just(0o1777)]
        )
            .prop_map(|(path, mode)| Deed::Mode(path, mode)),
        (path(), 0u32..3).prop_map(|(path, owner)| Deed::Owner(path, owner)),
        path().prop_map(Deed::Remove),
        path().prop_map(Deed::Directory),
        (path(), path()).prop_map(|(path, target)| Deed::Link(path, target)),
        (path(), path()).prop_map(|(from, to)| Deed::Hard(from, to)),
        (path(), path()).prop_map(|(from, to)| Deed::Rename(from, to)),
        path().prop_map(Deed::Fifo),
        path().prop_map(Deed::Hole),
        path().prop_map(Deed::Attribute),
    ]
}

/// What cannot be done (a file is no directory, something is there) is not done.
fn act(root: &Path, deed: &Deed) {
    let at = |path: &usize| root.join(PATHS[*path]);
    match deed {
        Deed::Write(path, byte) => {
            let mut options = File::options();
            let path = at(path);
            if path.symlink_metadata().is_ok_and(|facts| !facts.is_file()) {
                return;
            }
            if let Ok(mut file) = options.write(true).create(true).truncate(true).open(path) {
                file.write_all(&[*byte; 5]).unwrap();
            }
        }
        Deed::Touch(path) => {
            let _refused = rustix::fs::utimensat(
                rustix::fs::CWD,
                at(path),
                &rustix::fs::Timestamps {
                    last_access: rustix::fs::Timespec {
                        tv_sec: 7,
                        tv_nsec: 0,
                    },
                    last_modification: rustix::fs::Timespec {
                        tv_sec: 7,
                        tv_nsec: 3,
                    },
                },
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            );
        }
        Deed::Mode(path, mode) => {
            if at(path).symlink_metadata().is_ok_and(|facts| !facts.is_symlink()) {
                drop(std::fs::set_permissions(
                    at(path),
                    PermissionsExt::from_mode(*mode),
                ));
            }
        }
        Deed::Owner(path, owner) => drop(std::os::unix::fs::lchown(at(path), Some(*owner), Some(*owner))),
        Deed::Remove(path) => {
            let path = at(path);
            match path.symlink_metadata() {
                Ok(facts) if facts.is_dir() => crate::tree::remove(&path).unwrap(),
                Ok(_) => std::fs::remove_file(path).unwrap(),
                Err(_) => {}
            }
        }
        Deed::Directory(path) => drop(std::fs::create_dir(at(path))),
        Deed::Link(path, target) => drop(symlink(PATHS[*target], at(path))),
        Deed::Hard(from, to) => drop(std::fs::hard_link(at(from), at(to))),
        Deed::Rename(from, to) => drop(std::fs::rename(at(from), at(to))),
        Deed::Fifo(path) => {
            let kind = rustix::fs::FileType::Fifo;
            let _refused = rustix::fs::mknodat(rustix::fs::CWD, at(path), kind, Mode::from(0o644), 0);
        }
        Deed::Hole(path) => {
            if let Ok(mut file) = File::options().write(true).create_new(true).open(at(path)) {
                file.set_len(1 << 20).unwrap();
                file.write_all(b"start").unwrap();
            }
        }
        Deed::Attribute(path) => {
            if at(path).symlink_metadata().is_ok_and(|facts| facts.is_file()) {
                let flags = rustix::fs::XattrFlags::empty();
                let _refused = rustix::fs::lsetxattr(at(path), "user.note", b"text", flags);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_of_the_changes_gives_the_same_files(deeds in proptest::collection::vec(deed(), 1..14), vfs in any::<bool>()) {
        let place = Place::new(if vfs { DriverKind::Vfs } else { DriverKind::Overlay });
        let Some((root, open)) = place.root() else { return Ok(()) };
        for deed in &deeds {
            act(&root, deed);
        }
        drop(open);
        is_identity(place);
    }
}
