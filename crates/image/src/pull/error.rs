//! Why a pull failed, in the words that docker prints.

use std::sync::Arc;

use base::error::{Kind, Kinded};
use content::BlobError;
use oci::Digest;
use registry::client::RegistryError;

use crate::create::CreateError;
use crate::sink::SinkError;

/// Why a pull failed. What has come stays for the next one, unless it is wrong.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry refused, is not there, or breaks the protocol.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The image has no variant for the platform.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform {
        /// The platform that was asked for.
        platform: String,
    },
    /// The image is for another platform.
    #[error(
        "image with reference {reference} was found but does not match the specified platform: wanted {wanted}, actual: {actual}"
    )]
    OtherPlatform {
        /// The reference.
        reference: String,
        /// What was asked for.
        wanted: String,
        /// What it is for.
        actual: String,
    },
    /// A layer lies elsewhere than in the registry.
    #[error("layer {layer} is a foreign layer (\"{media_type}\"), which is not fetched from elsewhere")]
    Foreign {
        /// The layer.
        layer: Digest,
        /// Its media type.
        media_type: String,
    },
    /// A document is no image, or contradicts itself.
    #[error("{digest} {problem}")]
    Content {
        /// The document.
        digest: Digest,
        /// What is wrong.
        problem: String,
    },
    /// The registry sent other bytes than the manifest promises.
    #[error("filesystem layer verification failed for digest {digest}: {problem}")]
    Wrong {
        /// The layer's blob.
        digest: Digest,
        /// What is wrong.
        problem: String,
    },
    /// A blob could not be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A file of the store could not be written.
    #[error(transparent)]
    File(#[from] base::file::FileError),
    /// A layer could not be unpacked.
    #[error("failed to register layer")]
    Sink(#[from] SinkError),
    /// The image could not be recorded.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// A layer that another pull was fetching as well.
    #[error(transparent)]
    Shared(Arc<Self>),
    /// Nobody wants the image any more.
    #[error("the pull was cancelled")]
    Cancelled,
    /// A thread of ours failed.
    #[error("pull a layer")]
    Task {
        /// How.
        source: tokio::task::JoinError,
    },
}

impl PullError {
    pub(super) fn task(source: tokio::task::JoinError) -> Self {
        if source.is_cancelled() {
            return Self::Cancelled;
        }
        Self::Task { source }
    }
}

impl Kinded for PullError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::NoPlatform { .. } | Self::OtherPlatform { .. } => Kind::NotFound,
            Self::Foreign { .. } => Kind::Unsupported,
            Self::Content { .. } | Self::Wrong { .. } => Kind::Invalid,
            Self::Blob(error) => error.kind(),
            Self::File(error) => error.kind(),
            Self::Sink(error) => error.kind(),
            Self::Create(error) => error.kind(),
            Self::Shared(error) => error.kind(),
            Self::Cancelled => Kind::Cancelled,
            Self::Task { .. } => Kind::Internal,
        }
    }
}
