//! What is told of a pull.

use std::collections::HashMap;

use oci::Digest;
use tokio::sync::mpsc;

use super::PullError;

/// Something that happened to a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullEvent {
    /// The layer's blob.
    pub layer: Digest,
    /// What it is about now.
    pub state: LayerState,
}

/// What a layer is about; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// The image has it.
    Listed,
    /// It was here before.
    Present,
    /// It waits for its turn.
    Waiting,
    /// It will be tried again.
    Retrying {
        /// In so many seconds.
        seconds: u64,
    },
    /// It comes.
    Downloading {
        /// Bytes that came.
        current: u64,
        /// Bytes of the blob.
        total: u64,
    },
    /// All of it came.
    Downloaded,
    /// It is unpacked, which began with its first byte.
    Extracting {
        /// Bytes of the blob that were unpacked.
        current: u64,
        /// Bytes of the blob.
        total: u64,
    },
    /// It is shown.
    Complete,
}

impl LayerState {
    fn rank(self) -> u8 {
        match self {
            Self::Listed => 0,
            Self::Present | Self::Complete => 9,
            Self::Waiting => 1,
            Self::Retrying { .. } | Self::Downloading { .. } => 2,
            Self::Downloaded => 3,
            Self::Extracting { .. } => 4,
        }
    }
}

/// Tells what changed, and what came between: a reader sees each layer listed, downloaded and complete.
pub(super) struct Reporter<'a> {
    sender: &'a mpsc::Sender<PullEvent>,
    last: HashMap<Digest, LayerState>,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(sender: &'a mpsc::Sender<PullEvent>) -> Self {
        Self {
            sender,
            last: HashMap::new(),
        }
    }

    /// Fails when nobody listens any more.
    pub(super) async fn tell(&mut self, layer: &Digest, state: LayerState) -> Result<(), PullError> {
        let last = self.last.insert(layer.clone(), state);
        if last == Some(state) {
            return Ok(());
        }
        let rank = last.map_or(0, LayerState::rank);
        // The same blob may be two layers: it is told of once.
        if rank > state.rank() {
            self.last.insert(layer.clone(), last.unwrap_or(state));
            return Ok(());
        }
        let skipped = rank < LayerState::Downloaded.rank() && state.rank() > LayerState::Downloaded.rank();
        if skipped && state != LayerState::Present {
            self.send(layer, LayerState::Downloaded).await?;
        }
        if rank == state.rank() && last.is_some() {
            // Numbers that nobody has read yet are soon replaced by others.
            let event = PullEvent {
                layer: layer.clone(),
                state,
            };
            return match self.sender.try_send(event) {
                Err(mpsc::error::TrySendError::Closed(_)) => Err(PullError::Cancelled),
                _ => Ok(()),
            };
        }
        self.send(layer, state).await
    }

    async fn send(&self, layer: &Digest, state: LayerState) -> Result<(), PullError> {
        let event = PullEvent {
            layer: layer.clone(),
            state,
        };
        self.sender
            .send(event)
            .await
            .map_err(|_gone| PullError::Cancelled)
    }
}
