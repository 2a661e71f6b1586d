//! Fills a layer from a tar stream and shows it only if it is what its name says.

use std::io::Read;

use archive::{UnpackError, UnpackOptions};
use base::error::{Kind, Kinded};
use oci::{ChainId, Digest};

use crate::driver::{Committed, Driver, LayerFacts};
use crate::error::StorageError;

/// Which layer to make.
#[derive(Clone, Copy, Debug)]
pub struct LayerSource<'a> {
    /// The layer's name.
    pub chain_id: &'a ChainId,
    /// The layer below, which must be there.
    pub parent: Option<&'a ChainId>,
    /// The digest that the uncompressed tar must have.
    pub diff_id: &'a Digest,
}

/// Why a layer could not be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The tar could not be unpacked.
    #[error("unpack layer {layer}")]
    Unpack {
        /// The layer.
        layer: Digest,
        /// Why.
        source: UnpackError,
    },
    /// The tar is not the one that was promised.
    #[error("layer {expected} has the digest {actual}")]
    Mismatch {
        /// The promise.
        expected: Digest,
        /// The truth.
        actual: Digest,
    },
    /// The driver failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Kinded for AddError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unpack { source, .. } => source.kind(),
            Self::Mismatch { .. } => Kind::Invalid,
            Self::Storage(error) => error.kind(),
        }
    }
}

/// Unpacks `tar` (plain, gzip or zstd) as a layer, unless the layer is there. Nothing is left behind on failure.
pub fn add_layer(
    driver: &dyn Driver,
    layer: &LayerSource<'_>,
    tar: impl Read,
) -> Result<Committed, AddError> {
    if driver.has_layer(layer.chain_id)? {
        return Ok(Committed::AlreadyThere);
    }
    let staging = driver.prepare_layer(layer.parent)?;
    let options = UnpackOptions::layer(staging.whiteouts());
    let summary = archive::unpack(tar, staging.root(), &options).map_err(|source| AddError::Unpack {
        layer: layer.diff_id.clone(),
        source,
    })?;
    if summary.diff_id != *layer.diff_id {
        return Err(AddError::Mismatch {
            expected: layer.diff_id.clone(),
            actual: summary.diff_id,
        });
    }
    let facts = LayerFacts {
        diff_id: summary.diff_id,
        parent: layer.parent.cloned(),
        size: summary.content_bytes,
    };
    Ok(driver.commit_layer(staging, layer.chain_id, &facts)?)
}
