//! Garbage collection: rows that no manifest needs, then files that no row names. It may run at any time, in the
//! process that serves or in another one (see `db::Repositories`).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base::error::{Kind, Kinded};
use base::file::FileError;
use db::Garbage;
use oci::Digest;

use super::store::{Purpose, Store, StoreError, now};

/// How many files are looked at while nothing else can be recorded.
const BATCH: usize = 64;

/// What is collected.
#[derive(Clone, Debug)]
pub struct GarbageOptions {
    /// The registry's directory.
    pub root: PathBuf,
    /// Whether manifests without a tag are garbage.
    pub untagged: bool,
    /// How old anything must be to be garbage: what is younger may be in the middle of a push.
    pub grace: Duration,
    /// Whether nothing is removed, only counted.
    pub is_trial: bool,
}

/// What was, or would be, removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests without a tag.
    pub manifests: usize,
    /// Blobs of repositories in which no manifest needs them.
    pub blobs: usize,
    /// Repositories that have nothing any more.
    pub repositories: usize,
    /// Files; not known in a trial.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Why garbage could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum GarbageError {
    /// The directory cannot be opened.
    #[error("open the registry in \"{}\"", root.display())]
    Open {
        /// The directory.
        root: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The database failed.
    #[error(transparent)]
    Rows(#[from] db::StoreError),
    /// A file could not be removed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Kinded for GarbageError {
    fn kind(&self) -> Kind {
        match self {
            Self::Open { source, .. } => source.kind(),
            Self::Rows(error) => error.kind(),
            Self::File(error) => error.kind(),
        }
    }
}

/// Collects the garbage of a registry that may be served meanwhile. Blocks.
pub fn collect_garbage(options: &GarbageOptions) -> Result<Collected, GarbageError> {
    let store = Store::open(&options.root, Purpose::Tend).map_err(|source| GarbageError::Open {
        root: options.root.clone(),
        source,
    })?;
    collect(&store, options)
}

/// Collects the garbage of an open registry.
pub(crate) fn collect(store: &Store, options: &GarbageOptions) -> Result<Collected, GarbageError> {
    let grace = i64::try_from(options.grace.as_secs()).unwrap_or(i64::MAX);
    // Times are whole seconds: without grace, what was recorded in this very second is garbage too.
    let before = now().saturating_sub(grace).saturating_add(i64::from(grace == 0));
    let Garbage {
        manifests,
        blobs,
        repositories,
    } = store
        .rows
        .remove_garbage(before, options.untagged, options.is_trial)?;
    let mut collected = Collected {
        manifests,
        blobs,
        repositories,
        files: 0,
        bytes: 0,
    };
    if options.is_trial {
        return Ok(collected);
    }
    let candidates = candidates(store, options.grace)?;
    for batch in candidates.chunks(BATCH) {
        store.rows.remove_files(batch, now(), |digest| {
            let Some(path) = digest
                .parse::<Digest>()
                .ok()
                .and_then(|digest| store.content.blob_path(&digest).ok())
            else {
                return Ok(());
            };
            let size = std::fs::metadata(&path).map_or(0, |file| file.len());
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    collected.files += 1;
                    collected.bytes += size;
                    Ok(())
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(FileError::new("remove", &path, error)),
            }
        })??;
    }
    Ok(collected)
}

/// Returns the digests of the files that are old enough.
fn candidates(store: &Store, grace: Duration) -> Result<Vec<String>, FileError> {
    let directory: PathBuf = Path::new(store.content.directory()).join("blobs").join("sha256");
    let failed = |error| FileError::new("list", &directory, error);
    let mut digests = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let modified = entry.metadata().and_then(|file| file.modified());
        let age = modified
            .ok()
            .and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if grace > Duration::ZERO && age.is_none_or(|age| age < grace) {
            continue;
        }
        if let Ok(name) = entry.file_name().into_string()
            && let Ok(digest) = Digest::from_sha256_hex(&name)
        {
            digests.push(digest.to_string());
        }
    }
    Ok(digests)
}
