//! Room that is kept for removals: on a full disk even forgetting something needs a little.
//!
//! A few files that hold nothing lie in the data root. A removal that finds no room lets go of some of them (which gives inodes as
//! well as bytes), is done, and takes what is free again before anybody else does.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base::error::chain;
use rustix::fs::FallocateFlags;

/// How many files there are.
const FILES: usize = 16;
/// Bytes of each. A removal from the store adds up to 20 KiB to its log.
const BYTES: u64 = 128 << 10;
/// How many are let go at a time.
const AT_ONCE: usize = 2;

/// The files of one data root.
#[derive(Debug)]
pub(crate) struct Reserve {
    directory: PathBuf,
    /// One removal at a time uses it.
    turn: Mutex<()>,
}

impl Reserve {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self {
            directory,
            turn: Mutex::default(),
        }
    }

    /// Does `work`, and does it again with some of the reserve each time that it finds no room. `work` must be safe to repeat
    /// when it has failed.
    pub(crate) fn with_room<T, E: Error + 'static>(
        &self,
        mut work: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let first = work();
        if !first.as_ref().is_err_and(|error| is_no_room(error)) {
            return first;
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let done = loop {
            let is_less = self.release();
            let done = work();
            if !is_less || !done.as_ref().is_err_and(|error| is_no_room(error)) {
                break done;
            }
        };
        self.fill();
        done
    }

    /// Makes the files that are missing, as far as there is room.
    pub(crate) fn fill(&self) {
        if let Err(error) = crate::files::make_directory(&self.directory, 0o700) {
            tracing::debug!(error = %chain(&error), "no room is kept for removals");
            return;
        }
        for path in self.files().filter(|path| !path.exists()) {
            if let Err(error) = take(&path) {
                drop(std::fs::remove_file(&path));
                tracing::debug!(%error, "less room is kept for removals");
                return;
            }
        }
    }

    /// Lets go of some files; returns whether there were any.
    fn release(&self) -> bool {
        let there = self.files().filter(|path| std::fs::remove_file(path).is_ok());
        there.take(AT_ONCE).count() > 0
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..FILES).map(|number| self.directory.join(number.to_string()))
    }
}

fn take(path: &Path) -> io::Result<()> {
    let file = base::file::create_new(path, 0o600).map_err(io::Error::other)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES) {
        // A file system without it gives no room, but its inodes.
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        done => Ok(done?),
    }
}

/// Returns whether an error is one of a full disk, whoever met it.
fn is_no_room(error: &(dyn Error + 'static)) -> bool {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    let mut cause = Some(error);
    while let Some(error) = cause {
        let of_files = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| full.contains(&error.kind()));
        if of_files || db::is_no_room(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_tried_with_less_of_the_reserve() {
        let directory = std::env::temp_dir().join(format!("berth-reserve-{}", std::process::id()));
        let reserve = Reserve::new(directory.clone());
        let count = || reserve.files().filter(|path| path.exists()).count();
        reserve.fill();
        assert_eq!(count(), FILES);
        let mut tries = Vec::new();
        let done: Result<(), io::Error> = reserve.with_room(|| {
            tries.push(count());
            match tries.len() {
                ..3 => Err(io::ErrorKind::StorageFull.into()),
                _ => Ok(()),
            }
        });
        done.unwrap();
        assert_eq!(tries, [FILES, FILES - AT_ONCE, FILES - 2 * AT_ONCE]);
        assert_eq!(count(), FILES, "it is there for the next one");

        let mut tries = 0;
        let done: Result<(), io::Error> = reserve.with_room(|| {
            tries += 1;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(done.is_err());
        assert_eq!(tries, 2 + FILES / AT_ONCE, "it ends");
        let mut tries = 0;
        let done: Result<(), io::Error> = reserve.with_room(|| {
            tries += 1;
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert!(done.is_err());
        assert_eq!(tries, 1, "other errors are no reason");
        for path in reserve.files() {
            std::fs::remove_file(path).unwrap();
        }
        std::fs::remove_dir(directory).unwrap();
    }
}
