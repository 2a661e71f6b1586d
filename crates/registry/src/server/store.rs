//! What a registry keeps on disk.
//!
//! ```text
//! <root>/
//!   lock              held by the process that serves
//!   registry.db       which repository has which blob, manifest and tag
//!   content/          the bytes, an OCI image layout: one copy of each blob for all repositories
//!   uploads/<id>      blobs that clients are sending
//! ```
//!
//! The database is one file with transactions rather than a tree of small files, because a push must show a complete
//! manifest or the old one whenever the process dies, and lists must be paged without reading all of a directory.
//! A blob's row is committed before its file gets its name, and readers treat a row without a file as no blob: see
//! `db::Repositories` for why that keeps garbage collection safe.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base::error::{Kind, Kinded};
use base::file::FileError;
use content::Content;
use db::Repositories;
use oci::Digest;
use rustix::fs::FlockOperation;

use super::fault::{Code, Fault};

/// Why the registry's directory cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process serves it.
    #[error("\"{}\" is served by another process", root.display())]
    InUse {
        /// The directory.
        root: PathBuf,
    },
    /// A file could not be made, read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content store cannot be opened.
    #[error(transparent)]
    Content(#[from] content::OpenError),
    /// The database cannot be used.
    #[error(transparent)]
    Rows(#[from] db::StoreError),
}

impl Kinded for StoreError {
    fn kind(&self) -> Kind {
        match self {
            Self::InUse { .. } => Kind::Busy,
            Self::File(error) => error.kind(),
            Self::Content(error) => error.kind(),
            Self::Rows(error) => error.kind(),
        }
    }
}

/// Whether a process opens the directory to serve it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It does: no other process may.
    Serve,
    /// It looks after it beside the one that serves.
    Tend,
}

/// The registry's directory. All methods block.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) content: Content,
    pub(crate) rows: Repositories,
    pub(crate) uploads: PathBuf,
    /// Keeps others from serving; `None` for those who do not serve.
    _lock: Option<File>,
}

impl Store {
    /// Opens the directory. To serve, it is made if it is missing.
    pub(crate) fn open(root: &Path, purpose: Purpose) -> Result<Self, StoreError> {
        let uploads = root.join("uploads");
        if purpose == Purpose::Serve {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&uploads)
                .map_err(|error| FileError::new("create", &uploads, error))?;
        }
        let lock = match purpose {
            Purpose::Serve => Some(lock(root)?),
            Purpose::Tend => None,
        };
        // A directory that nobody ever served is a mistake in the path, not an empty registry.
        let database = root.join("registry.db");
        if purpose == Purpose::Tend {
            std::fs::metadata(&database).map_err(|error| FileError::new("look at", &database, error))?;
        }
        Ok(Self {
            content: Content::open(&root.join("content"))?,
            rows: Repositories::open(&database)?,
            uploads,
            _lock: lock,
        })
    }

    /// Opens a blob that the repository has, and tells its size.
    pub(crate) fn open_blob(&self, repository: &str, digest: &Digest) -> Result<(File, u64), Fault> {
        let unknown = || {
            Fault::with_detail(
                Code::BlobUnknown,
                serde_json::json!({ "digest": digest.as_str() }),
            )
        };
        let Some(size) = self.rows.blob(repository, digest.as_str())? else {
            return Err(unknown());
        };
        let file = match self.content.open_blob(digest) {
            Err(content::BlobError::Missing { .. }) => return Err(unknown()),
            opened => opened?,
        };
        let found = file
            .metadata()
            .map_err(|error| Fault::internal_text(format!("measure blob {digest}: {error}")))?
            .len();
        if found != size {
            return Err(Fault::internal_text(format!(
                "blob {digest} has {found} bytes instead of {size}"
            )));
        }
        Ok((file, size))
    }

    /// Returns the size of a blob's file, if there is one.
    pub(crate) fn file_size(&self, digest: &Digest) -> Option<u64> {
        self.content.blob_size(digest).ok()
    }

    /// Returns where an upload's bytes are.
    pub(crate) fn upload_path(&self, id: &str) -> PathBuf {
        self.uploads.join(id)
    }
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| FileError::new("open", &path, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse {
            root: root.to_owned(),
        }),
        Err(errno) => Err(FileError::new("lock", &path, errno.into()).into()),
    }
}

/// Returns the present time in seconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    base::clock::Timestamp::now().unix_seconds()
}
