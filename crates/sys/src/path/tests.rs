use super::*;

/// A directory of this test's own, removed at the end.
struct Scratch {
    parent: Root,
    name: String,
}

impl Scratch {
    fn new() -> Self {
        let parent = Root::open(std::env::temp_dir()).unwrap();
        let name = format!("berth-sys-{}", base::id::random_hex::<8>().unwrap());
        drop(parent.mkdir_all(&name, 0o700).unwrap());
        Self { parent, name }
    }

    fn path(&self) -> PathBuf {
        std::env::temp_dir().join(&self.name)
    }

    fn root(&self) -> Root {
        Root::open(self.path()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.parent.remove_all(&self.name).unwrap();
    }
}

fn errno<T: std::fmt::Debug>(result: Result<T, SyscallError>) -> Errno {
    result.unwrap_err().errno()
}

#[test]
fn links_stay_inside() {
    let scratch = Scratch::new();
    let root = scratch.root();
    drop(root.create_file("passwd", 0o644).unwrap());
    root.symlink("/passwd", "absolute").unwrap();
    root.symlink("../../../passwd", "climbing").unwrap();
    root.symlink("/etc/hostname", "outside").unwrap();
    root.symlink("/proc/self/fd/0", "magic").unwrap();
    assert_eq!(root.read_file("absolute", 10).unwrap(), b"");
    assert_eq!(root.read_file("climbing", 10).unwrap(), b"");
    assert_eq!(errno(root.read_file("outside", 10)), Errno::NOENT);
    assert_eq!(errno(root.read_file("magic", 10)), Errno::NOENT);
    assert_eq!(
        errno(root.open_beneath("absolute", OFlags::RDONLY, Mode::empty())),
        Errno::LOOP
    );
    assert_eq!(
        errno(root.open_beneath("../x", OFlags::RDONLY, Mode::empty())),
        Errno::XDEV
    );
    drop(
        root.open_beneath("/passwd", OFlags::RDONLY, Mode::empty())
            .unwrap(),
    );
}

#[test]
fn only_regular_files_are_read() {
    let scratch = Scratch::new();
    let root = scratch.root();
    root.mknod("fifo", FileType::Fifo, 0o644, 0).unwrap();
    drop(root.mkdir_all("directory", 0o755).unwrap());
    assert_eq!(errno(root.read_file("fifo", 10)), Errno::INVAL);
    assert_eq!(errno(root.read_file("directory", 10)), Errno::INVAL);
    let file = root.create_file("large", 0o600).unwrap();
    rustix::fs::ftruncate(&file, 1 << 40).unwrap();
    assert_eq!(errno(root.read_file("large", 1000)), Errno::FBIG);
}

#[test]
fn directories_are_made_inside() {
    let scratch = Scratch::new();
    let root = scratch.root();
    drop(root.mkdir_all("/a/b/c", 0o755).unwrap());
    drop(root.mkdir_all("a/b/c", 0o755).unwrap());
    root.symlink("/a/b", "link").unwrap();
    drop(root.mkdir_all("/link/d/e", 0o755).unwrap());
    assert!(root.metadata("/a/b/d/e").is_ok());
    root.symlink("/nowhere", "dangling").unwrap();
    assert_eq!(errno(root.mkdir_all("dangling/x", 0o755)), Errno::NOTDIR);
    drop(root.create_file("file", 0o644).unwrap());
    assert_eq!(errno(root.mkdir_all("file/x", 0o755)), Errno::NOTDIR);
    assert_eq!(errno(root.mkdir_all("new/../../x", 0o755)), Errno::INVAL);
    for wrong in ["", "/", "..", "a/.."] {
        assert_eq!(errno(root.open_parent(wrong)), Errno::INVAL, "{wrong}");
    }
}

#[test]
fn names_are_changed() {
    let scratch = Scratch::new();
    let root = scratch.root();
    drop(root.create_file("a", 0o644).unwrap());
    root.hard_link("a", "b").unwrap();
    root.rename("b", "c", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(errno(root.rename("c", "a", RenameFlags::NOREPLACE)), Errno::EXIST);
    root.symlink("text", "s").unwrap();
    assert_eq!(root.read_link("s").unwrap(), "text");
    root.unlink("s").unwrap();
    drop(root.mkdir_all("d", 0o755).unwrap());
    root.remove_dir("d").unwrap();
    assert_eq!(errno(root.metadata("d")), Errno::NOENT);
}

#[test]
fn removal_does_not_follow_links() {
    let scratch = Scratch::new();
    let root = scratch.root();
    drop(root.mkdir_all("keep/inside", 0o755).unwrap());
    drop(root.mkdir_all("tree/x/y", 0o755).unwrap());
    root.symlink("../../keep", "tree/x/link").unwrap();
    drop(root.create_file("tree/x/y/file", 0o000).unwrap());
    root.remove_all("tree").unwrap();
    root.remove_all("tree").unwrap();
    assert!(root.metadata("keep/inside").is_ok());
    assert_eq!(errno(root.metadata("tree")), Errno::NOENT);
}

#[test]
fn deep_trees_are_removed() {
    let scratch = Scratch::new();
    let root = scratch.root();
    drop(root.mkdir_all("deep", 0o755).unwrap());
    let mut directory = root.open_in_root("deep", OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..500 {
        rustix::fs::mkdirat(&directory, "d", Mode::RWXU).unwrap();
        rustix::fs::mkdirat(&directory, "e", Mode::RWXU).unwrap();
        directory = rustix::fs::openat(&directory, "d", OFlags::PATH, Mode::empty()).unwrap();
    }
    root.remove_all("deep").unwrap();
    assert_eq!(errno(root.metadata("deep")), Errno::NOENT);
}

#[test]
fn mounts_are_not_entered() {
    let scratch = Scratch::new();
    let root = scratch.root();
    drop(root.mkdir_all("tree/mount", 0o755).unwrap());
    drop(root.mkdir_all("kept", 0o755).unwrap());
    drop(root.create_file("kept/file", 0o644).unwrap());
    let mount = crate::mount::open_tree_clone(&root, "kept", crate::mount::Depth::One).unwrap();
    let target = root
        .open_in_root("tree/mount", OFlags::PATH, Mode::empty())
        .unwrap();
    crate::mount::move_mount(&mount, &target).unwrap();
    let error = errno(root.remove_all("tree"));
    crate::mount::umount2_detach(scratch.path().join("tree/mount")).unwrap();
    assert_eq!(error, Errno::BUSY);
    assert!(root.metadata("kept/file").is_ok());
}
