//! Kept logs: what removed containers wrote, for a while.
//!
//! ```text
//! <data root>/logs/<container id>/facts.json   whose log it is; written last, so what is without it is a leftover
//! <data root>/logs/<container id>/…            the files of the log, named as they were
//! ```
//!
//! A removal writes the facts beside the log before the container's record goes; the files are moved here when the
//! container's directory is removed, by this daemon or by the next. What is kept is bounded three ways (see
//! [`KeptLogLimits`]): the oldest go first. Nothing is synced: after a power cut these logs may be gone.

use std::collections::VecDeque;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base::clock::Timestamp;
use base::error::chain;
use base::file::{FileError, read_optional};
use base::id::ContainerId;
use serde::{Deserialize, Serialize};

use super::record::Container;
use crate::files::{Layout, make_directory, remove_tree};

const FACTS: &str = "facts.json";
/// The facts beside a log that is to be kept.
const NOTE: &str = "removed.json";
/// Largest facts file in bytes: names have 255 at most.
const MAX_FACTS: u64 = 16 << 10;

/// How much of the logs of removed containers is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptLogLimits {
    /// Logs of at most so many containers; 0: none is kept.
    pub containers: usize,
    /// Bytes of all of them together.
    pub bytes: u64,
    /// How long after the removal.
    pub age: Duration,
}

impl KeptLogLimits {
    /// What is kept unless the daemon is told otherwise.
    pub const DEFAULT: Self = Self {
        containers: 200,
        bytes: 256 << 20,
        age: Duration::from_secs(7 * 24 * 3600),
    };
}

/// A log that is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptLog {
    /// The container's id.
    pub(crate) id: ContainerId,
    pub(crate) facts: Facts,
}

/// Whose log it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// The container's name, which another container may have now.
    name: String,
    /// When it was removed.
    removed: Timestamp,
    /// The log's driver.
    pub(crate) driver: String,
    /// Whether it had a terminal.
    pub(crate) tty: bool,
    /// Bytes of its files.
    #[serde(default)]
    bytes: u64,
}

/// The kept logs of a data root.
#[derive(Debug)]
pub(crate) struct KeptLogs {
    layout: Layout,
    limits: KeptLogLimits,
    /// Oldest first; read when they are needed first.
    index: OnceLock<Mutex<VecDeque<KeptLog>>>,
}

impl KeptLogs {
    pub(crate) fn new(layout: Layout, limits: KeptLogLimits) -> Self {
        Self {
            layout,
            limits,
            index: OnceLock::new(),
        }
    }

    /// Notes beside a container's log that it is to be kept, if there is anything in it.
    pub(crate) fn note(&self, container: &Container) {
        let record = container.record();
        let log = self.layout.log(&container.id, &record.log_driver);
        if self.limits.containers == 0 || record.log_driver == "none" || is_empty(&log) {
            return;
        }
        let facts = Facts {
            name: container.view().name.clone(),
            removed: Timestamp::now(),
            driver: record.log_driver.clone(),
            tty: record.config.tty,
            bytes: 0,
        };
        if let Err(error) = write(&self.layout.container(&container.id).join(NOTE), &facts) {
            tracing::warn!(container = %container.id, error = %chain(&error), "a log will not be kept");
        }
    }

    /// Moves the log of a container out of its directory, which is about to be removed, if it was noted; then removes
    /// what is too much.
    pub(crate) fn keep(&self, id: &ContainerId) {
        let directory = self.layout.container(id);
        let Some(facts) = read(&directory.join(NOTE)) else {
            return;
        };
        let mut kept = KeptLog {
            id: id.clone(),
            facts,
        };
        // Before the new one is there, so that it is not read twice.
        let mut index = self.index();
        match move_log(&self.layout, &directory, &mut kept) {
            Ok(()) => index.push_back(kept),
            Err(error) => {
                tracing::warn!(container = %id, error = %chain(&error), "a log could not be kept");
            }
        }
        self.trim(&mut index);
    }

    /// Finds the log of a removed container: by its id, its name, or the beginning of its id. Of several of one name the
    /// newest is meant.
    pub(crate) fn find(&self, name: &str) -> Option<(KeptLog, PathBuf)> {
        let name = name.strip_prefix('/').unwrap_or(name);
        let mut index = self.index();
        self.trim(&mut index);
        let newest = |fits: &dyn Fn(&KeptLog) -> bool| index.iter().rev().find(|kept| fits(kept)).cloned();
        let found = newest(&|kept| kept.id.as_str() == name)
            .or_else(|| newest(&|kept| kept.facts.name == name))
            .or_else(|| {
                let begins = |kept: &&KeptLog| !name.is_empty() && kept.id.as_str().starts_with(name);
                let mut all = index.iter().filter(begins);
                all.next().filter(|_| all.next().is_none()).cloned()
            })?;
        let path = self.layout.log(&found.id, &found.facts.driver);
        let path = self.layout.kept_log(&found.id).join(path.file_name()?);
        Some((found, path))
    }

    /// Returns the index, read from the disk if it was not yet.
    fn index(&self) -> MutexGuard<'_, VecDeque<KeptLog>> {
        let index = self.index.get_or_init(|| Mutex::new(self.read_index()));
        index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_index(&self) -> VecDeque<KeptLog> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.layout.kept_logs())
            .into_iter()
            .flatten()
            .flatten()
        {
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
            match id.zip(read(&entry.path().join(FACTS))) {
                Some((id, facts)) => found.push(KeptLog { id, facts }),
                // Left by a kill between two files.
                None => discard(&entry.path()),
            }
        }
        found.sort_by_key(|kept| kept.facts.removed);
        found.into()
    }

    fn trim(&self, index: &mut VecDeque<KeptLog>) {
        let now = Timestamp::now();
        let mut bytes: u64 = index.iter().map(|kept| kept.facts.bytes).sum();
        while let Some(oldest) = index.front() {
            let is_too_much = index.len() > self.limits.containers
                || bytes > self.limits.bytes
                || now.since(oldest.facts.removed) > self.limits.age;
            if !is_too_much {
                return;
            }
            bytes -= oldest.facts.bytes;
            discard(&self.layout.kept_log(&oldest.id));
            index.pop_front();
        }
    }
}

/// Moves the files of a log, then the facts, which make them one that is kept.
fn move_log(layout: &Layout, directory: &Path, kept: &mut KeptLog) -> Result<(), FileError> {
    let target = layout.kept_log(&kept.id);
    make_directory(&target, 0o700)?;
    let log = layout.log(&kept.id, &kept.facts.driver);
    let log = log.file_name().unwrap_or_default();
    let entries = std::fs::read_dir(directory).map_err(|source| FileError::new("list", directory, source))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.as_encoded_bytes().starts_with(log.as_encoded_bytes()) {
            continue;
        }
        let (from, to) = (entry.path(), target.join(&name));
        kept.facts.bytes += entry.metadata().map_or(0, |facts| facts.len());
        std::fs::rename(&from, &to).map_err(|source| FileError::new("move", &from, source))?;
    }
    write(&target.join(FACTS), &kept.facts)
}

/// Returns whether neither the log's file nor one before it has anything.
fn is_empty(log: &Path) -> bool {
    let is_empty = |path: &Path| std::fs::metadata(path).map_or(true, |facts| facts.len() == 0);
    let rotated = |suffix: &str| {
        let mut path = log.to_owned().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    };
    is_empty(log) && is_empty(&rotated(".1")) && is_empty(&rotated(".1.gz"))
}

fn write(path: &Path, facts: &Facts) -> Result<(), FileError> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| file.write_all(crate::daemon::encode(facts).as_bytes()))
        .map_err(|source| FileError::new("write", path, source))
}

fn read(path: &Path) -> Option<Facts> {
    let text = read_optional(path, MAX_FACTS).ok().flatten()?;
    serde_json::from_slice(&text).ok()
}

fn discard(path: &Path) {
    if let Err(error) = remove_tree(path) {
        tracing::warn!(path = %path.display(), error = %chain(&error), "a kept log could not be removed");
    }
}
