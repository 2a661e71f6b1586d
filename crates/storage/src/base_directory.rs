//! A directory of the user's own as the base of a snapshot (`--rootfs DIR:O`).

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, readlinkat};

use crate::error::StorageError;
use crate::tree;

/// The directory, opened, and where Berth's data root lies in it.
#[derive(Debug)]
pub(crate) struct BaseDirectory {
    pub(crate) root: OwnedFd,
    /// The data root relative to the directory, if it lies inside. A container must not see it: it holds every other
    /// container's files, and this snapshot's own writable directory, which overlay must not have below itself.
    pub(crate) data_root_inside: Option<PathBuf>,
}

impl BaseDirectory {
    pub(crate) fn open(path: &Path, data_root: &Path) -> Result<Self, StorageError> {
        let wrong = |problem| StorageError::BaseDirectory {
            path: path.to_owned(),
            problem,
        };
        if !path.is_absolute() {
            return Err(wrong("is not an absolute path"));
        }
        let root = tree::open(path).map_err(|error| match error {
            StorageError::Step { ref source, .. } if source.kind() == std::io::ErrorKind::NotADirectory => {
                wrong("is not a directory")
            }
            StorageError::Step { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                wrong("does not exist")
            }
            other => other,
        })?;
        let real = real_path(&root, path)?;
        let real_data = real_path(&tree::open(data_root)?, data_root)?;
        if real.starts_with(&real_data) {
            return Err(wrong("lies in Berth's own data directory"));
        }
        let inside = real_data.strip_prefix(&real).ok().map(Path::to_owned);
        Ok(Self {
            root,
            data_root_inside: inside,
        })
    }
}

/// Returns the path under which the kernel knows an open directory.
fn real_path(directory: &OwnedFd, path: &Path) -> Result<PathBuf, StorageError> {
    use std::os::unix::ffi::OsStringExt;
    let link = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let target =
        readlinkat(CWD, link, Vec::new()).map_err(StorageError::step("find the real path of", path))?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes())))
}
