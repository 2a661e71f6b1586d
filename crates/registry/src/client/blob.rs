//! Blobs, whole or in part.

use bytes::Bytes;
use oci::Digest;

use super::{RegistryError, Repository};

/// Which bytes of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRange {
    /// The first byte.
    pub offset: u64,
    /// How many; `None` up to the end.
    pub length: Option<u64>,
}

impl BlobRange {
    /// The whole blob.
    pub const WHOLE: Self = Self { offset: 0, length: None };
}

/// The bytes of a blob as they arrive. They are not hashed here: the caller does so while storing them.
///
/// The length that the registry announced is enforced: a body that ends early is [`RegistryError::Interrupted`], one
/// that stalls is [`RegistryError::Stalled`]; after either the rest may be asked for from where it stopped.
#[derive(Debug)]
pub struct BlobBody {
    pub(super) offset: u64,
    pub(super) length: Option<u64>,
    pub(super) total: Option<u64>,
}

impl BlobBody {
    /// Returns the position of the first byte in the blob: what was asked for, or 0 where a registry without ranges
    /// sends the whole blob. The caller must look.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes of this body, if the registry says it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Returns the size of the whole blob, if the registry says it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Returns the next bytes (never empty), `None` after the last.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        todo!()
    }
}

impl Repository {
    /// Opens a blob, or a part of it. Ranges are answered with at most what was asked for.
    pub async fn blob(&self, digest: &Digest, range: BlobRange) -> Result<BlobBody, RegistryError> {
        todo!("{digest} {range:?}")
    }

    /// Returns a small blob, such as a configuration, of at most `limit` bytes; it has the digest.
    pub async fn blob_bytes(&self, digest: &Digest, limit: u64) -> Result<Bytes, RegistryError> {
        todo!("{digest} {limit}")
    }

    /// Returns the size of a blob, `None` if the repository has none of this digest.
    pub async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        todo!("{digest}")
    }
}
