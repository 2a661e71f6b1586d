//! Where targets write: a root for what is unpacked, beside things that must stay as they are.

use std::cell::RefCell;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory of this process, emptied after use.
pub struct Place {
    directory: PathBuf,
    before: String,
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Runs `work` with the place of this thread.
pub fn with<T>(work: impl FnOnce(&Place) -> T) -> T {
    PLACE.with(|place| work(place.borrow_mut().get_or_insert_with(Place::new)))
}

impl Place {
    fn new() -> Self {
        let base = std::env::var_os("BERTH_FUZZ_DIRECTORY").unwrap_or_else(|| "/dev/shm".into());
        let thread = format!("{:?}", std::thread::current().id());
        let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
        let directory = Path::new(&base).join(format!("berth-fuzz-{}-{thread}", std::process::id()));
        archive::remove_tree_at(&directory).expect("the last one is gone");
        fs::create_dir_all(directory.join("outside/sub")).expect("a directory");
        fs::write(directory.join("outside/file"), "outside").expect("a file");
        fs::write(directory.join("outside/sub/secret"), "outside").expect("a file");
        let mut place = Self {
            directory,
            before: String::new(),
        };
        place.before = place.outside();
        place
    }

    /// Returns an empty directory for files of the target's own.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        archive::remove_tree_at(&path).expect("removed");
        fs::create_dir(&path).expect("a directory");
        path
    }

    /// Returns an empty root, opened.
    pub fn root(&self) -> OwnedFd {
        fs::File::open(self.scratch("root")).expect("opened").into()
    }

    /// Panics if anything beside the root has changed, and empties the root.
    pub fn check(&self) {
        assert_eq!(
            self.outside(),
            self.before,
            "something outside of the root has changed"
        );
        archive::remove_tree_at(&self.directory.join("root")).expect("removed");
        let names = fs::read_dir(&self.directory).expect("listed").count();
        assert_eq!(names, 1, "something beside the root was made");
    }

    fn outside(&self) -> String {
        let mut lines = String::new();
        for name in ["outside", "outside/file", "outside/sub", "outside/sub/secret"] {
            let path = self.directory.join(name);
            let meta = fs::symlink_metadata(&path).expect("still there");
            lines += &format!(
                "{name} {:o} {}:{} {} {} {}\n",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.nlink(),
                meta.mtime(),
                meta.mtime_nsec()
            );
            if meta.is_dir() {
                lines += &format!("{}\n", fs::read_dir(path).expect("listed").count());
            } else {
                lines += &fs::read_to_string(path).expect("read");
            }
        }
        lines
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(archive::remove_tree_at(&self.directory));
    }
}
