//! How a container's root file system is put together: made by `storage` as plain data, carried out by `runtime`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The recipe of a root file system. All paths are absolute host paths below Berth's data root, except for
/// [`Rootfs::Directory`] and the lowers of `--rootfs DIR:O`, which are the user's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Rootfs {
    /// A directory that is bound as it is (`config.root.path`, `--rootfs DIR`, the vfs driver).
    Directory {
        /// The directory.
        path: PathBuf,
        /// Whether on-disk ids are container ids and need an idmapped bind in a user namespace; `false` when the
        /// tree already holds shifted ids or no user namespace is used.
        idmap: bool,
    },
    /// An overlay of read-only layers under one writable directory.
    Overlay {
        /// Read-only directories, topmost first; at least one, at most 500.
        lowers: Vec<PathBuf>,
        /// The writable directory; holds shifted ids when the container has a user namespace of its own.
        upper: PathBuf,
        /// Overlay's work directory, on the file system of `upper`.
        work: PathBuf,
        /// Whether `lowers` hold unshifted ids and are idmapped when the container has a user namespace.
        idmap: bool,
        /// Whether the mount may skip syncing (`volatile`): right when the upper dies with the container.
        volatile: bool,
    },
}
