//! Uploads: in one piece, in pieces, resumed after a cut, or not at all because another repository has the blob.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use oci::Digest;

use super::{RegistryError, Repository};

/// Bytes to send.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// A blob that can be read again from any position, since an upload may have to go on after a cut.
pub trait BlobSource: Send + Sync {
    /// Returns the bytes from `offset` to the end.
    fn open(&self, offset: u64) -> std::io::Result<ByteStream>;
}

/// What became of the wish to mount a blob.
#[derive(Debug)]
pub enum Mount {
    /// The repository has the blob now.
    Mounted,
    /// It has not; this upload was begun instead.
    Started(Upload),
}

/// A begun upload.
#[derive(Debug)]
pub struct Upload {
    pub(super) repository: Repository,
    pub(super) offset: u64,
}

impl Upload {
    /// Returns how many bytes the registry has accepted so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Sends all bytes of `stream` as one piece, of `length` bytes if that is known, as they come.
    ///
    /// After a temporary error [`Self::resume`] tells from where to go on.
    pub async fn send(&mut self, stream: ByteStream, length: Option<u64>) -> Result<(), RegistryError> {
        drop(stream);
        todo!("{length:?}")
    }

    /// Asks the registry how many bytes it has, which may be less or more than it last confirmed.
    pub async fn resume(&mut self) -> Result<u64, RegistryError> {
        todo!("{:?}", self.repository)
    }

    /// Ends the upload: the bytes sent so far are the blob `digest`, which the registry checks.
    pub async fn finish(self, digest: &Digest) -> Result<(), RegistryError> {
        todo!("{digest}")
    }

    /// Gives the upload up.
    pub async fn cancel(self) -> Result<(), RegistryError> {
        todo!()
    }
}

impl Repository {
    /// Begins an upload of a blob whose digest or size need not be known yet.
    pub async fn start_upload(&self) -> Result<Upload, RegistryError> {
        todo!()
    }

    /// Asks the registry to take the blob from its repository `from` (a path, as `library/debian`).
    ///
    /// The credentials must allow pulling from there: name the repositories when making this one
    /// ([`super::Client::repository`]), or the registry just begins an upload.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<Mount, RegistryError> {
        todo!("{digest} {from}")
    }

    /// Uploads a blob of known digest and size, in one request where it goes well, resuming where it is cut.
    ///
    /// `started` is an upload that [`Self::mount`] began.
    pub async fn upload(
        &self,
        digest: &Digest,
        size: u64,
        source: &dyn BlobSource,
        started: Option<Upload>,
    ) -> Result<(), RegistryError> {
        drop((source.open(0), started));
        todo!("{digest} {size}")
    }
}
