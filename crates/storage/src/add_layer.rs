//! Fills a layer from a tar stream and shows it only if it is what its name says.

use std::io::Read;

use archive::{UnpackError, UnpackOptions, UnpackSummary};
use base::error::{Kind, Kinded};
use oci::{ChainId, Digest};

use crate::driver::{Committed, Driver, LayerFacts, Staging};
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

/// A layer that is unpacked and that nobody sees yet. Dropping it removes it.
#[derive(Debug)]
pub struct Unpacked {
    staging: Staging,
    summary: UnpackSummary,
}

impl Unpacked {
    /// Returns what was found: the digest of the uncompressed tar above all.
    pub fn summary(&self) -> &UnpackSummary {
        &self.summary
    }

    /// Returns the unpacked tree.
    pub(crate) fn root(&self) -> std::os::fd::BorrowedFd<'_> {
        self.staging.root()
    }

    pub(crate) fn into_staging(self) -> Staging {
        self.staging
    }

    /// Shows the layer under its name, if it is what the name says.
    pub fn show(self, driver: &dyn Driver, layer: &LayerSource<'_>) -> Result<Committed, AddError> {
        if self.summary.diff_id != *layer.diff_id {
            return Err(AddError::Mismatch {
                expected: layer.diff_id.clone(),
                actual: self.summary.diff_id,
            });
        }
        let facts = LayerFacts {
            diff_id: self.summary.diff_id,
            parent: layer.parent.cloned(),
            size: self.summary.content_bytes,
        };
        Ok(driver.commit_layer(self.staging, layer.chain_id, &facts)?)
    }
}

/// Unpacks `tar` (plain, gzip or zstd) as a layer upon `parent` without showing it; `label` is what errors call it.
/// Where [`Driver::needs_parent`] is false the parent need not be there, nor be known: it may be `None`. `known` is the digest of
/// just these bytes, if somebody has hashed them.
pub fn unpack_layer(
    driver: &dyn Driver,
    parent: Option<&ChainId>,
    label: &Digest,
    known: Option<&Digest>,
    tar: impl Read + Send,
) -> Result<Unpacked, AddError> {
    let staging = driver.prepare_layer(parent)?;
    let options = UnpackOptions::layer(staging.whiteouts());
    let summary =
        archive::unpack_beside(tar, staging.root(), &options, known).map_err(|source| AddError::Unpack {
            layer: label.clone(),
            source,
        })?;
    Ok(Unpacked { staging, summary })
}

/// Unpacks `tar` (plain, gzip or zstd) as a layer, unless the layer is there. Nothing is left behind on failure.
pub fn add_layer(
    driver: &dyn Driver,
    layer: &LayerSource<'_>,
    tar: impl Read + Send,
) -> Result<Committed, AddError> {
    if driver.has_layer(layer.chain_id)? {
        return Ok(Committed::AlreadyThere);
    }
    unpack_layer(driver, layer.parent, layer.diff_id, None, tar)?.show(driver, layer)
}
