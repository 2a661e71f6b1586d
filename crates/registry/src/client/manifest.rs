//! Manifests: fetched with their exact bytes, checked, stored, removed.

use bytes::Bytes;
use oci::Digest;

use super::{RegistryError, Repository};

/// Which manifest: by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// What a tag points to now.
    Tag(String),
    /// Exactly this one.
    Digest(Digest),
}

/// A manifest or index with its exact bytes.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The bytes as the registry sent them: at most 4 MiB, and they have the digest.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
    /// One of `oci::media_type`'s manifests or indexes.
    pub media_type: String,
}

/// What a registry says of a manifest without sending it.
#[derive(Clone, Debug)]
pub struct ManifestHead {
    /// The digest; not checked, since the bytes were not seen.
    pub digest: Digest,
    /// The media type.
    pub media_type: String,
    /// The size in bytes.
    pub size: u64,
}

impl Repository {
    /// Returns a manifest or an index. Schema 1 and what is neither is refused.
    pub async fn manifest(&self, target: &Target) -> Result<Fetched, RegistryError> {
        todo!("{target:?}")
    }

    /// Returns what the registry says of a manifest, `None` if there is none.
    pub async fn head_manifest(&self, target: &Target) -> Result<Option<ManifestHead>, RegistryError> {
        todo!("{target:?}")
    }

    /// Stores a manifest and returns its digest, which is that of `bytes`.
    pub async fn put_manifest(
        &self,
        target: &Target,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        todo!("{target:?} {media_type} {bytes:?}")
    }

    /// Removes a manifest.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        todo!("{digest}")
    }
}
