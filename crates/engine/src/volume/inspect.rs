//! Inspect a volume.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::clock::Timestamp;

use super::{VolumeError, details, translate};
use crate::Engine;

/// What is known of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeDetails {
    /// Its name.
    pub name: String,
    /// `local`.
    pub driver: String,
    /// The host path of its data.
    pub mountpoint: String,
    /// When it was made.
    pub created: Timestamp,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Containers that name it.
    pub users: usize,
}

/// Returns what is known of a volume.
pub async fn inspect(engine: &Arc<Engine>, name: &str) -> Result<VolumeDetails, VolumeError> {
    let volume = engine
        .volumes
        .get(name)
        .map_err(|error| translate("inspect", name, error))?;
    Ok(details(engine, volume))
}
