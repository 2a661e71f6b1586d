//! The volumes of one data root.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::clock::Timestamp;
use base::error::{Kind, Kinded, kind_of_io};
use db::{Damage, Durability, Store, StoreError, VolumeRow};
use serde::{Deserialize, Serialize};

use crate::name;
use crate::options::{self, Backing};

/// What a volume is made of.
const DATA: &str = "_data";

/// What the store says of a volume once more, beside its data, in case the store is damaged: written after the store knows
/// the volume and removed before the store forgets it.
const DOCUMENT: &str = "volume.json";
/// Largest such file in bytes.
const MAX_DOCUMENT: u64 = 1 << 20;

/// Where removed volumes wait for the end.
const TRASH: &str = ".trash";

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The driver's options.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether it was made for one container, without a name.
    #[serde(default)]
    pub anonymous: bool,
}

/// A volume to make.
#[derive(Clone, Debug)]
pub struct Create {
    /// The name; `None`: 64 random hex digits.
    pub name: Option<String>,
    /// The driver; empty or `local`.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it is made for one container, without a name.
    pub anonymous: bool,
}

/// A volume operation failed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// There is no such volume.
    #[error("get {name}: no such volume")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// The name or an option is wrong.
    #[error("{text}")]
    Invalid {
        /// What is wrong; docker's text where it has one.
        text: String,
    },
    /// There is one of that name with other options.
    #[error("volume {name} already exists with other options")]
    Different {
        /// The name.
        name: String,
    },
    /// A step failed.
    #[error("{doing} \"{}\"", path.display())]
    Step {
        /// The step.
        doing: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its tree could not be removed.
    #[error("remove the data of volume {name}")]
    Remove {
        /// The volume.
        name: String,
        /// Why.
        source: sys::SyscallError,
    },
}

impl Kinded for VolumeError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Different { .. } => Kind::Conflict,
            Self::Step { source, .. } => kind_of_io(source),
            Self::Store(error) => error.kind(),
            Self::Remove { .. } => Kind::Internal,
        }
    }
}

/// The volumes of one data root. All methods block and may be called from many threads.
#[derive(Debug)]
pub struct Volumes {
    directory: PathBuf,
    store: Arc<Store>,
    /// Held over the steps of a creation, so that two creators of one name agree; never while a tree is removed.
    known: Mutex<BTreeMap<String, Volume>>,
}

/// Returns the volumes below `<data root>/volumes` that have a document beside their data and are not `known`, as rows for
/// the store.
pub fn lost(directory: &Path, known: &dyn Fn(&str) -> bool) -> Vec<VolumeRow> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        if known(&name) || !name::is_valid(&name) {
            return None;
        }
        let text = base::file::read_optional(&entry.path().join(DOCUMENT), MAX_DOCUMENT).ok()??;
        let volume: Volume = serde_json::from_slice(&text).ok()?;
        let document = String::from_utf8(text).ok()?;
        (volume.name == name).then_some(VolumeRow { name, document })
    };
    entries.filter_map(read).collect()
}

impl Volumes {
    /// Opens `<data root>/volumes`, made (0700) if missing; also names the rows that cannot be used and forgets the
    /// directories of creations that were killed before they were recorded.
    pub fn open(directory: &Path, store: Arc<Store>) -> Result<(Self, Vec<Damage>), VolumeError> {
        make_directory(directory, 0o700)?;
        let (rows, mut damaged) = store.volumes()?;
        let mut known = BTreeMap::new();
        for row in rows {
            match serde_json::from_str::<Volume>(&row.document) {
                Ok(volume) if name::is_valid(&row.name) && volume.name == row.name => {
                    known.insert(row.name, volume);
                }
                Ok(_) => damaged.push(damage(row.name, "its name is not one of a volume".to_owned())),
                Err(error) => damaged.push(damage(row.name, error.to_string())),
            }
        }
        let volumes = Self {
            directory: directory.to_owned(),
            store,
            known: Mutex::new(known),
        };
        volumes.sweep(&damaged)?;
        Ok((volumes, damaged))
    }

    /// Makes a volume, or returns the one that has the name already.
    pub fn create(&self, request: Create) -> Result<Volume, VolumeError> {
        let invalid = |text: String| Err(VolumeError::Invalid { text });
        if !matches!(request.driver.as_str(), "" | "local") {
            return invalid(format!(
                "error looking up volume plugin {}: plugin \"{0}\" not found",
                request.driver
            ));
        }
        let name = match request.name {
            Some(name) => name,
            None => base::id::random_hex::<32>().map_err(step("draw a name for", &self.directory))?,
        };
        if !name::is_valid(&name) {
            return invalid(format!(
                "\"{}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
                name.chars()
                    .take(80)
                    .filter(|c| !c.is_control())
                    .collect::<String>()
            ));
        }
        if let Err(text) = options::backing(&request.options, PathBuf::new()) {
            return invalid(text);
        }
        let mut known = self.lock();
        if let Some(volume) = known.get(&name) {
            if !request.options.is_empty() && request.options != volume.options {
                return Err(VolumeError::Different { name });
            }
            return Ok(volume.clone());
        }
        let volume = Volume {
            name: name.clone(),
            created: Timestamp::now(),
            options: request.options,
            labels: request.labels,
            anonymous: request.anonymous,
        };
        // The directory first: a kill in between leaves an empty one, which the next open forgets.
        make_directory(&self.directory.join(&name), 0o701)?;
        make_directory(&self.directory.join(&name).join(DATA), 0o755)?;
        let document = serde_json::to_string(&volume).unwrap_or_default();
        // An anonymous volume is as durable as its container's record; a named one was acknowledged to a person.
        let durability = if volume.anonymous {
            Durability::Crash
        } else {
            Durability::Power
        };
        self.store.write(durability, |batch| {
            batch.put_volume(&VolumeRow {
                name: name.clone(),
                document: document.clone(),
            })
        })?;
        let path = self.directory.join(&name).join(DOCUMENT);
        base::file::write_atomic(&path, document.as_bytes(), 0o600, Durability::Crash)
            .map_err(|error| step("write", &path)(io::Error::other(error)))?;
        known.insert(name, volume.clone());
        Ok(volume)
    }

    /// Returns a volume.
    pub fn get(&self, name: &str) -> Result<Volume, VolumeError> {
        self.lock()
            .get(name)
            .cloned()
            .ok_or_else(|| VolumeError::NotFound {
                name: name.chars().take(256).collect(),
            })
    }

    /// Returns all volumes by name.
    pub fn list(&self) -> Vec<Volume> {
        self.lock().values().cloned().collect()
    }

    /// Returns the directory in which a volume's data is, or would be.
    pub fn mountpoint(&self, name: &str) -> PathBuf {
        self.directory.join(name).join(DATA)
    }

    /// Returns where a volume's data is.
    pub fn backing(&self, volume: &Volume) -> Result<Backing, VolumeError> {
        options::backing(&volume.options, self.mountpoint(&volume.name))
            .map_err(|text| VolumeError::Invalid { text })
    }

    /// Removes a volume and its data; the caller knows that nothing uses it. A bind volume's directory is the user's
    /// own and stays.
    pub fn remove(&self, name: &str) -> Result<(), VolumeError> {
        let trash = {
            let mut known = self.lock();
            if !known.contains_key(name) {
                return Err(VolumeError::NotFound {
                    name: name.chars().take(256).collect(),
                });
            }
            let trash = self.directory.join(format!("{TRASH}-{name}"));
            let document = self.directory.join(name).join(DOCUMENT);
            match std::fs::remove_file(&document) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(step("remove", &document)(error));
                }
                _ => {}
            }
            self.store
                .write(Durability::Crash, |batch| batch.remove_volume(name))?;
            known.remove(name);
            let from = self.directory.join(name);
            match std::fs::rename(&from, &trash) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(step("rename", &from)(error));
                }
                _ => trash,
            }
        };
        remove_tree(&self.directory, &trash, name)
    }

    /// Removes trash, and directories without a record in which nobody ever wrote.
    fn sweep(&self, damaged: &[Damage]) -> Result<(), VolumeError> {
        let known = self.lock();
        let entries = std::fs::read_dir(&self.directory).map_err(step("read", &self.directory))?;
        for entry in entries {
            let entry = entry.map_err(step("read", &self.directory))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(TRASH) {
                remove_tree(&self.directory, &entry.path(), &name)?;
            } else if !known.contains_key(&*name) && damaged.iter().all(|row| row.key != name) {
                // Fails, and should, when there is something in it.
                let emptied = std::fs::remove_dir(entry.path().join(DATA));
                std::fs::remove_file(entry.path().join(DOCUMENT)).ok();
                if emptied.is_ok() || !entry.path().join(DATA).exists() {
                    std::fs::remove_dir(entry.path()).ok();
                }
            }
        }
        Ok(())
    }

    /// Locks; a panic of another holder leaves the map as it was before its step.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Volume>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn damage(key: String, problem: String) -> Damage {
    Damage {
        table: "volumes",
        key,
        problem,
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<(), VolumeError> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(step("create", path)(error)),
        _ => Ok(()),
    }
}

fn remove_tree(directory: &Path, tree: &Path, name: &str) -> Result<(), VolumeError> {
    let remove = || {
        let relative = tree.file_name().unwrap_or_default();
        sys::path::Root::open(directory)?.remove_all(relative)
    };
    if !tree.exists() {
        return Ok(());
    }
    remove().map_err(|source| VolumeError::Remove {
        name: name.to_owned(),
        source,
    })
}

fn step(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VolumeError {
    let path = path.to_owned();
    move |source| VolumeError::Step { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("berth-volume-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
        fn open(&self) -> Volumes {
            let store = Arc::new(Store::open(&self.0.join("state.db")).unwrap());
            Volumes::open(&self.0.join("volumes"), store).unwrap().0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let parent = sys::path::Root::open(self.0.parent().unwrap()).unwrap();
            parent.remove_all(self.0.file_name().unwrap()).unwrap();
        }
    }

    fn named(name: &str) -> Create {
        Create {
            name: Some(name.to_owned()),
            driver: String::new(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            anonymous: false,
        }
    }

    #[test]
    fn lives_from_create_to_remove() {
        let directory = Directory::new("life");
        let volumes = directory.open();
        let first = volumes.create(named("data")).unwrap();
        assert_eq!(volumes.create(named("data")).unwrap(), first);
        let file = volumes.mountpoint("data").join("x");
        base::file::write_atomic(&file, b"1", 0o644, base::file::Durability::Crash).unwrap();
        drop(volumes);
        let volumes = directory.open();
        assert_eq!(volumes.list(), [first]);
        volumes.remove("data").unwrap();
        assert!(!volumes.mountpoint("data").exists());
        assert_eq!(volumes.remove("data").unwrap_err().kind(), Kind::NotFound);
        assert_eq!(std::fs::read_dir(directory.0.join("volumes")).unwrap().count(), 0);
    }

    #[test]
    fn a_killed_creation_leaves_nothing_but_data_stays() {
        let directory = Directory::new("killed");
        drop(directory.open());
        let volumes = directory.0.join("volumes");
        std::fs::create_dir_all(volumes.join("empty/_data")).unwrap();
        std::fs::create_dir_all(volumes.join("full/_data/kept")).unwrap();
        std::fs::create_dir_all(volumes.join(".trash-x/_data/gone")).unwrap();
        drop(directory.open());
        assert!(!volumes.join("empty").exists());
        assert!(volumes.join("full/_data/kept").exists());
        assert!(!volumes.join(".trash-x").exists());
    }

    #[test]
    fn wrong_names_and_drivers_are_refused() {
        let directory = Directory::new("names");
        let volumes = directory.open();
        for name in ["../x", "a/b", "", "."] {
            assert_eq!(
                volumes.create(named(name)).unwrap_err().kind(),
                Kind::Invalid,
                "{name}"
            );
        }
        let mut other = named("ok");
        other.driver = "nfs".to_owned();
        assert_eq!(volumes.create(other).unwrap_err().kind(), Kind::Invalid);
    }
}
