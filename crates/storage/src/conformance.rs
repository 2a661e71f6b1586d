//! The suite that every driver passes: the promises of [`crate::Driver`], one function each.
//!
//! Call [`run`] from a test of the driver, as root, with a directory on a file system that the driver supports. A broken
//! promise is a panic that names it.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use archive::{Entry, EntryKind, TarWriter};
use base::id::ContainerId;
use oci::rootfs::Rootfs;
use oci::{ChainId, Digest};

use crate::add_layer::{AddError, LayerSource, add_layer};
use crate::driver::{Base, Committed, CopyOutcome, Driver, SnapshotOptions};
use crate::error::StorageError;

/// Opens the driver under test in a data root.
pub type Open<'a> = &'a dyn Fn(&Path) -> Arc<dyn Driver>;
/// Shows a root file system in a directory while the inner function looks at it and writes to it.
pub type Show<'a> = &'a dyn Fn(&Rootfs, &mut dyn FnMut(&Path));

/// Runs every test, each in a data root of its own below `scratch`.
pub fn run(open: Open<'_>, show: Show<'_>, scratch: &Path) {
    type Test = fn(&Arc<dyn Driver>, Show<'_>, &Path);
    let tests: [(&str, Test); 8] = [
        ("layers", layers_are_seen_when_complete),
        ("mismatch", a_layer_that_is_not_what_was_promised_leaves_nothing),
        ("race", the_same_layer_made_twice_at_once_is_one),
        ("merge", a_snapshot_shows_the_layers_merged),
        ("snapshots", snapshots_are_separate_and_go_away),
        ("volume", an_images_directory_is_copied_without_a_mount),
        ("directory", any_directory_can_be_a_base),
        ("errors", what_cannot_be_done_is_said),
    ];
    for (name, test) in tests {
        let root = scratch.join(name);
        test(&open(&root), show, &root);
        crash(open, &root);
    }
}

/// Not persistent, no user namespace.
const PLAIN: SnapshotOptions = SnapshotOptions {
    volatile: false,
    owners: None,
    size: None,
};

struct Layer {
    tar: Vec<u8>,
    diff_id: Digest,
    chain_id: ChainId,
    parent: Option<ChainId>,
}

impl Layer {
    /// A layer of files; names that end in a slash are directories, `->` in the content makes a link.
    fn new(parent: Option<&Self>, files: &[(&str, &str)]) -> Self {
        let mut writer = TarWriter::new(Vec::new());
        for (path, content) in files {
            let mut entry = Entry::new(*path, EntryKind::File, 0o644);
            if path.ends_with('/') {
                (entry.kind, entry.mode) = (EntryKind::Directory, 0o755);
            } else if let Some(target) = content.strip_prefix("-> ") {
                (entry.kind, entry.link) = (EntryKind::Symlink, target.into());
            } else {
                entry.size = u64::try_from(content.len()).expect("a test's file is small");
            }
            (entry.uid, entry.gid) = (7, 8);
            writer
                .append(&entry, &mut content.as_bytes())
                .expect("memory takes everything");
        }
        let tar = writer.finish().expect("memory takes everything");
        let diff_id = Digest::sha256(&tar);
        let parent = parent.map(|parent| parent.chain_id.clone());
        let chain_id = ChainId::next(parent.as_ref(), &diff_id);
        Self {
            tar,
            diff_id,
            chain_id,
            parent,
        }
    }

    fn source(&self) -> LayerSource<'_> {
        LayerSource {
            chain_id: &self.chain_id,
            parent: self.parent.as_ref(),
            diff_id: &self.diff_id,
        }
    }

    fn add(&self, driver: &Arc<dyn Driver>) -> Committed {
        add_layer(&**driver, &self.source(), &self.tar[..]).expect("the layer is added")
    }
}

fn container() -> ContainerId {
    ContainerId::generate().expect("the kernel has randomness")
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

fn write(path: &Path, text: &str) {
    base::file::write_atomic(path, text.as_bytes(), 0o644, base::file::Durability::Crash)
        .expect("the file is written");
}

fn create_directory(path: &Path) {
    std::fs::create_dir_all(path).expect("the directory is created");
}

fn leftovers(driver: &Arc<dyn Driver>) -> usize {
    let count = |name| std::fs::read_dir(driver.directory().join(name)).map_or(0, Iterator::count);
    count("staging") + count("trash")
}

fn layers_are_seen_when_complete(driver: &Arc<dyn Driver>, _show: Show<'_>, root: &Path) {
    let base = Layer::new(None, &[("a", "1")]);
    let top = Layer::new(Some(&base), &[("b", "22")]);
    assert!(!driver.has_layer(&base.chain_id).expect("asking works"));
    let without_parent = add_layer(&**driver, &top.source(), &top.tar[..]);
    assert!(
        matches!(
            without_parent,
            Err(AddError::Storage(StorageError::NoLayer { .. }))
        ),
        "a parent must be there"
    );
    let staging = driver.prepare_layer(None).expect("a staging is made");
    assert!(
        driver.layers().expect("listing works").is_empty(),
        "a staging is no layer"
    );
    drop(staging);
    assert_eq!(leftovers(driver), 0, "a dropped staging is gone");
    assert_eq!(base.add(driver), Committed::Created);
    assert_eq!(base.add(driver), Committed::AlreadyThere);
    assert_eq!(top.add(driver), Committed::Created);
    let facts = driver.layer(&top.chain_id).expect("the layer has facts");
    assert_eq!(
        (facts.diff_id, facts.parent, facts.size),
        (top.diff_id.clone(), top.parent.clone(), 2)
    );
    let mut layers = driver.layers().expect("listing works");
    layers.sort();
    let mut wanted = vec![base.chain_id.clone(), top.chain_id.clone()];
    wanted.sort();
    assert_eq!(layers, wanted);
    driver.remove_layer(&top.chain_id).expect("removing works");
    driver
        .remove_layer(&top.chain_id)
        .expect("removing what is gone works");
    assert!(!driver.has_layer(&top.chain_id).expect("asking works"));
    let mode = root.metadata().expect("the data root is there").mode();
    assert_eq!(
        mode & 0o7777,
        0o700,
        "nobody else looks into the data root (ST-04)"
    );
}

fn a_layer_that_is_not_what_was_promised_leaves_nothing(
    driver: &Arc<dyn Driver>,
    _show: Show<'_>,
    _root: &Path,
) {
    let promised = Layer::new(None, &[("a", "1")]);
    let other = Layer::new(None, &[("a", "2")]);
    let wrong = add_layer(&**driver, &promised.source(), &other.tar[..]);
    assert!(
        matches!(wrong, Err(AddError::Mismatch { .. })),
        "the digest is checked"
    );
    let cut = add_layer(&**driver, &promised.source(), &promised.tar[..700]);
    assert!(
        matches!(cut, Err(AddError::Unpack { .. })),
        "a cut tar is an error"
    );
    assert!(driver.layers().expect("listing works").is_empty());
    assert_eq!(leftovers(driver), 0);
}

fn the_same_layer_made_twice_at_once_is_one(driver: &Arc<dyn Driver>, _show: Show<'_>, _root: &Path) {
    let layer = Layer::new(None, &[("a", "1"), ("d/", ""), ("d/b", "2")]);
    let (first, second) = (
        driver.prepare_layer(None).expect("a staging is made"),
        driver.prepare_layer(None).expect("a second staging is made"),
    );
    let mut outcomes = Vec::new();
    for staging in [first, second] {
        let options = archive::UnpackOptions::layer(staging.whiteouts());
        let summary =
            archive::unpack(&layer.tar[..], staging.root(), &options).expect("the layer is unpacked");
        let facts = crate::driver::LayerFacts {
            diff_id: summary.diff_id,
            parent: None,
            size: summary.content_bytes,
        };
        outcomes.push(
            driver
                .commit_layer(staging, &layer.chain_id, &facts)
                .expect("the commit works"),
        );
    }
    assert_eq!(outcomes, [Committed::Created, Committed::AlreadyThere]);
    let many = Layer::new(None, &[("c", "3")]);
    let created = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| many.add(driver))).collect();
        let outcomes = threads
            .into_iter()
            .map(|thread| thread.join().expect("no thread panics"));
        outcomes.filter(|outcome| *outcome == Committed::Created).count()
    });
    assert_eq!(created, 1);
    assert_eq!(leftovers(driver), 0);
}

fn three_layers(driver: &Arc<dyn Driver>) -> Vec<ChainId> {
    let base = Layer::new(
        None,
        &[
            ("a", "1"),
            ("gone", "x"),
            ("d/", ""),
            ("d/old", "x"),
            ("d/sub/", ""),
            ("d/sub/file", "deep"),
            ("file-then-directory", "x"),
            ("data/", ""),
            ("data/one", "1"),
            ("link", "-> /data"),
            ("up", "-> ../../../../data"),
        ],
    );
    let middle = Layer::new(
        Some(&base),
        &[
            (".wh.gone", ""),
            ("d/", ""),
            ("d/.wh..wh..opq", ""),
            ("d/new", "y"),
            (".wh.file-then-directory", ""),
            ("file-then-directory/", ""),
            ("file-then-directory/x", "y"),
            ("data/", ""),
            ("data/two", "2"),
        ],
    );
    let top = Layer::new(
        Some(&middle),
        &[("a", "3"), ("data/", ""), ("data/.wh.one", ""), ("gone", "back")],
    );
    [base, middle, top]
        .into_iter()
        .map(|layer| {
            layer.add(driver);
            layer.chain_id
        })
        .collect()
}

fn a_snapshot_shows_the_layers_merged(driver: &Arc<dyn Driver>, show: Show<'_>, _root: &Path) {
    let layers = three_layers(driver);
    let container = container();
    driver
        .create_snapshot(&container, &Base::Layers(&layers), &PLAIN)
        .expect("the snapshot is made");
    show(
        &driver.rootfs(&container).expect("there is a recipe"),
        &mut |root| {
            for (path, content) in [
                ("a", Some("3")),
                ("gone", Some("back")),
                ("d/old", None),
                ("d/sub/file", None),
                ("d/new", Some("y")),
                ("file-then-directory/x", Some("y")),
                ("data/one", None),
                ("data/two", Some("2")),
            ] {
                assert_eq!(read(&root.join(path)).as_deref(), content, "{path}");
            }
            let meta = root.join("a").metadata().expect("the file is there");
            assert_eq!((meta.uid(), meta.gid()), (7, 8), "ids are unshifted");
        },
    );
}

fn snapshots_are_separate_and_go_away(driver: &Arc<dyn Driver>, show: Show<'_>, _root: &Path) {
    let layers = three_layers(driver);
    let (first, second) = (container(), container());
    for container in [&first, &second] {
        driver
            .create_snapshot(container, &Base::Layers(&layers), &PLAIN)
            .expect("the snapshot is made");
    }
    let before = driver.usage(&first).expect("measuring works");
    show(&driver.rootfs(&first).expect("there is a recipe"), &mut |root| {
        write(&root.join("mine"), "hello");
        std::fs::remove_file(root.join("a")).expect("the file is removed");
    });
    let after = driver.usage(&first).expect("measuring works");
    assert!(after.inodes > 0 && (after.bytes, after.inodes) != (before.bytes, before.inodes));
    driver
        .create_snapshot(&first, &Base::Layers(&layers), &PLAIN)
        .expect("making it again changes nothing");
    show(&driver.rootfs(&first).expect("there is a recipe"), &mut |root| {
        assert_eq!(
            read(&root.join("mine")).as_deref(),
            Some("hello"),
            "what was written stays"
        );
        assert_eq!(read(&root.join("a")), None, "what was removed stays removed");
    });
    show(&driver.rootfs(&second).expect("there is a recipe"), &mut |root| {
        assert_eq!(read(&root.join("mine")), None, "snapshots are separate");
        assert_eq!(
            read(&root.join("a")).as_deref(),
            Some("3"),
            "layers do not change"
        );
    });
    let mut listed = driver.snapshots().expect("listing works");
    listed.sort();
    let mut wanted = vec![first.clone(), second];
    wanted.sort();
    assert_eq!(listed, wanted);
    driver.remove_snapshot(&first).expect("removing works");
    driver
        .remove_snapshot(&first)
        .expect("removing what is gone works");
    assert!(matches!(
        driver.rootfs(&first),
        Err(StorageError::NoSnapshot { .. })
    ));
    assert!(matches!(
        driver.usage(&first),
        Err(StorageError::NoSnapshot { .. })
    ));
    assert_eq!(leftovers(driver), 0);
}

fn an_images_directory_is_copied_without_a_mount(driver: &Arc<dyn Driver>, _show: Show<'_>, root: &Path) {
    let layers = three_layers(driver);
    for (number, path) in ["/data", "data/", "/link", "/up", "/link/../data/."]
        .into_iter()
        .enumerate()
    {
        let target = root.join(format!("volume{number}"));
        create_directory(&target);
        let directory = std::fs::File::open(&target).expect("the directory opens");
        let outcome = driver.copy_directory(&layers, Path::new(path), directory.as_fd());
        assert_eq!(outcome.expect("copying works"), CopyOutcome::Copied, "{path}");
        assert_eq!(read(&target.join("two")).as_deref(), Some("2"), "{path}");
        assert_eq!(read(&target.join("one")), None, "{path}: a whiteout hides");
        let meta = target.metadata().expect("the directory is there");
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (7, 0o755), "{path}");
    }
    let target = root.join("volume");
    create_directory(&target);
    let directory = std::fs::File::open(&target).expect("the directory opens");
    for path in ["/absent", "/a", "/d/sub", "/gone/x"] {
        let outcome = driver.copy_directory(&layers, Path::new(path), directory.as_fd());
        assert_eq!(outcome.expect("looking works"), CopyOutcome::Absent, "{path}");
    }
}

fn any_directory_can_be_a_base(driver: &Arc<dyn Driver>, show: Show<'_>, root: &Path) {
    let parent = root.parent().expect("the scratch directory");
    write(&parent.join("host-file"), "host");
    let container = container();
    // The data root lies inside of the base, as with `--rootfs /:O`.
    driver
        .create_snapshot(&container, &Base::Directory(parent), &PLAIN)
        .expect("the snapshot is made");
    show(
        &driver.rootfs(&container).expect("there is a recipe"),
        &mut |view| {
            assert_eq!(read(&view.join("host-file")).as_deref(), Some("host"));
            let own = root.strip_prefix(parent).expect("it is inside");
            assert!(!view.join(own).exists(), "the data root is hidden");
            write(&view.join("host-file"), "changed");
        },
    );
    assert_eq!(
        read(&parent.join("host-file")).as_deref(),
        Some("host"),
        "the base does not change"
    );
    driver.remove_snapshot(&container).expect("removing works");
}

fn what_cannot_be_done_is_said(driver: &Arc<dyn Driver>, _show: Show<'_>, root: &Path) {
    let sized = SnapshotOptions {
        size: Some(1),
        ..PLAIN
    };
    let made = driver.create_snapshot(&container(), &Base::Layers(&[]), &sized);
    assert!(
        matches!(made, Err(StorageError::SizeUnsupported { .. })),
        "a size is not ignored"
    );
    let missing = Layer::new(None, &[("a", "1")]).chain_id;
    let made = driver.create_snapshot(&container(), &Base::Layers(&[missing]), &PLAIN);
    assert!(matches!(made, Err(StorageError::NoLayer { .. })));
    for path in ["/no/such/directory", "relative", "/dev/null"] {
        let made = driver.create_snapshot(&container(), &Base::Directory(Path::new(path)), &PLAIN);
        assert!(matches!(made, Err(StorageError::BaseDirectory { .. })), "{path}");
    }
    let made = driver.create_snapshot(&container(), &Base::Directory(&root.join("layers")), &PLAIN);
    assert!(
        matches!(made, Err(StorageError::BaseDirectory { .. })),
        "the data root is no base"
    );
    let container = container();
    driver
        .create_snapshot(&container, &Base::Layers(&[]), &PLAIN)
        .expect("an image may have no layers");
    let changed = SnapshotOptions {
        volatile: true,
        ..PLAIN
    };
    let made = driver.create_snapshot(&container, &Base::Layers(&[]), &changed);
    assert!(matches!(made, Err(StorageError::OtherSnapshot { .. })));
    assert_eq!(leftovers(driver), 0);
}

/// What a killed process leaves is swept by the next, and nothing else.
fn crash(open: Open<'_>, root: &Path) {
    let driver = open(root);
    let layer = Layer::new(None, &[("kept", "1")]);
    layer.add(&driver);
    let container = container();
    let base = [layer.chain_id.clone()];
    driver
        .create_snapshot(&container, &Base::Layers(&base), &PLAIN)
        .expect("the snapshot is made");
    for place in ["staging", "trash"] {
        let half = driver.directory().join(place).join("half/diff/deep");
        create_directory(&half);
        write(&half.join("file"), "x");
    }
    let driver = open(root);
    let report = driver.sweep();
    assert!(report.failed.is_empty(), "{:?}", report.failed);
    assert_eq!((report.removed, leftovers(&driver)), (2, 0));
    assert!(driver.has_layer(&layer.chain_id).expect("asking works"));
    assert!(driver.rootfs(&container).is_ok());
    driver.remove_snapshot(&container).expect("removing works");
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
    };

    use super::*;
    use crate::driver::{DriverKind, open};

    fn overlay(lowers: &[std::path::PathBuf], upper: &Path, work: &Path, volatile: bool) -> OwnedFd {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
        for lower in lowers {
            fsconfig_set_string(&context, "lowerdir+", lower).unwrap();
        }
        fsconfig_set_string(&context, "upperdir", upper).unwrap();
        fsconfig_set_string(&context, "workdir", work).unwrap();
        if volatile {
            rustix::mount::fsconfig_set_flag(&context, "volatile").unwrap();
        }
        fsconfig_create(&context).unwrap();
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
    }

    /// Looks through the descriptor of a mount that is attached nowhere.
    fn show(rootfs: &Rootfs, look: &mut dyn FnMut(&Path)) {
        match rootfs {
            Rootfs::Directory { path, .. } => look(path),
            Rootfs::Overlay {
                lowers,
                upper,
                work,
                volatile,
                ..
            } => {
                let mount = overlay(lowers, upper, work, *volatile);
                let place = tempfile::tempdir().unwrap();
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                move_mount(&mount, "", rustix::fs::CWD, place.path(), flags).unwrap();
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(place.path())));
                drop(mount);
                unmount(place.path(), UnmountFlags::DETACH).unwrap();
                if let Err(panic) = outcome {
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }

    fn suite(kind: DriverKind) {
        let scratch = tempfile::tempdir().unwrap();
        run(&|root| open(kind, root).unwrap(), &show, scratch.path());
    }

    #[test]
    fn overlay_keeps_its_promises() {
        suite(DriverKind::Overlay);
    }

    #[test]
    fn vfs_keeps_its_promises() {
        suite(DriverKind::Vfs);
    }

    #[test]
    fn the_whole_machine_can_be_a_base() {
        let scratch = tempfile::tempdir().unwrap();
        let driver = open(DriverKind::Overlay, scratch.path()).unwrap();
        let container = container();
        let options = SnapshotOptions {
            volatile: true,
            owners: Some(crate::driver::Owners {
                uid: 0x1000_0000,
                gid: 0x1000_0000,
                count: 65_536,
            }),
            size: None,
        };
        driver
            .create_snapshot(&container, &Base::Directory(Path::new("/")), &options)
            .unwrap();
        let rootfs = driver.rootfs(&container).unwrap();
        let Rootfs::Overlay { upper, volatile, .. } = &rootfs else {
            panic!("{rootfs:?}");
        };
        assert!(*volatile);
        assert_eq!(upper.metadata().unwrap().uid(), 0x1000_0000);
        show(&rootfs, &mut |view| {
            assert!(view.join("bin/sh").exists());
            assert!(!view.join(scratch.path().strip_prefix("/").unwrap()).exists());
            assert!(
                view.join(scratch.path().parent().unwrap().strip_prefix("/").unwrap())
                    .exists()
            );
        });
        driver.remove_snapshot(&container).unwrap();
    }

    #[test]
    fn a_volatile_snapshot_can_be_mounted_again() {
        let scratch = tempfile::tempdir().unwrap();
        let driver = open(DriverKind::Overlay, scratch.path()).unwrap();
        let container = container();
        let options = SnapshotOptions {
            volatile: true,
            ..PLAIN
        };
        driver
            .create_snapshot(&container, &Base::Layers(&[]), &options)
            .unwrap();
        for text in ["1", "2"] {
            show(&driver.rootfs(&container).unwrap(), &mut |root| {
                if text == "2" {
                    assert_eq!(read(&root.join("a")).as_deref(), Some("1"));
                }
                write(&root.join("a"), text);
            });
        }
    }

    #[test]
    fn an_opaque_root_hides_all_layers_below() {
        let scratch = tempfile::tempdir().unwrap();
        let driver = open(DriverKind::Overlay, scratch.path()).unwrap();
        let base = Layer::new(None, &[("a", "1")]);
        let top = Layer::new(Some(&base), &[(".wh..wh..opq", ""), ("b", "2")]);
        base.add(&driver);
        top.add(&driver);
        let container = container();
        let layers = [base.chain_id, top.chain_id];
        driver
            .create_snapshot(&container, &Base::Layers(&layers), &PLAIN)
            .unwrap();
        show(&driver.rootfs(&container).unwrap(), &mut |root| {
            assert_eq!(read(&root.join("a")), None);
            assert_eq!(read(&root.join("b")).as_deref(), Some("2"));
        });
    }

    #[test]
    fn an_unmentioned_layer_root_gets_a_usable_mode_and_a_mentioned_one_its_own() {
        let scratch = tempfile::tempdir().unwrap();
        let driver = open(DriverKind::Overlay, scratch.path()).unwrap();
        let plain = Layer::new(None, &[("a", "1")]);
        plain.add(&driver);
        let container = container();
        let options = SnapshotOptions {
            owners: Some(crate::driver::Owners {
                uid: 65_536,
                gid: 65_536,
                count: 65_536,
            }),
            ..PLAIN
        };
        driver
            .create_snapshot(&container, &Base::Layers(&[plain.chain_id]), &options)
            .unwrap();
        let Rootfs::Overlay { upper, .. } = driver.rootfs(&container).unwrap() else {
            panic!();
        };
        let meta = upper.metadata().unwrap();
        assert_eq!(
            (meta.uid(), meta.gid(), meta.mode() & 0o7777),
            (65_536, 65_536, 0o755)
        );
    }
}
