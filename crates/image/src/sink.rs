//! Where layers are unpacked: a contract that `engine` fulfils with `storage`, which is a stranger to this crate.

use std::fmt;
use std::io::Read;

use base::error::{Kind, Kinded};
use oci::{ChainId, Digest};

/// Why a layer could not be unpacked: an error of whoever unpacks, with its kind.
#[derive(Debug, thiserror::Error)]
#[error("unpack a layer")]
pub struct SinkError {
    kind: Kind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl SinkError {
    /// Returns `error` as one of this contract.
    pub fn new<E: Kinded + Send + Sync + 'static>(error: E) -> Self {
        Self {
            kind: error.kind(),
            source: Box::new(error),
        }
    }
}

impl Kinded for SinkError {
    fn kind(&self) -> Kind {
        self.kind
    }
}

/// Keeps layers as long as it lives.
pub trait Pin: Send + Sync {}

/// Where layers are unpacked. All calls block.
pub trait LayerSink: fmt::Debug + Send + Sync {
    /// Keeps unpacked layers from being removed, those that are there and those that come, until the pin is dropped.
    fn pin(&self, layers: &[ChainId]) -> Box<dyn Pin>;

    /// Returns the sum of the sizes of a layer's files, if the layer is unpacked.
    fn present(&self, layer: &ChainId) -> Result<Option<u64>, SinkError>;

    /// Returns whether a layer can only be unpacked when the one below it is shown.
    fn needs_parent(&self) -> bool;

    /// Unpacks a tar (plain, gzip or zstd) to its end without showing it. `parent` may be `None` unless it is needed; `known` is
    /// the digest of just these bytes, if somebody has hashed them.
    fn unpack(
        &self,
        parent: Option<&ChainId>,
        label: &Digest,
        known: Option<&Digest>,
        tar: &mut (dyn Read + Send),
    ) -> Result<Box<dyn StagedLayer>, SinkError>;
}

/// A layer that is unpacked and that nobody sees yet; dropping it removes it.
pub trait StagedLayer: Send {
    /// Returns the digest of the uncompressed tar.
    fn diff_id(&self) -> &Digest;

    /// Returns the sum of the sizes of its files in bytes.
    fn size(&self) -> u64;

    /// Shows it as the layer `layer` upon `parent`, which is shown already; `diff_id` is what it must be.
    fn show(
        self: Box<Self>,
        layer: &ChainId,
        parent: Option<&ChainId>,
        diff_id: &Digest,
    ) -> Result<(), SinkError>;
}
