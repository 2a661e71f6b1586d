//! The snapshot contract.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use archive::Whiteouts;
use base::id::ContainerId;
use oci::ChainId;
use oci::rootfs::Rootfs;

use crate::difference::View;
use crate::error::StorageError;
use crate::overlay::Overlay;
use crate::vfs::Vfs;

/// A way to keep layers and to put a container's root file system together.
///
/// # Vocabulary
///
/// * A **layer** is the unpacked content of one image layer upon its parents. Its name is its *chain id*, which says
///   what all layers up to it hold, so two images with the same base share it. Layers are never changed.
/// * A **staging** is a layer in the making: a directory nobody else sees.
/// * A **snapshot** is the file system of one container: layers (or any directory of the host) and a writable part
///   above. Its name is the container's id.
///
/// # Life cycle
///
/// ```text
/// prepare_layer ──▶ Staging ──(unpack into it)──▶ commit_layer ──▶ layer ──▶ remove_layer
///                      └──(drop)──▶ gone
/// create_snapshot ──▶ snapshot ──▶ rootfs (as often as wanted) ──▶ remove_snapshot
/// ```
///
/// [`crate::add_layer`] does the upper line with the check of the diff id, [`crate::unpack_layer`] and
/// [`crate::Unpacked::show`] do it in two halves; use them instead of the three calls.
///
/// # What the caller may assume
///
/// * A layer is visible only when it is complete, and after a power cut only if the whole layer is on the disk: what was
///   not synced by then (see [`Self::sync_layers`]) is not there any more and is named by [`Self::take_lost`]. Two callers may
///   make the same layer at once; one of them is told [`Committed::AlreadyThere`].
/// * Every call is safe to repeat. Removing what is not there succeeds; creating a snapshot that exists with the same
///   base succeeds without touching it.
/// * A process killed at any point leaves only things that [`Self::sweep`] removes: staging and trash directories.
///   The daemon calls it once at start, when no other process uses the same data root.
/// * Ids inside layers are unshifted (an image's root is id 0 on disk). Ids in the writable part are those of the
///   processes that write there: shifted by the container's base if it has a user namespace.
/// * Calls block; all methods may be called from many threads.
///
/// # What the caller must know
///
/// * The driver does not count references. [`Self::remove_layer`] may only be called when no image and no snapshot
///   uses the layer or a layer upon it; the engine knows both.
/// * A snapshot may only be removed when nothing is mounted from it in any namespace that matters to the caller.
///
/// # What a driver must not do
///
/// It must not mount anything, must not follow a link that an image or a container made, and must not keep state
/// in memory that a restart would lose.
pub trait Driver: fmt::Debug + Send + Sync {
    /// Returns which driver this is.
    fn kind(&self) -> DriverKind;

    /// Returns the directory that holds everything of this driver.
    fn directory(&self) -> &Path;

    /// Returns whether a layer is there, complete.
    fn has_layer(&self, layer: &ChainId) -> Result<bool, StorageError>;

    /// Returns what is known of a layer.
    fn layer(&self, layer: &ChainId) -> Result<LayerFacts, StorageError>;

    /// Returns all layers, in no order.
    fn layers(&self) -> Result<Vec<ChainId>, StorageError>;

    /// Returns whether a layer can be begun only when the one below it is there.
    fn needs_parent(&self) -> bool {
        self.kind() == DriverKind::Vfs
    }

    /// Starts a layer upon `parent`, which must be there now or, if [`Self::needs_parent`] is false, when it is committed.
    fn prepare_layer(&self, parent: Option<&ChainId>) -> Result<Staging, StorageError>;

    /// Makes a staging the layer `layer` upon `facts.parent`, which must be there, and shows it under its name. It is on the
    /// disk after the next [`Self::sync_layers`].
    fn commit_layer(
        &self,
        staging: Staging,
        layer: &ChainId,
        facts: &LayerFacts,
    ) -> Result<Committed, StorageError>;

    /// Waits until every layer that was committed before is on the disk. Cheap when they are. Before a layer's blob goes while
    /// the layer stays, this must be called; otherwise whenever nobody waits for it.
    fn sync_layers(&self) -> Result<(), StorageError>;

    /// Returns the layers that a power cut took because they had not been synced, once; their blobs still have them.
    fn take_lost(&self) -> Vec<ChainId>;

    /// Opens the directory with a layer's content, to be read.
    fn open_layer(&self, layer: &ChainId) -> Result<OwnedFd, StorageError>;

    /// Puts a staging in the place of the layer `layer`, which is damaged or gone. What was there is set aside whole.
    fn replace_layer(
        &self,
        staging: Staging,
        layer: &ChainId,
        facts: &LayerFacts,
    ) -> Result<(), StorageError>;

    /// Removes what [`Self::replace_layer`] set aside, but for the layers on which somebody still stands.
    fn release_set_aside(&self, is_used: &dyn Fn(&ChainId) -> bool) -> Result<(), StorageError>;

    /// Returns what is wrong with what is recorded of a container's file system: `base` and `options` are what it was
    /// made with. Nothing that the container wrote is looked at.
    fn check_snapshot(
        &self,
        container: &ContainerId,
        base: &Base<'_>,
        options: &SnapshotOptions,
    ) -> Result<Vec<String>, StorageError>;

    /// Writes again what is recorded of a container's file system. What the container wrote stays; when it is gone
    /// there is nothing to mend, and that is an error.
    fn repair_snapshot(
        &self,
        container: &ContainerId,
        base: &Base<'_>,
        options: &SnapshotOptions,
    ) -> Result<(), StorageError>;

    /// Removes a layer; succeeds if it is not there.
    fn remove_layer(&self, layer: &ChainId) -> Result<(), StorageError>;

    /// Creates the writable file system of a container.
    fn create_snapshot(
        &self,
        container: &ContainerId,
        base: &Base<'_>,
        options: &SnapshotOptions,
    ) -> Result<(), StorageError>;

    /// Returns how to put a container's root file system together.
    fn rootfs(&self, container: &ContainerId) -> Result<Rootfs, StorageError>;

    /// Returns the containers that have snapshots, in no order.
    fn snapshots(&self) -> Result<Vec<ContainerId>, StorageError>;

    /// Removes a container's writable file system; succeeds if it is not there. The name is free at once (the tree is
    /// renamed away first), so a kill in between leaves only trash for [`Self::sweep`]. Takes milliseconds and prepares
    /// the next [`Self::create_snapshot`]: nobody should wait for it.
    fn remove_snapshot(&self, container: &ContainerId) -> Result<(), StorageError>;

    /// Opens a container's file system and the layers below it side by side, for [`crate::changes`],
    /// [`crate::pack_changes`] and [`crate::pack_all`]. The container may run.
    fn view(&self, container: &ContainerId) -> Result<View, StorageError>;

    /// Returns what the writable part of a container takes on disk.
    fn usage(&self, container: &ContainerId) -> Result<Usage, StorageError>;

    /// Copies what an image has below the directory `path` into `target`, without mounting anything: layers (lowest
    /// first) are merged, whiteouts and opaque directories respected, links in `path` resolved inside the image. Ids
    /// stay unshifted; `target` itself gets the directory's owner and mode. For a volume's first content.
    fn copy_directory(
        &self,
        layers: &[ChainId],
        path: &Path,
        target: BorrowedFd<'_>,
    ) -> Result<CopyOutcome, StorageError>;

    /// Removes what killed processes left: stagings and trash. Goes on after a failure and reports it.
    fn sweep(&self) -> SweepReport;
}

/// The drivers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// The kernel's overlay file system: layers are directories with the differences only.
    Overlay,
    /// Plain directories and full copies: works on every file system, slow and large.
    Vfs,
}

impl DriverKind {
    /// Returns the driver's name, which is also its directory's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Vfs => "vfs",
        }
    }

    /// Returns the name that Docker's API uses (`overlay2`).
    pub fn docker_name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay2",
            Self::Vfs => "vfs",
        }
    }
}

impl FromStr for DriverKind {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, StorageError> {
        match text {
            "overlay" | "overlay2" => Ok(Self::Overlay),
            "vfs" => Ok(Self::Vfs),
            _ => Err(StorageError::UnknownDriver {
                name: text.chars().take(80).collect(),
            }),
        }
    }
}

/// Opens a driver below `<data_root>/layers/<driver>` and makes its directories. Call [`Driver::sweep`] once after it.
pub fn open(kind: DriverKind, data_root: &Path) -> Result<Arc<dyn Driver>, StorageError> {
    Ok(match kind {
        DriverKind::Overlay => Arc::new(Overlay::open(data_root)?),
        DriverKind::Vfs => Arc::new(Vfs::open(data_root)?),
    })
}

/// What a snapshot stands on.
#[derive(Clone, Copy, Debug)]
pub enum Base<'a> {
    /// The layers of an image, lowest first; may be empty (an image from scratch).
    Layers(&'a [ChainId]),
    /// A directory of the host, which is only read (`--rootfs DIR:O`); its ids are unshifted. It may be `/`: then
    /// the data root inside is hidden from the container. File systems mounted below are not seen.
    Directory(&'a Path),
}

/// The host ids that are 0, 1, 2, … in a container's user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owners {
    /// The user id of its root.
    pub uid: u32,
    /// The group id of its root.
    pub gid: u32,
    /// How many ids of both kinds follow one another.
    pub count: u32,
}

/// How a snapshot is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// Whether the writable part dies with the container, so that syncing it is pointless (`--rm`).
    pub volatile: bool,
    /// The host ids of the container's user namespace; `None` without one.
    pub owners: Option<Owners>,
    /// A size limit in bytes (`--storage-opt size=`). Neither driver can enforce one here, so it is an error.
    pub size: Option<u64>,
}

/// What is recorded with a layer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LayerFacts {
    /// The digest of the layer's uncompressed tar.
    pub diff_id: oci::Digest,
    /// The layer below.
    pub parent: Option<ChainId>,
    /// The sum of the sizes of the layer's own regular files in bytes.
    pub size: u64,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The layer is new.
    Created,
    /// Somebody else made the same layer first; the staging was dropped.
    AlreadyThere,
}

/// What a container's writable part takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The sum of the sizes of its regular files in bytes, hard links once.
    pub bytes: u64,
    /// The number of its inodes.
    pub inodes: u64,
}

/// What [`Driver::copy_directory`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyOutcome {
    /// The directory is there and was copied (it may be empty).
    Copied,
    /// The image has no such directory; nothing was changed.
    Absent,
}

/// What [`Driver::sweep`] did.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// The number of leftovers removed.
    pub removed: u64,
    /// What could not be removed; it stays for the next sweep.
    pub failed: Vec<StorageError>,
}

/// A layer in the making. Dropping it removes it.
#[derive(Debug)]
pub struct Staging {
    pub(crate) path: PathBuf,
    pub(crate) root: OwnedFd,
    pub(crate) whiteouts: Whiteouts,
    pub(crate) parent: Option<ChainId>,
    pub(crate) armed: bool,
}

impl Staging {
    /// Returns the directory to unpack into.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Returns what to do with whiteouts: overlay keeps them in its own form, vfs deletes what they name.
    pub fn whiteouts(&self) -> Whiteouts {
        self.whiteouts
    }

    /// Returns the layer below.
    pub fn parent(&self) -> Option<&ChainId> {
        self.parent.as_ref()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.armed {
            // What cannot be removed now is removed by the next sweep.
            drop(crate::tree::remove(&self.path));
        }
    }
}
