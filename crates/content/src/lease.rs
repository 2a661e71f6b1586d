//! Leases: blobs that somebody is about to need, kept also over a restart.
//!
//! A pull names all blobs of its image in a lease before it looks which of them are there. From then on nothing removes
//! them: neither those that were there for another image, nor those that come, nor the beginnings of those that were
//! cut off. The lease ends when the image has them. One that is left because the daemon was killed or the network
//! failed keeps them for the next try, for a week.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base::file::{Durability, FileError, read_optional, write_atomic};
use oci::Digest;

use crate::blob::{Content, names, remove_file};

/// How long a lease is kept that nobody holds.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Largest file of a lease: 4,096 digests.
const MAX_FILE: u64 = 4096 * 72;

/// The leases of one store, by name.
#[derive(Debug, Default)]
pub(crate) struct Leased {
    leases: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    digests: BTreeSet<Digest>,
    holders: usize,
}

impl Leased {
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.leases.values().any(|entry| entry.digests.contains(digest))
    }
}

/// Keeps blobs; dropping it leaves them to the next try, [`Lease::end`] gives them up.
#[derive(Debug)]
pub struct Lease {
    name: String,
    path: PathBuf,
    leases: Arc<Mutex<Leased>>,
}

impl Content {
    /// Keeps `digests` from being removed. Leases of the same digest `of` (an image's manifest) share their blobs.
    pub fn lease(&self, of: &Digest, digests: impl IntoIterator<Item = Digest>) -> Result<Lease, FileError> {
        let name = of.hex().to_owned();
        let path = self.directory.join("leases").join(&name);
        let mut leases = self.leases();
        let entry = leases.leases.entry(name.clone()).or_default();
        let before = entry.digests.len();
        entry.digests.insert(of.clone());
        entry.digests.extend(digests);
        entry.holders += 1;
        let lease = Lease {
            name,
            path,
            leases: Arc::clone(&self.leases),
        };
        if entry.digests.len() != before {
            let lines: String = entry.digests.iter().map(|digest| format!("{digest}\n")).collect();
            let written = write_atomic(&lease.path, lines.as_bytes(), 0o600, Durability::Crash);
            drop(leases);
            written?;
        }
        Ok(lease)
    }

    pub(crate) fn leases(&self) -> MutexGuard<'_, Leased> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what former processes left, and forgets what is too old.
    pub(crate) fn read_leases(&self) -> Result<(), FileError> {
        let directory = self.directory.join("leases");
        let now = SystemTime::now();
        for name in names(&directory)? {
            let path = directory.join(&name);
            let written = std::fs::metadata(&path).and_then(|meta| meta.modified());
            let is_fresh = written.is_ok_and(|at| now.duration_since(at).unwrap_or_default() < KEPT);
            let text = if is_fresh {
                read_optional(&path, MAX_FILE)?
            } else {
                None
            };
            let digests: BTreeSet<Digest> = text
                .iter()
                .flat_map(|text| text.split(|&byte| byte == b'\n'))
                .filter_map(|line| std::str::from_utf8(line).ok()?.parse().ok())
                .collect();
            let mut leases = self.leases();
            if digests.is_empty() && !leases.leases.contains_key(&name) {
                drop(leases);
                remove_file(&path)?;
                continue;
            }
            leases.leases.entry(name).or_default().digests.extend(digests);
        }
        Ok(())
    }

    /// Gives up the leases that nobody holds: their blobs go when the next image is removed, their beginnings at once.
    /// Returns how many bytes became free.
    pub fn drop_leases(&self) -> Result<u64, FileError> {
        let mut leases = self.leases();
        let mut gone = Vec::new();
        leases.leases.retain(|name, entry| {
            if entry.holders == 0 {
                gone.push(name.clone());
            }
            entry.holders > 0
        });
        for name in gone {
            remove_file(&self.directory.join("leases").join(name))?;
        }
        let mut freed = 0;
        let drafts = self.directory.join("ingest");
        for name in names(&drafts)? {
            let unneeded = crate::partial::digest_of(&name).is_some_and(|digest| {
                !leases.has(&digest) && !crate::partial::locked(&self.fetching).contains(&digest)
            });
            if unneeded {
                let path = drafts.join(name);
                freed += std::fs::metadata(&path).map_or(0, |meta| meta.len());
                remove_file(&path)?;
            }
        }
        Ok(freed)
    }
}

impl Lease {
    /// Gives the blobs up, unless somebody else holds the same lease: an image has them, or nobody wants them.
    pub fn end(self) -> Result<(), FileError> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if leases
            .leases
            .get(&self.name)
            .is_some_and(|entry| entry.holders > 1)
        {
            return Ok(());
        }
        leases.leases.remove(&self.name);
        remove_file(&self.path)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = leases.leases.get_mut(&self.name) {
            entry.holders = entry.holders.saturating_sub(1);
        }
    }
}
