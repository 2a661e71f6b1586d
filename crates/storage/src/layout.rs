//! Where a driver keeps its things, and how they become visible and vanish at once.
//!
//! ```text
//! <data root>/layers/<driver>/
//!   layers/<chain id's hex>/diff/        an unpacked layer
//!   layers/<chain id's hex>/facts.json   LayerFacts, and the boot of the machine in which the layer was made
//!   layers/<chain id's hex>/synced       there when all of the layer is on the disk
//!   snapshots/<container id>/            a container's writable part and its facts.json
//!   staging/<random>/                    things in the making: renamed into place when complete
//!   trash/<random>/                      things that are gone: renamed here first, then removed
//!   aside/<hex>.<random>/                damaged layers that were replaced, as long as a container stands on them
//!   spare/<random>/                      snapshots made ahead of time, without a container yet
//!   empty/                               the layer of an image that has none
//! ```
//!
//! A layer is shown before it is synced, because whoever waits for it would wait for the disk. Until it has its `synced`
//! file it counts for this boot of the machine only: after a power cut it is not there, and is unpacked again from its
//! blob, which was synced before. A daemon that is killed loses nothing, since the kernel has the pages.
//!
//! Spares are there because making files is what a snapshot costs: ext4 without a journal, for one, looks through all
//! recently deleted inodes of a block group for each new one, which takes milliseconds where containers come and go. Whoever
//! removes a snapshot, and nobody waits for that, makes spares for those to come, each in a block group of its own,
//! where the kernel finds inodes at once for what overlay and the container make. A used snapshot never becomes one: a file
//! descriptor that outlived its container may still lead into it.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use archive::Whiteouts;
use base::file::{create_new, read_optional};
use base::id::ContainerId;
use oci::ChainId;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::driver::{Base, Committed, DriverKind, LayerFacts, SnapshotOptions, Staging, SweepReport};
use crate::error::StorageError;
use crate::tree;

const FACTS: &str = "facts.json";
/// Marks a layer that is on the disk.
const SYNCED: &str = "synced";
/// Names the present boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Largest facts file in bytes: 500 chain ids and two paths fit well.
const MAX_FACTS: u64 = 1 << 20;
/// Most spares that are kept.
const SPARES: usize = 16;

/// The directories of one driver.
#[derive(Debug)]
pub(crate) struct Layout {
    kind: DriverKind,
    directory: PathBuf,
    data_root: PathBuf,
    spares: Mutex<Vec<PathBuf>>,
    boot: String,
    /// Layers that are shown and not yet synced.
    unsynced: Mutex<Vec<ChainId>>,
    /// Layers that a power cut took.
    lost: Mutex<Vec<ChainId>>,
}

/// What is in the facts file of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RecordedFacts {
    #[serde(flatten)]
    facts: LayerFacts,
    /// The boot in which the layer was made; a layer without was synced before it was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
}

/// What is recorded with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotFacts {
    /// The layers, lowest first; or
    #[serde(default)]
    pub(crate) layers: Vec<ChainId>,
    /// the directory that it stands on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<PathBuf>,
    /// Whether syncing is pointless.
    pub(crate) volatile: bool,
    /// The host id of the container's root.
    pub(crate) owner_base: Option<u32>,
}

impl SnapshotFacts {
    pub(crate) fn new(base: &Base<'_>, options: &SnapshotOptions) -> Self {
        let (layers, directory) = match base {
            Base::Layers(layers) => (layers.to_vec(), None),
            Base::Directory(path) => (Vec::new(), Some(path.to_path_buf())),
        };
        Self {
            layers,
            directory,
            volatile: options.volatile,
            owner_base: options.owners.map(|owners| owners.uid),
        }
    }
}

impl Layout {
    pub(crate) fn open(kind: DriverKind, data_root: &Path) -> Result<Self, StorageError> {
        let own = Self {
            kind,
            directory: data_root.join("layers").join(kind.name()),
            data_root: data_root.to_owned(),
            spares: Mutex::default(),
            boot: boot_id()?,
            unsynced: Mutex::default(),
            lost: Mutex::default(),
        };
        let layers = data_root.join("layers");
        for directory in [data_root, &layers, &own.directory] {
            make_directory(directory)?;
        }
        for name in ["layers", "snapshots", "staging", "trash", "spare", "empty"] {
            make_directory(&own.directory.join(name))?;
        }
        base::file::spread_directories(&own.directory.join("spare"));
        own.find_unsynced()?;
        Ok(own)
    }

    /// Finds the layers that were not synced when the last daemon ended. Those of another boot may be anything: they go.
    fn find_unsynced(&self) -> Result<(), StorageError> {
        for layer in self.layers()? {
            let path = self.layer(&layer);
            let synced = path.join(SYNCED);
            if synced
                .try_exists()
                .map_err(StorageError::step("look for", &synced))?
            {
                continue;
            }
            // A facts file that cannot be read is of a layer that the power cut met.
            match read_facts::<RecordedFacts>(&path) {
                Ok(Some(RecordedFacts { boot: None, .. })) => {}
                Ok(Some(recorded)) if recorded.boot.as_ref() == Some(&self.boot) => {
                    locked(&self.unsynced).push(layer);
                }
                Ok(_) | Err(StorageError::Damaged { .. }) => {
                    self.discard(&path)?;
                    locked(&self.lost).push(layer);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the layers that were not on the disk when the power went, once.
    pub(crate) fn take_lost(&self) -> Vec<ChainId> {
        std::mem::take(&mut *locked(&self.lost))
    }

    /// Syncs the layers that were shown so far.
    pub(crate) fn sync_layers(&self) -> Result<(), StorageError> {
        let layers = locked(&self.unsynced).clone();
        if layers.is_empty() {
            return Ok(());
        }
        let directory = tree::open(&self.directory)?;
        rustix::fs::syncfs(&directory).map_err(StorageError::step("sync", &self.directory))?;
        for layer in &layers {
            let path = self.layer(layer).join(SYNCED);
            match create_new(&path, 0o600) {
                Ok(_) => {}
                // Synced by another call, or removed meanwhile.
                Err(error)
                    if matches!(
                        error.io().kind(),
                        std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotFound
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        locked(&self.unsynced).retain(|layer| !layers.contains(layer));
        Ok(())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn data_root(&self) -> &Path {
        &self.data_root
    }

    /// Returns the directory that stands for the layers of an image that has none.
    pub(crate) fn empty(&self) -> PathBuf {
        self.directory.join("empty")
    }

    fn layer(&self, layer: &ChainId) -> PathBuf {
        self.directory.join("layers").join(layer.digest().hex())
    }

    /// Returns where a layer's content is.
    pub(crate) fn layer_root(&self, layer: &ChainId) -> PathBuf {
        self.layer(layer).join("diff")
    }

    /// Returns where a container's snapshot is.
    pub(crate) fn snapshot(&self, container: &ContainerId) -> PathBuf {
        self.directory.join("snapshots").join(container.as_str())
    }

    pub(crate) fn has_layer(&self, layer: &ChainId) -> Result<bool, StorageError> {
        let path = self.layer(layer);
        path.try_exists().map_err(StorageError::step("look for", &path))
    }

    pub(crate) fn require_layer(&self, layer: &ChainId) -> Result<(), StorageError> {
        if self.has_layer(layer)? {
            Ok(())
        } else {
            Err(StorageError::NoLayer { layer: layer.clone() })
        }
    }

    pub(crate) fn layer_facts(&self, layer: &ChainId) -> Result<LayerFacts, StorageError> {
        read_facts(&self.layer(layer))?.ok_or_else(|| StorageError::NoLayer { layer: layer.clone() })
    }

    pub(crate) fn layers(&self) -> Result<Vec<ChainId>, StorageError> {
        let names = entries(&self.directory.join("layers"))?;
        Ok(names.iter().filter_map(|name| parse_layer(name)).collect())
    }

    pub(crate) fn snapshots(&self) -> Result<Vec<ContainerId>, StorageError> {
        let names = entries(&self.directory.join("snapshots"))?;
        Ok(names.into_iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Makes an empty staging directory and returns its path.
    pub(crate) fn stage(&self) -> Result<PathBuf, StorageError> {
        let path = self.directory.join("staging").join(random()?);
        std::fs::DirBuilder::new()
            .create(&path)
            .map_err(StorageError::step("create", &path))?;
        Ok(path)
    }

    /// Makes a staging for a layer.
    pub(crate) fn stage_layer(
        &self,
        parent: Option<&ChainId>,
        whiteouts: Whiteouts,
    ) -> Result<Staging, StorageError> {
        let path = self.stage()?;
        let root = path.join("diff");
        let made = std::fs::DirBuilder::new()
            .create(&root)
            .map_err(StorageError::step("create", &root));
        let root: OwnedFd = match made.and_then(|()| tree::open(&root)) {
            Ok(root) => root,
            Err(error) => {
                tree::remove(&path)?;
                return Err(error);
            }
        };
        // Layers whose archive says nothing of the root get Docker's mode for it.
        rustix::fs::fchmod(&root, rustix::fs::Mode::from(0o755))
            .map_err(StorageError::step("set the mode of", &path))?;
        Ok(Staging {
            path,
            root,
            whiteouts,
            parent: parent.cloned(),
            armed: true,
        })
    }

    /// Shows a staging under its name, upon the layer below, which is shown already.
    pub(crate) fn commit_layer(
        &self,
        mut staging: Staging,
        layer: &ChainId,
        facts: &LayerFacts,
    ) -> Result<Committed, StorageError> {
        if let Some(parent) = &facts.parent {
            self.require_layer(parent)?;
        }
        let recorded = RecordedFacts {
            facts: facts.clone(),
            boot: Some(self.boot.clone()),
        };
        write_facts(&staging.path, &recorded)?;
        let path = self.layer(layer);
        match renameat_with(CWD, &staging.path, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => {
                staging.armed = false;
                locked(&self.unsynced).push(layer.clone());
                Ok(Committed::Created)
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) => match read_facts::<RecordedFacts>(&path) {
                Ok(Some(_)) => Ok(Committed::AlreadyThere),
                // What is recorded of it is damaged or gone: nobody knows what it is.
                Ok(None) | Err(StorageError::Damaged { .. }) => self
                    .replace_layer(staging, layer, facts)
                    .map(|()| Committed::Created),
                Err(error) => Err(error),
            },
            Err(error) => Err(StorageError::step("show", &path)(error)),
        }
    }

    /// Puts a staging in a layer's place at once; what was there goes to `aside/<chain id's hex>.<random>`.
    pub(crate) fn replace_layer(
        &self,
        mut staging: Staging,
        layer: &ChainId,
        facts: &LayerFacts,
    ) -> Result<(), StorageError> {
        let recorded = RecordedFacts {
            facts: facts.clone(),
            boot: Some(self.boot.clone()),
        };
        write_facts(&staging.path, &recorded)?;
        let path = self.layer(layer);
        let aside = self.directory.join("aside");
        make_directory(&aside)?;
        let aside = aside.join(format!("{}.{}", layer.digest().hex(), random()?));
        match renameat_with(CWD, &staging.path, CWD, &path, RenameFlags::EXCHANGE) {
            Ok(()) => {
                // The damaged tree has the staging's name now.
                staging.armed = false;
                renameat_with(CWD, &staging.path, CWD, &aside, RenameFlags::NOREPLACE)
                    .map_err(StorageError::step("set aside", &path))?;
            }
            Err(Errno::NOENT) => {
                renameat_with(CWD, &staging.path, CWD, &path, RenameFlags::NOREPLACE)
                    .map_err(StorageError::step("show", &path))?;
                staging.armed = false;
            }
            Err(error) => return Err(StorageError::step("replace", &path)(error)),
        }
        locked(&self.unsynced).push(layer.clone());
        self.sync_layers()
    }

    pub(crate) fn release_set_aside(&self, is_used: &dyn Fn(&ChainId) -> bool) -> Result<(), StorageError> {
        let directory = self.directory.join("aside");
        make_directory(&directory)?;
        for name in entries(&directory)? {
            let layer = name.split_once('.').and_then(|(hex, _)| parse_layer(hex));
            if !layer.is_some_and(|layer| is_used(&layer)) {
                tree::remove(&directory.join(name))?;
            }
        }
        Ok(())
    }

    /// Compares a snapshot's facts with those that it should have; `writable` is the directory that must be there.
    pub(crate) fn check_snapshot(
        &self,
        container: &ContainerId,
        facts: &SnapshotFacts,
        writable: &str,
    ) -> Result<Vec<String>, StorageError> {
        let path = self.snapshot(container);
        let mut problems = Vec::new();
        match read_facts::<SnapshotFacts>(&path) {
            Ok(Some(own)) if own == *facts => {}
            Ok(Some(_)) => problems.push("its facts are wrong".to_owned()),
            Ok(None) => problems.push("its facts are missing".to_owned()),
            Err(error @ StorageError::Damaged { .. }) => {
                problems.push(base::error::chain(&error).to_string());
            }
            Err(error) => return Err(error),
        }
        if !path.join(writable).is_dir() {
            problems.push("what the container wrote is missing".to_owned());
        }
        Ok(problems)
    }

    /// Writes a snapshot's facts again, and makes directories of the kernel's own if they are missing.
    pub(crate) fn repair_snapshot(
        &self,
        container: &ContainerId,
        facts: &SnapshotFacts,
        needed: &[&str],
        made: &[&str],
    ) -> Result<(), StorageError> {
        let path = self.snapshot(container);
        if needed.iter().any(|name| !path.join(name).is_dir()) {
            return Err(StorageError::NoSnapshot {
                container: container.clone(),
            });
        }
        for name in made {
            make_directory(&path.join(name))?;
        }
        // A damaged file is replaced at once, so that a kill leaves one or the other.
        let file = path.join(FACTS);
        let text = serde_json::to_vec(facts).map_err(|source| StorageError::Damaged {
            path: file.clone(),
            source,
        })?;
        Ok(base::file::write_atomic(
            &file,
            &text,
            0o600,
            base::file::Durability::Power,
        )?)
    }

    pub(crate) fn remove_layer(&self, layer: &ChainId) -> Result<(), StorageError> {
        self.discard(&self.layer(layer))
    }

    pub(crate) fn remove_snapshot(&self, container: &ContainerId) -> Result<(), StorageError> {
        self.discard(&self.snapshot(container))
    }

    fn spares(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        locked(&self.spares)
    }

    /// Makes up to two spares, with these directories and an empty facts file, unless there are enough. A spare that
    /// cannot be made is not missed: snapshots are then made from nothing.
    pub(crate) fn make_spares(&self, directories: &[&str]) {
        for _ in 0..2 {
            if self.spares().len() >= SPARES {
                return;
            }
            let Ok(name) = random() else {
                return;
            };
            let path = self.directory.join("spare").join(name);
            let make = || -> Result<(), StorageError> {
                make_directory(&path)?;
                for name in directories {
                    make_directory(&path.join(name))?;
                }
                create_new(&path.join(FACTS), 0o600).map(drop)?;
                Ok(())
            };
            if make().is_err() {
                drop(tree::remove(&path));
                return;
            }
            self.spares().push(path);
        }
    }

    /// Makes a snapshot: `fill` gets the directory in the making. One that is there with the same facts is kept.
    pub(crate) fn create_snapshot(
        &self,
        container: &ContainerId,
        facts: &SnapshotFacts,
        fill: impl FnOnce(&Path) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        let path = self.snapshot(container);
        if let Some(present) = read_facts::<SnapshotFacts>(&path)? {
            return if present == *facts {
                Ok(())
            } else {
                Err(StorageError::OtherSnapshot {
                    container: container.clone(),
                })
            };
        }
        let spare = self.spares().pop();
        let staging = spare.map_or_else(|| self.stage(), Ok)?;
        let show = || match renameat_with(CWD, &staging, CWD, &path, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST | Errno::NOTEMPTY) => Err(StorageError::OtherSnapshot {
                container: container.clone(),
            }),
            Err(error) => Err(StorageError::step("show", &path)(error)),
        };
        let made = write_facts(&staging, facts)
            .and_then(|()| fill(&staging))
            .and_then(|()| show());
        if made.is_err() {
            // The first error is the one to tell; the sweep removes what cannot be removed now.
            drop(tree::remove(&staging));
        }
        made
    }

    pub(crate) fn snapshot_facts(&self, container: &ContainerId) -> Result<SnapshotFacts, StorageError> {
        read_facts(&self.snapshot(container))?.ok_or_else(|| StorageError::NoSnapshot {
            container: container.clone(),
        })
    }

    /// Takes a name away at once, then removes what it named.
    fn discard(&self, path: &Path) -> Result<(), StorageError> {
        let trash = self.directory.join("trash").join(random()?);
        match renameat_with(CWD, path, CWD, &trash, RenameFlags::NOREPLACE) {
            Ok(()) => tree::remove(&trash),
            Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(StorageError::step("discard", path)(error)),
        }
    }

    pub(crate) fn sweep(&self) -> SweepReport {
        let mut report = SweepReport::default();
        let mut spares = self.spares();
        spares.clear();
        for place in ["staging", "trash", "spare"] {
            let directory = self.directory.join(place);
            match entries(&directory) {
                Ok(names) => {
                    for name in names {
                        match tree::remove(&directory.join(name)) {
                            Ok(()) if place == "spare" => {}
                            Ok(()) => report.removed += 1,
                            Err(error) => report.failed.push(error),
                        }
                    }
                }
                Err(error) => report.failed.push(error),
            }
        }
        report
    }

    /// Returns an error if a size was asked for.
    pub(crate) fn refuse_size(&self, options: &SnapshotOptions) -> Result<(), StorageError> {
        match options.size {
            None => Ok(()),
            Some(_) => Err(StorageError::SizeUnsupported {
                driver: self.kind.docker_name(),
            }),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn boot_id() -> Result<String, StorageError> {
    let path = Path::new(BOOT_ID);
    let text = read_optional(path, 4096)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() {
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(StorageError::step("read", path)(missing));
    }
    Ok(text)
}

fn parse_layer(hex: &str) -> Option<ChainId> {
    let algorithm = if hex.len() == 128 { "sha512" } else { "sha256" };
    format!("{algorithm}:{hex}").parse().ok()
}

fn make_directory(path: &Path) -> Result<(), StorageError> {
    let mode = if path.ends_with("empty") { 0o755 } else { 0o700 };
    match std::fs::DirBuilder::new().recursive(true).mode(mode).create(path) {
        Ok(()) => Ok(()),
        Err(source) => Err(StorageError::step("create", path)(source)),
    }
}

fn random() -> Result<String, StorageError> {
    base::id::random_hex::<16>().map_err(StorageError::step("find a name in", Path::new("/dev/urandom")))
}

/// Returns the names in a directory of Berth's own; what is not text is not ours.
fn entries(path: &Path) -> Result<Vec<String>, StorageError> {
    let mut names = Vec::new();
    let list = std::fs::read_dir(path).map_err(StorageError::step("list", path))?;
    for item in list {
        let item = item.map_err(StorageError::step("list", path))?;
        if let Ok(name) = item.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

fn write_facts(directory: &Path, facts: &impl Serialize) -> Result<(), StorageError> {
    let path = directory.join(FACTS);
    let text = serde_json::to_vec(facts).map_err(|source| StorageError::Damaged {
        path: path.clone(),
        source,
    })?;
    // The directory is in the making: renaming it is what shows the file. A spare has an empty one already.
    let mut options = std::fs::OpenOptions::new();
    let opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    let mut file = opened.map_err(StorageError::step("write", &path))?;
    file.write_all(&text).map_err(StorageError::step("write", &path))
}

fn read_facts<T: DeserializeOwned>(directory: &Path) -> Result<Option<T>, StorageError> {
    let path = directory.join(FACTS);
    match read_optional(&path, MAX_FACTS)? {
        None => Ok(None),
        Some(text) => match serde_json::from_slice(&text) {
            Ok(facts) => Ok(Some(facts)),
            Err(source) => Err(StorageError::Damaged { path, source }),
        },
    }
}
