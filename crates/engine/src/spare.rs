//! Directories of containers to be, made when nobody waits: the name is what is left to give. On an ext4 without a journal a
//! new directory takes up to half a millisecond where many were removed lately, see `storage/src/layout.rs`.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::file::FileError;
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Most that are kept.
const LIMIT: usize = 16;

/// Empty directories.
#[derive(Debug)]
pub(crate) struct Spares {
    place: PathBuf,
    made: Mutex<Vec<PathBuf>>,
}

impl Spares {
    pub(crate) fn new(place: PathBuf) -> Self {
        Self {
            place,
            made: Mutex::default(),
        }
    }

    /// Removes those that the last daemon has left, and makes the first. One that somebody else makes meanwhile may go too: it
    /// is not missed.
    pub(crate) fn begin_anew(&self) {
        let left = std::fs::read_dir(&self.place).into_iter().flatten().flatten();
        for entry in left {
            std::fs::remove_dir(entry.path()).ok();
        }
        self.make();
    }

    /// Makes up to two, unless there are enough. What cannot be made is not missed.
    pub(crate) fn make(&self) {
        for _ in 0..2 {
            if self.made().len() >= LIMIT {
                return;
            }
            let Ok(name) = base::id::random_hex::<16>() else {
                return;
            };
            let path = self.place.join(name);
            if crate::files::make_directory(&path, 0o700).is_err() {
                return;
            }
            self.made().push(path);
        }
    }

    /// Puts an empty directory at `path`, which must not be there; only its owner may enter it.
    pub(crate) fn put(&self, path: &Path) -> Result<(), FileError> {
        let spare = self.made().pop();
        if let Some(spare) = spare
            && renameat_with(CWD, spare, CWD, path, RenameFlags::NOREPLACE).is_ok()
        {
            return Ok(());
        }
        crate::files::make_directory(path, 0o700)
    }

    fn made(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spare_becomes_a_directory_and_none_is_needed() {
        let root = std::env::temp_dir().join(format!("berth-spare-{}", std::process::id()));
        let spares = Spares::new(root.join("spare"));
        crate::files::make_directory(&root.join("spare/left"), 0o700).unwrap();
        spares.begin_anew();
        let count = || std::fs::read_dir(root.join("spare")).unwrap().count();
        assert_eq!(count(), 2, "what was left is gone");
        for name in ["one", "two", "three"] {
            spares.put(&root.join(name)).unwrap();
            assert_eq!(std::fs::read_dir(root.join(name)).unwrap().count(), 0);
        }
        assert_eq!(count(), 0);
        for _ in 0..20 {
            spares.make();
        }
        assert_eq!(count(), LIMIT);
        crate::files::remove_tree(&root).unwrap();
    }
}
