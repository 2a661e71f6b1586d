//! Files of our own, written so that a reader, a crash or a power cut never sees half of one.
//!
//! Only for paths that Berth made itself (its data root and run directory). Paths that come from an image or a
//! container go through `sys::path::Root`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives `kill -9`; a power cut may bring the old content back.
    Crash,
    /// Survives a power cut: the file and its directory are synced before the call returns.
    Power,
}

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} \"{}\"", path.display())]
pub struct FileError {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// Returns an error that says that `doing` failed for `path`.
    pub fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Returns the cause.
    pub fn io(&self) -> &io::Error {
        &self.source
    }
}

impl crate::error::Kinded for FileError {
    fn kind(&self) -> crate::error::Kind {
        crate::error::kind_of_io(&self.source)
    }
}

/// Creates a file that must not exist yet, readable and writable by `mode`.
pub fn create_new(path: &Path, mode: u32) -> Result<File, FileError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|source| FileError::new("create", path, source))
}

/// Replaces the content of `path` at once: readers see the old or the new content, never a mixture.
pub fn write_atomic(path: &Path, content: &[u8], mode: u32, durability: Durability) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut file = match create_new(&temporary, mode) {
        // That of a process with this number, which was killed.
        Err(error) if error.io().kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(&temporary)
                .map_err(|source| FileError::new("remove", &temporary, source))?;
            create_new(&temporary, mode)?
        }
        created => created?,
    };
    let done = file
        .write_all(content)
        .map_err(|source| FileError::new("write", &temporary, source))
        .and_then(|()| match durability {
            Durability::Crash => Ok(()),
            Durability::Power => file
                .sync_all()
                .map_err(|source| FileError::new("sync", &temporary, source)),
        })
        .and_then(|()| {
            std::fs::rename(&temporary, path).map_err(|source| FileError::new("replace", path, source))
        });
    if let Err(error) = done {
        // What fails on a full disk must not keep what little it got.
        drop(std::fs::remove_file(&temporary));
        return Err(error);
    }
    if durability == Durability::Power {
        sync_parent(path)?;
    }
    Ok(())
}

/// Waits until the directory entry of `path` is on the disk.
pub fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| FileError::new("sync", parent, source))
}

/// Has ext4 put each directory that is made in `directory` from now on into the block group with the fewest directories, with
/// all that is made in it, as it does for the first level of a file system (`find_group_orlov`, `FS_TOPDIR_FL`): for trees that
/// have nothing to do with each other, whose new inodes then need not look through all that were deleted lately. Other file
/// systems have no such hint, and without it things only take longer.
pub fn spread_directories(directory: &Path) {
    let hint = |directory: File| {
        let flags = ioctl_getflags(&directory)?;
        ioctl_setflags(&directory, flags | IFlags::TOPDIR)
    };
    File::open(directory).map(hint).ok();
}

/// Returns the whole content of `path`, or `None` if there is no such file; refuses more than `limit` bytes.
pub fn read_optional(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
    use std::io::Read;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new("open", path, error)),
    };
    let mut content = Vec::new();
    file.take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(|source| FileError::new("read", path, source))?;
    if u64::try_from(content.len()).unwrap_or(u64::MAX) > limit {
        let source = io::Error::new(io::ErrorKind::InvalidData, format!("larger than {limit} bytes"));
        return Err(FileError::new("read", path, source));
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_spread_where_the_file_system_can() {
        /// `EXT4_SUPER_MAGIC` of linux/magic.h.
        const EXT4_MAGIC: i64 = 0xef53;
        let directory = std::env::temp_dir().join(format!("berth-spread-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        spread_directories(&directory);
        let opened = File::open(&directory).unwrap();
        if rustix::fs::fstatfs(&opened).unwrap().f_type == EXT4_MAGIC {
            assert!(ioctl_getflags(&opened).unwrap().contains(IFlags::TOPDIR));
        }
        std::fs::remove_dir(&directory).unwrap();
        spread_directories(&directory);
    }

    #[test]
    fn replaces_and_reads_back() {
        let directory = std::env::temp_dir().join(format!("berth-base-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("x");
        for (content, durability) in [(&b"one"[..], Durability::Crash), (&b"two"[..], Durability::Power)] {
            write_atomic(&path, content, 0o600, durability).unwrap();
            assert_eq!(read_optional(&path, 10).unwrap().as_deref(), Some(content));
        }
        assert!(read_optional(&path, 2).is_err());
        assert_eq!(read_optional(&directory.join("y"), 10).unwrap(), None);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_dir(&directory).unwrap();
    }
}
