//! The beginning of a blob that comes from elsewhere, and may be cut off at any byte.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::file::FileError;
use oci::Digest;
use oci::digest::HashWriter;

use crate::blob::{BlobError, Content};

const SUFFIX: &str = ".part";
/// Bytes after which the kernel is asked to begin writing them to the disk, so that the sync at the end is short.
const WRITE_BACK: u64 = 8 << 20;

/// The digests that somebody is fetching.
type Fetching = Arc<Mutex<BTreeSet<Digest>>>;

/// The first bytes of a blob whose digest is known. Dropping it keeps the file, so that the next [`Content::partial`]
/// goes on where this one stopped, also after a restart (see [`crate::Lease`]).
#[derive(Debug)]
pub struct Partial {
    digest: Digest,
    path: PathBuf,
    writer: HashWriter<File>,
    length: u64,
    written_back: u64,
    _claim: Claim,
}

#[derive(Debug)]
struct Claim {
    digest: Digest,
    fetching: Fetching,
}

impl Drop for Claim {
    fn drop(&mut self) {
        locked(&self.fetching).remove(&self.digest);
    }
}

impl Content {
    /// Opens what there is of a blob that is fetched, which may be nothing. What is there is read once, hashed and
    /// given to `each` in order, in pieces of up to 256 KiB; more than `limit` bytes cannot be of this blob and are
    /// thrown away. Fails with [`BlobError::Busy`] while somebody else has it.
    pub fn partial<E: From<BlobError>>(
        &self,
        digest: &Digest,
        limit: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Partial, E> {
        // Refuses other algorithms, whose digests are not the names of files.
        self.blob_path(digest)?;
        if !locked(&self.fetching).insert(digest.clone()) {
            return Err(BlobError::Busy {
                digest: digest.clone(),
            }
            .into());
        }
        let claim = Claim {
            digest: digest.clone(),
            fetching: Arc::clone(&self.fetching),
        };
        let path = self
            .directory
            .join("ingest")
            .join(format!("{}{SUFFIX}", digest.hex()));
        let mut file = open(&path, limit).map_err(BlobError::from)?;
        let mut writer = HashWriter::new(io::sink());
        let mut length = 0;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = file.read(&mut buffer).map_err(step("read"))?;
            if count == 0 {
                break;
            }
            writer.write_all(&buffer[..count]).map_err(step("hash"))?;
            length += u64::try_from(count).unwrap_or(u64::MAX);
            each(&buffer[..count])?;
        }
        Ok(Partial {
            digest: digest.clone(),
            path,
            writer: writer.with_inner(file),
            length,
            written_back: length,
            _claim: claim,
        })
    }

    /// Makes a complete partial file the blob, synced, if its digest is right. If not, the file is removed: there is no
    /// telling which of its bytes are wrong.
    pub fn finish(&self, partial: Partial) -> Result<u64, BlobError> {
        let Partial {
            digest,
            path,
            writer,
            _claim,
            ..
        } = partial;
        let (file, actual, size) = writer.finish();
        if actual != digest {
            crate::blob::remove_file(&path)?;
            return Err(BlobError::Mismatch {
                expected: digest,
                actual,
            });
        }
        let shown = self.blob_path(&digest)?;
        file.sync_all().map_err(step("sync"))?;
        std::fs::rename(&path, &shown).map_err(step("show"))?;
        base::file::sync_parent(&shown)?;
        Ok(size)
    }
}

impl Partial {
    /// Returns how many bytes are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds the bytes that follow. They are there for the next try as soon as this returns, also if the process dies.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.writer.write_all(bytes).map_err(step("write"))?;
        self.length += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.length - self.written_back >= WRITE_BACK {
            // A hint: the sync at the end is what counts.
            drop(sys::fd::start_write_back(
                self.writer.inner().as_fd(),
                self.written_back,
                self.length - self.written_back,
            ));
            self.written_back = self.length;
        }
        Ok(())
    }
}

impl Content {
    /// Throws away the beginning of a blob, unless somebody fetches it just now.
    pub fn discard_partial(&self, digest: &Digest) -> Result<(), BlobError> {
        self.blob_path(digest)?;
        if locked(&self.fetching).contains(digest) {
            return Ok(());
        }
        let path = self
            .directory
            .join("ingest")
            .join(format!("{}{SUFFIX}", digest.hex()));
        Ok(crate::blob::remove_file(&path)?)
    }
}

/// Returns the digest of the blob whose beginning a file of this name is.
pub(crate) fn digest_of(name: &str) -> Option<Digest> {
    Digest::from_sha256_hex(name.strip_suffix(SUFFIX)?).ok()
}

pub(crate) fn locked(fetching: &Fetching) -> MutexGuard<'_, BTreeSet<Digest>> {
    fetching.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(path: &Path, limit: u64) -> Result<File, FileError> {
    let failed = |source| FileError::new("open", path, source);
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut file = options.open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > limit {
        file.set_len(0).map_err(failed)?;
    }
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(file)
}

fn step(doing: &'static str) -> impl FnOnce(io::Error) -> BlobError {
    move |source| BlobError::Step { doing, source }
}
