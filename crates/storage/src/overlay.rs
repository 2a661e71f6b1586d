//! The overlay driver: a layer is a directory with its differences, a snapshot an empty directory above.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use archive::Whiteouts;
use base::id::ContainerId;
use oci::ChainId;
use oci::rootfs::Rootfs;
use rustix::fs::{FileType, Gid, Mode, Uid, fchmod, fchown, fstat, mkdirat, mknodat};
use rustix::io::Errno;

use crate::base_directory::BaseDirectory;
use crate::difference::View;
use crate::driver::{
    Base, Committed, CopyOutcome, Driver, DriverKind, LayerFacts, Owners, SnapshotOptions, Staging,
    SweepReport, Usage,
};
use crate::error::StorageError;
use crate::layout::{Layout, SnapshotFacts};
use crate::merge::Merged;
use crate::{merge, tree};

/// Most lower directories of one mount (kernel 6.8 and later: "too many lower directories, limit is 500").
const MAX_LOWERS: usize = 500;

/// The driver.
#[derive(Debug)]
pub(crate) struct Overlay {
    layout: Layout,
}

impl Overlay {
    pub(crate) fn open(data_root: &Path) -> Result<Self, StorageError> {
        Ok(Self {
            layout: Layout::open(DriverKind::Overlay, data_root)?,
        })
    }

    /// Returns the layers' roots, topmost first; a layer whose very root is opaque hides all below.
    fn lowers(&self, layers: &[ChainId]) -> Result<Vec<(PathBuf, OwnedFd)>, StorageError> {
        let mut lowers = Vec::with_capacity(layers.len());
        for layer in layers.iter().rev() {
            self.layout.require_layer(layer)?;
            let path = self.layout.layer_root(layer);
            let root = tree::open(&path)?;
            let last = merge::is_opaque(root.as_fd());
            lowers.push((path, root));
            if last {
                break;
            }
        }
        if lowers.len() > MAX_LOWERS {
            return Err(StorageError::TooManyLayers {
                count: lowers.len(),
                limit: MAX_LOWERS,
            });
        }
        if lowers.is_empty() {
            let path = self.layout.empty();
            let root = tree::open(&path)?;
            lowers.push((path, root));
        }
        Ok(lowers)
    }
}

impl Driver for Overlay {
    fn kind(&self) -> DriverKind {
        DriverKind::Overlay
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
        self.layout.stage_layer(parent, Whiteouts::Overlay)
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
        self.layout.check_snapshot(container, &facts, "upper")
    }

    fn repair_snapshot(
        &self,
        container: &ContainerId,
        base: &Base<'_>,
        options: &SnapshotOptions,
    ) -> Result<(), StorageError> {
        let facts = SnapshotFacts::new(base, options);
        self.layout
            .repair_snapshot(container, &facts, &["upper"], &["work"])
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
            let (root, hidden) = match base {
                Base::Layers(layers) => {
                    let top = self.lowers(layers)?.swap_remove(0);
                    (top.1, None)
                }
                Base::Directory(path) => {
                    let base = BaseDirectory::open(path, self.layout.data_root())?;
                    (base.root, base.data_root_inside)
                }
            };
            let parent = tree::open(staging)?;
            let made = make_upper(parent.as_fd(), root.as_fd(), hidden.as_deref(), options.owners);
            made.map_err(StorageError::step("make the writable directory in", staging))
        })
    }

    fn rootfs(&self, container: &ContainerId) -> Result<Rootfs, StorageError> {
        let facts = self.layout.snapshot_facts(container)?;
        let lowers = match facts.directory {
            Some(directory) => vec![directory],
            None => self
                .lowers(&facts.layers)?
                .into_iter()
                .map(|(path, _)| path)
                .collect(),
        };
        let snapshot = self.layout.snapshot(container);
        if facts.volatile {
            // The kernel marks the work directory of a volatile mount and refuses it ever after, for fear of a crash in
            // between. Then the container died, and its writable part with it; a restart may have what is there.
            tree::remove(&snapshot.join("work/work/incompat"))?;
        }
        Ok(Rootfs::Overlay {
            lowers,
            upper: snapshot.join("upper"),
            work: snapshot.join("work"),
            idmap: true,
            volatile: facts.volatile,
        })
    }

    fn snapshots(&self) -> Result<Vec<ContainerId>, StorageError> {
        self.layout.snapshots()
    }

    fn remove_snapshot(&self, container: &ContainerId) -> Result<(), StorageError> {
        self.layout.remove_snapshot(container)?;
        self.layout.make_spares(&["upper", "work"]);
        Ok(())
    }

    fn view(&self, container: &ContainerId) -> Result<View, StorageError> {
        let facts = self.layout.snapshot_facts(container)?;
        let upper = tree::open(&self.layout.snapshot(container).join("upper"))?;
        let roots = || -> Result<(Vec<OwnedFd>, Option<PathBuf>), StorageError> {
            match &facts.directory {
                Some(directory) => {
                    let base = BaseDirectory::open(directory, self.layout.data_root())?;
                    Ok((vec![base.root], base.data_root_inside))
                }
                None => Ok((
                    self.lowers(&facts.layers)?
                        .into_iter()
                        .map(|(_, root)| root)
                        .collect(),
                    None,
                )),
            }
        };
        let (below, hidden) = roots()?;
        Ok(View {
            present: Merged::with_upper(upper, below),
            base: Merged::root(roots()?.0),
            is_upper: true,
            hidden,
        })
    }

    fn usage(&self, container: &ContainerId) -> Result<Usage, StorageError> {
        self.layout.snapshot_facts(container)?;
        let upper = self.layout.snapshot(container).join("upper");
        tree::usage(tree::open(&upper)?.as_fd()).map_err(StorageError::step("measure", &upper))
    }

    fn copy_directory(
        &self,
        layers: &[ChainId],
        path: &Path,
        target: BorrowedFd<'_>,
    ) -> Result<CopyOutcome, StorageError> {
        let lowers = self.lowers(layers)?.into_iter().map(|(_, root)| root).collect();
        merge::copy_directory(lowers, path, target).map_err(StorageError::step("copy from the image", path))
    }

    fn sweep(&self) -> SweepReport {
        self.layout.sweep()
    }
}

/// Makes `upper` and `work` in `parent`: `upper` has the mode of the root below and its owner, shifted.
fn make_upper(
    parent: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    hidden: Option<&Path>,
    owners: Option<Owners>,
) -> std::io::Result<()> {
    for name in ["work", "upper"] {
        match mkdirat(parent, name, Mode::from(0o700)) {
            // A spare has them already.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let upper = tree::open_directory(parent, c"upper")?;
    own_like(upper.as_fd(), below, owners)?;
    let Some(hidden) = hidden else {
        return Ok(());
    };
    let (mut upper, mut below) = (upper, below.try_clone_to_owned()?);
    let mut names = hidden.iter().peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            mknodat(&upper, name, FileType::CharacterDevice, Mode::empty(), 0)?;
            break;
        }
        let name = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(name))?;
        mkdirat(&upper, &name, Mode::from(0o700))?;
        upper = tree::open_directory(&upper, &name)?;
        below = tree::open_directory(&below, &name)?;
        own_like(upper.as_fd(), below.as_fd(), owners)?;
    }
    Ok(())
}

fn own_like(directory: BorrowedFd<'_>, model: BorrowedFd<'_>, owners: Option<Owners>) -> std::io::Result<()> {
    let stat = fstat(model)?;
    let (uid, gid) = match owners {
        None => (stat.st_uid, stat.st_gid),
        Some(owners) => {
            // An owner outside of the namespace cannot be shown there; root can at least change it.
            let shift = |base: u32, id: u32| {
                if id < owners.count {
                    base.saturating_add(id)
                } else {
                    base
                }
            };
            (shift(owners.uid, stat.st_uid), shift(owners.gid, stat.st_gid))
        }
    };
    fchown(directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(fchmod(directory, Mode::from(stat.st_mode & 0o7777))?)
}
