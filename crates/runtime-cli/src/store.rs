//! What is known of a container between two calls: one directory per container below `--root`.
//!
//! | file | content |
//! |---|---|
//! | `state.json` | [`Record`], replaced atomically |
//! | `config.json` | the document the container was made from, compact |
//! | `start.sock` | the gate: PID 1 listens on it until `start`; there only while the container is `created` |

use std::collections::HashMap;
use std::fs::DirBuilder;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base::clock::Timestamp;
use base::file::Durability;
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use crate::error::{CommandError, Context};
use crate::globals::Globals;

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const GATE: &str = "start.sock";
/// The greatest document that is read, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;

/// The facts of one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The version of the specification the document was written for.
    pub(crate) oci_version: String,
    /// The container's id.
    pub(crate) id: String,
    /// PID 1 as the caller's PID namespace numbers it.
    pub(crate) pid: i32,
    /// When PID 1 was made, in clock ticks since boot: tells it from a later process of the same number.
    pub(crate) pid_start_time: u64,
    /// The bundle's directory.
    pub(crate) bundle: PathBuf,
    /// The root file system.
    pub(crate) rootfs: PathBuf,
    /// When the container was made.
    pub(crate) created: Timestamp,
    /// Its cgroup, if it has one.
    pub(crate) cgroup: Option<String>,
    /// The document's annotations.
    pub(crate) annotations: HashMap<String, String>,
}

/// The directory of one container.
#[derive(Debug)]
pub(crate) struct Entry {
    id: String,
    path: PathBuf,
}

impl Entry {
    /// Makes the directory of a new container.
    pub(crate) fn create(globals: &Globals, id: &str) -> Result<Self, CommandError> {
        let entry = Self::name(globals, id)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&globals.root)
            .context(|| format!("create \"{}\"", globals.root.display()))?;
        match DirBuilder::new().mode(0o700).create(&entry.path) {
            Ok(()) => Ok(entry),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(CommandError::new(
                format!("container with given ID already exists: {id}"),
            )),
            Err(error) => Err(error).context(|| format!("create \"{}\"", entry.path.display())),
        }
    }

    /// Opens the directory of a container that exists.
    pub(crate) fn open(globals: &Globals, id: &str) -> Result<Self, CommandError> {
        let entry = Self::name(globals, id)?;
        if entry.path.is_dir() {
            Ok(entry)
        } else {
            Err(CommandError::new(format!("container does not exist: {id}")))
        }
    }

    /// Returns the ids of all containers, sorted.
    pub(crate) fn list(globals: &Globals) -> Result<Vec<String>, CommandError> {
        let entries = match std::fs::read_dir(&globals.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context(|| format!("list \"{}\"", globals.root.display()))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.context(|| format!("list \"{}\"", globals.root.display()))?;
            if let Ok(id) = entry.file_name().into_string()
                && is_id(&id)
                && entry.path().join(STATE).is_file()
            {
                ids.push(id);
            }
        }
        ids.sort();
        Ok(ids)
    }

    fn name(globals: &Globals, id: &str) -> Result<Self, CommandError> {
        if !is_id(id) {
            return Err(CommandError::new(format!(
                "invalid container ID format: {id:.80}"
            )));
        }
        Ok(Self {
            id: id.to_owned(),
            path: globals.root.join(id),
        })
    }

    /// Returns the container's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Writes the facts down.
    pub(crate) fn save(&self, record: &Record) -> Result<(), CommandError> {
        let document = serde_json::to_vec(record).plain()?;
        base::file::write_atomic(&self.path.join(STATE), &document, 0o600, Durability::Crash).plain()
    }

    /// Reads the facts.
    pub(crate) fn load(&self) -> Result<Record, CommandError> {
        let document = base::file::read_optional(&self.path.join(STATE), MAX_DOCUMENT).plain()?;
        let document =
            document.ok_or_else(|| CommandError::new(format!("container does not exist: {}", self.id)))?;
        serde_json::from_slice(&document).context(|| format!("read the state of container {}", self.id))
    }

    /// Keeps the document the container is made from: the bundle may change or vanish.
    pub(crate) fn save_spec(&self, spec: &Spec) -> Result<(), CommandError> {
        let document = serde_json::to_vec(spec).plain()?;
        base::file::write_atomic(&self.path.join(CONFIG), &document, 0o600, Durability::Crash).plain()
    }

    /// Reads the document the container was made from.
    pub(crate) fn load_spec(&self) -> Result<Spec, CommandError> {
        let document = base::file::read_optional(&self.path.join(CONFIG), MAX_DOCUMENT).plain()?;
        let document =
            document.ok_or_else(|| CommandError::new(format!("container {} has no document", self.id)))?;
        serde_json::from_slice(&document).context(|| format!("read the document of container {}", self.id))
    }

    /// Makes the listening socket of the gate.
    pub(crate) fn listen(&self) -> Result<OwnedFd, CommandError> {
        let doing = || format!("make the gate of container {}", self.id);
        let gate = self.gate()?;
        let address = SocketAddrUnix::new(&gate.path).context(doing)?;
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .context(doing)?;
        rustix::net::bind(&socket, &address).context(doing)?;
        rustix::net::listen(&socket, 1).context(doing)?;
        Ok(socket)
    }

    /// Returns the gate by a path that is short enough for a socket address, whatever `--root` is.
    pub(crate) fn gate(&self) -> Result<Gate, CommandError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.path, flags, Mode::empty())
            .context(|| format!("open \"{}\"", self.path.display()))?;
        Ok(Gate {
            path: PathBuf::from(format!("/proc/self/fd/{}/{GATE}", directory.as_raw_fd())),
            _directory: directory,
        })
    }

    /// Returns whether the gate is still closed.
    pub(crate) fn is_held(&self) -> bool {
        self.path.join(GATE).symlink_metadata().is_ok()
    }

    /// Notes that the gate is open.
    pub(crate) fn release(&self) -> Result<(), CommandError> {
        remove_if_there(&self.path.join(GATE))
    }

    /// Removes everything.
    pub(crate) fn remove(&self) -> Result<(), CommandError> {
        for file in [GATE, CONFIG, STATE] {
            remove_if_there(&self.path.join(file))?;
        }
        match std::fs::remove_dir(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context(|| format!("remove \"{}\"", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The gate's socket, reached through an open directory.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) path: PathBuf,
    _directory: OwnedFd,
}

fn remove_if_there(path: &Path) -> Result<(), CommandError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove \"{}\"", path.display()))
        }
        _ => Ok(()),
    }
}

/// Ids are runc's: letters, digits and `_+-.`, but not `.` and `..`, so that they are safe as directory names.
fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 255
        && id != "."
        && id != ".."
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_as_names() {
        for id in ["a", "web-1", "a.b_c+d", "..."] {
            assert!(is_id(id), "{id}");
        }
        for id in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\0"] {
            assert!(!is_id(id), "{id:?}");
        }
    }
}
