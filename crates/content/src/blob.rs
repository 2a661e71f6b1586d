//! Blobs: written once, visible when verified and synced.
//!
//! Between the moment a blob is stored and the moment an image has it, nothing refers to it. Whoever stores blobs holds
//! an [`Ingest`] for that time, and blobs that nothing needs are only removed while nobody holds one.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::error::{Kind, Kinded};
use base::file::FileError;
use oci::Digest;
use oci::digest::HashWriter;
use oci::image::Descriptor;

use crate::lease::Leased;
use crate::partial;

/// The blobs of one directory. Cheap to share (`Arc<Content>`); all methods block and may be called from many threads.
#[derive(Debug)]
pub struct Content {
    pub(crate) directory: PathBuf,
    /// How many operations are storing blobs that nothing refers to yet.
    ingests: Arc<Mutex<usize>>,
    /// The blobs that somebody is fetching: their partial files have one writer.
    pub(crate) fetching: Arc<Mutex<BTreeSet<Digest>>>,
    /// What the leases of this process keep.
    pub(crate) leases: Arc<Mutex<Leased>>,
}

/// Why a blob cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The blob is not there.
    #[error("blob {digest} is missing")]
    Missing {
        /// The blob.
        digest: Digest,
    },
    /// The content is not what its name says.
    #[error("blob {expected} has the digest {actual}")]
    Mismatch {
        /// The name.
        expected: Digest,
        /// The content's digest.
        actual: Digest,
    },
    /// A step failed.
    #[error("{doing} blob")]
    Step {
        /// The step.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The blob is larger than a document may be.
    #[error("blob {digest} is larger than {limit} bytes")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// The limit.
        limit: u64,
    },
    /// The digest is of a kind that is not stored.
    #[error("digest {digest} is not supported, sha256 is needed")]
    Algorithm {
        /// The digest.
        digest: Digest,
    },
    /// Somebody else fetches the blob just now.
    #[error("blob {digest} is being fetched")]
    Busy {
        /// The blob.
        digest: Digest,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] base::file::FileError),
}

impl Kinded for BlobError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing { .. } => Kind::NotFound,
            Self::Mismatch { .. } | Self::TooLarge { .. } => Kind::Invalid,
            Self::Algorithm { .. } => Kind::Unsupported,
            Self::Busy { .. } => Kind::Busy,
            Self::Step { source, .. } => base::error::kind_of_io(source),
            Self::File(error) => error.kind(),
        }
    }
}

/// The bytes of a blob, as they were stored.
#[derive(Debug)]
pub struct Reader {
    file: File,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

/// Keeps blobs that nothing refers to yet from being removed.
#[derive(Debug)]
pub struct Ingest(Arc<Mutex<usize>>);

impl Ingest {
    fn begin(count: &Arc<Mutex<usize>>) -> Self {
        *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(Arc::clone(count))
    }
}

impl Clone for Ingest {
    fn clone(&self) -> Self {
        Self::begin(&self.0)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

/// A blob in the making; dropping it removes it.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    writer: Option<HashWriter<File>>,
}

impl io::Write for Draft {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Some(writer) => writer.write(buffer),
            None => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already when it became a blob; what stays in spite of this is removed at the next start.
        drop(std::fs::remove_file(&self.path));
    }
}

/// A blob that was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it was not there before: its bytes are just those that were hashed.
    pub is_new: bool,
}

/// Blobs up to this many bytes are read again when they are stored again: documents are.
const READ_AGAIN: u64 = 8 << 20;

impl Content {
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            ingests: Arc::default(),
            fetching: Arc::default(),
            leases: Arc::default(),
        }
    }

    /// Returns the directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Opens a blob to be read as a stream; whoever reads it checks what they read.
    pub fn reader(&self, digest: &Digest) -> Result<Reader, BlobError> {
        self.open_blob(digest).map(|file| Reader { file })
    }

    /// Keeps blobs that nothing refers to yet from being removed, until it is dropped.
    pub fn begin_ingest(&self) -> Ingest {
        Ingest::begin(&self.ingests)
    }

    /// Returns where a blob is, if it is there.
    pub fn blob_path(&self, digest: &Digest) -> Result<PathBuf, BlobError> {
        if digest.algorithm() != "sha256" {
            return Err(BlobError::Algorithm {
                digest: digest.clone(),
            });
        }
        Ok(self.blobs().join(digest.hex()))
    }

    /// Returns whether a blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_ok_and(|path| path.is_file())
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.directory.join("blobs").join("sha256")
    }

    /// Opens the file of a blob.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, BlobError> {
        let path = self.blob_path(digest)?;
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing {
                digest: digest.clone(),
            },
            _ => FileError::new("open", &path, error).into(),
        })
    }

    /// Returns the size of a blob.
    pub fn blob_size(&self, digest: &Digest) -> Result<u64, BlobError> {
        let meta = self.open_blob(digest)?.metadata();
        meta.map(|meta| meta.len()).map_err(|source| BlobError::Step {
            doing: "measure",
            source,
        })
    }

    /// Returns the content of a document, checked against its digest.
    pub fn read_document(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let mut content = Vec::new();
        let mut file = self.open_blob(digest)?.take(limit.saturating_add(1));
        file.read_to_end(&mut content).map_err(|source| BlobError::Step {
            doing: "read",
            source,
        })?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > limit {
            return Err(BlobError::TooLarge {
                digest: digest.clone(),
                limit,
            });
        }
        let actual = Digest::sha256(&content);
        if actual != *digest {
            return Err(BlobError::Mismatch {
                expected: digest.clone(),
                actual,
            });
        }
        Ok(content)
    }

    /// Removes a blob that is found to be damaged, so that it can be had again.
    pub fn remove_damaged(&self, digest: &Digest) -> Result<(), BlobError> {
        Ok(remove_file(&self.blob_path(digest)?)?)
    }

    /// Begins a blob whose digest is found out by writing it.
    pub fn draft(&self) -> Result<Draft, BlobError> {
        let name = base::id::random_hex::<16>().map_err(|source| BlobError::Step {
            doing: "name",
            source,
        })?;
        let path = self.directory.join("ingest").join(name);
        let file = base::file::create_new(&path, 0o600)?;
        Ok(Draft {
            path,
            writer: Some(HashWriter::new(file)),
        })
    }

    /// Makes a draft a blob, if it is `expected` or nothing particular is; returns its digest and size.
    pub fn store(&self, draft: Draft, expected: Option<&Digest>) -> Result<(Digest, u64), BlobError> {
        self.store_and_tell(draft, expected)
            .map(|stored| (stored.digest, stored.size))
    }

    /// As [`Self::store`]; tells whether the blob is the draft, or one that was there.
    pub fn store_and_tell(&self, mut draft: Draft, expected: Option<&Digest>) -> Result<Stored, BlobError> {
        let step = |doing| move |source| BlobError::Step { doing, source };
        let Some(writer) = draft.writer.take() else {
            return Err(step("finish")(io::Error::from(io::ErrorKind::BrokenPipe)));
        };
        let (file, digest, size) = writer.finish();
        if let Some(expected) = expected.filter(|expected| **expected != digest) {
            return Err(BlobError::Mismatch {
                expected: expected.clone(),
                actual: digest,
            });
        }
        let path = self.blob_path(&digest)?;
        // A document that was damaged is mended by the next one who brings it; layers are read by `check` only.
        let is_sound = matches!(std::fs::metadata(&path), Ok(meta) if meta.is_file() && meta.len() == size)
            && (size > READ_AGAIN || self.problem(&digest).is_none());
        if !is_sound {
            file.sync_all().map_err(step("sync"))?;
            std::fs::rename(&draft.path, &path).map_err(step("show"))?;
            base::file::sync_parent(&path)?;
        }
        Ok(Stored {
            digest,
            size,
            is_new: !is_sound,
        })
    }

    /// Stores a document whose digest is known.
    pub fn store_exact(&self, content: &[u8], digest: &Digest) -> Result<(), BlobError> {
        let mut draft = self.draft()?;
        io::Write::write_all(&mut draft, content).map_err(|source| BlobError::Step {
            doing: "write",
            source,
        })?;
        self.store(draft, Some(digest)).map(drop)
    }

    /// Stores a document and returns its descriptor.
    pub fn store_document(&self, media_type: &str, content: &[u8]) -> Result<Descriptor, BlobError> {
        let mut draft = self.draft()?;
        io::Write::write_all(&mut draft, content).map_err(|source| BlobError::Step {
            doing: "write",
            source,
        })?;
        let (digest, size) = self.store(draft, None)?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    /// Removes every blob that is not needed, unless somebody is storing some just now. The caller keeps what refers
    /// to blobs from changing, and gives the digests that are needed. What a lease names is kept as well.
    pub fn remove_unneeded(&self, needed: &BTreeSet<Digest>) -> Result<(), FileError> {
        let ingests = self.ingests.lock().unwrap_or_else(PoisonError::into_inner);
        if *ingests > 0 {
            return Ok(());
        }
        let leases = self.leases();
        let directory = self.blobs();
        for name in names(&directory)? {
            let is_needed = Digest::from_sha256_hex(&name)
                .is_ok_and(|digest| needed.contains(&digest) || leases.has(&digest));
            if !is_needed {
                remove_file(&directory.join(name))?;
            }
        }
        Ok(())
    }

    /// Removes what a killed process left half written, but for what a lease keeps so that it can go on.
    pub fn sweep(&self) -> Result<(), FileError> {
        self.read_leases()?;
        let leases = self.leases();
        let drafts = self.directory.join("ingest");
        for name in names(&drafts)? {
            let is_kept = partial::digest_of(&name).is_some_and(|digest| leases.has(&digest));
            if !is_kept {
                remove_file(&drafts.join(name))?;
            }
        }
        Ok(())
    }
}

pub(crate) fn names(directory: &Path) -> Result<Vec<String>, FileError> {
    let failed = |error| FileError::new("list", directory, error);
    let mut names = Vec::new();
    for item in std::fs::read_dir(directory).map_err(failed)? {
        if let Ok(name) = item.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

pub(crate) fn remove_file(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path, error)),
        _ => Ok(()),
    }
}
