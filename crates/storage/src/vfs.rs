//! The vfs driver: every layer and every snapshot is a whole copy. Works on every file system, and wants the space.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use archive::Whiteouts;
use base::id::ContainerId;
use oci::ChainId;
use oci::rootfs::Rootfs;
use rustix::fs::fstat;

use crate::base_directory::BaseDirectory;
use crate::difference::View;
use crate::driver::{
    Base, Committed, CopyOutcome, Driver, DriverKind, LayerFacts, SnapshotOptions, Staging, SweepReport,
    Usage,
};
use crate::error::StorageError;
use crate::layout::{Layout, SnapshotFacts};
use crate::merge::Merged;
use crate::tree::Copier;
use crate::{merge, tree};

/// The driver.
#[derive(Debug)]
pub(crate) struct Vfs {
    layout: Layout,
}

impl Vfs {
    pub(crate) fn open(data_root: &Path) -> Result<Self, StorageError> {
        Ok(Self {
            layout: Layout::open(DriverKind::Vfs, data_root)?,
        })
    }
}

impl Driver for Vfs {
    fn kind(&self) -> DriverKind {
        DriverKind::Vfs
    }

    fn directory(&self) -> &Path {
        self.layout.directory()
    }

    fn has_layer(&self, layer: &ChainId) -> Result<bool, StorageError> {
        self.layout.has_layer(layer)
    }

    fn layer(&self, layer: &ChainId) -> Result<LayerFacts, StorageError> {
        self.layout.layer_facts(layer)
    }

    fn layers(&self) -> Result<Vec<ChainId>, StorageError> {
        self.layout.layers()
    }

    fn prepare_layer(&self, parent: Option<&ChainId>) -> Result<Staging, StorageError> {
        if let Some(parent) = parent {
            self.layout.require_layer(parent)?;
        }
        let staging = self.layout.stage_layer(parent, Whiteouts::Apply)?;
        if let Some(parent) = parent {
            let path = self.layout.layer_root(parent);
            let source = tree::open(&path)?;
            let copied = Copier::new(staging.root.as_fd(), None).copy_all(source.as_fd());
            copied.map_err(StorageError::step("copy", &path))?;
        }
        Ok(staging)
    }

    fn commit_layer(
        &self,
        staging: Staging,
        layer: &ChainId,
        facts: &LayerFacts,
    ) -> Result<Committed, StorageError> {
        self.layout.commit_layer(staging, layer, facts)
    }

    fn sync_layers(&self) -> Result<(), StorageError> {
        self.layout.sync_layers()
    }

    fn take_lost(&self) -> Vec<ChainId> {
        self.layout.take_lost()
    }

    fn open_layer(&self, layer: &ChainId) -> Result<OwnedFd, StorageError> {
        tree::open(&self.layout.layer_root(layer))
    }

    fn replace_layer(
        &self,
        staging: Staging,
        layer: &ChainId,
        facts: &LayerFacts,
    ) -> Result<(), StorageError> {
        self.layout.replace_layer(staging, layer, facts)
    }

    fn release_set_aside(&self, is_used: &dyn Fn(&ChainId) -> bool) -> Result<(), StorageError> {
        self.layout.release_set_aside(is_used)
    }

    fn check_snapshot(
        &self,
        container: &ContainerId,
        base: &Base<'_>,
        options: &SnapshotOptions,
    ) -> Result<Vec<String>, StorageError> {
        let facts = SnapshotFacts::new(base, options);
        self.layout.check_snapshot(container, &facts, "root")
    }

    fn repair_snapshot(
        &self,
        container: &ContainerId,
        base: &Base<'_>,
        options: &SnapshotOptions,
    ) -> Result<(), StorageError> {
        let facts = SnapshotFacts::new(base, options);
        self.layout.repair_snapshot(container, &facts, &["root"], &[])
    }

    fn remove_layer(&self, layer: &ChainId) -> Result<(), StorageError> {
        self.layout.remove_layer(layer)
    }

    fn create_snapshot(
        &self,
        container: &ContainerId,
        base: &Base<'_>,
        options: &SnapshotOptions,
    ) -> Result<(), StorageError> {
        self.layout.refuse_size(options)?;
        let facts = SnapshotFacts::new(base, options);
        self.layout.create_snapshot(container, &facts, |staging| {
            let (source, skip) = match base {
                Base::Layers(layers) => {
                    for layer in *layers {
                        self.layout.require_layer(layer)?;
                    }
                    let path = layers
                        .last()
                        .map_or_else(|| self.layout.empty(), |top| self.layout.layer_root(top));
                    (tree::open(&path)?, None)
                }
                Base::Directory(path) => {
                    let base = BaseDirectory::open(path, self.layout.data_root())?;
                    let data_root = tree::open(self.layout.data_root())?;
                    let stat =
                        fstat(data_root).map_err(StorageError::step("look at", self.layout.data_root()))?;
                    (base.root, Some((stat.st_dev, stat.st_ino)))
                }
            };
            let root = staging.join("root");
            std::fs::DirBuilder::new()
                .create(&root)
                .map_err(StorageError::step("create", &root))?;
            let target = tree::open(&root)?;
            let copied = Copier::new(target.as_fd(), skip).copy_all(source.as_fd());
            copied.map_err(StorageError::step("copy the root file system to", &root))
        })
    }

    fn rootfs(&self, container: &ContainerId) -> Result<Rootfs, StorageError> {
        self.layout.snapshot_facts(container)?;
        Ok(Rootfs::Directory {
            path: self.layout.snapshot(container).join("root"),
            idmap: true,
        })
    }

    fn snapshots(&self) -> Result<Vec<ContainerId>, StorageError> {
        self.layout.snapshots()
    }

    fn remove_snapshot(&self, container: &ContainerId) -> Result<(), StorageError> {
        self.layout.remove_snapshot(container)
    }

    fn view(&self, container: &ContainerId) -> Result<View, StorageError> {
        let facts = self.layout.snapshot_facts(container)?;
        let own = tree::open(&self.layout.snapshot(container).join("root"))?;
        let below = match (&facts.directory, facts.layers.last()) {
            (Some(directory), _) => BaseDirectory::open(directory, self.layout.data_root())?.root,
            (None, Some(layer)) => {
                self.layout.require_layer(layer)?;
                tree::open(&self.layout.layer_root(layer))?
            }
            (None, None) => tree::open(&self.layout.empty())?,
        };
        Ok(View {
            present: Merged::with_upper(own, Vec::new()),
            base: Merged::root(vec![below]),
            is_upper: false,
            hidden: None,
        })
    }

    fn usage(&self, container: &ContainerId) -> Result<Usage, StorageError> {
        self.layout.snapshot_facts(container)?;
        let root = self.layout.snapshot(container).join("root");
        tree::usage(tree::open(&root)?.as_fd()).map_err(StorageError::step("measure", &root))
    }

    fn copy_directory(
        &self,
        layers: &[ChainId],
        path: &Path,
        target: BorrowedFd<'_>,
    ) -> Result<CopyOutcome, StorageError> {
        let Some(top) = layers.last() else {
            return Ok(CopyOutcome::Absent);
        };
        self.layout.require_layer(top)?;
        let root = tree::open(&self.layout.layer_root(top))?;
        merge::copy_directory(vec![root], path, target)
            .map_err(StorageError::step("copy from the image", path))
    }

    fn sweep(&self) -> SweepReport {
        self.layout.sweep()
    }
}
