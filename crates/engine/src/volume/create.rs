//! Create a volume.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::inspect::VolumeDetails;
use super::{VolumeError, details, tell, translate};
use crate::Engine;

/// A volume to create.
#[derive(Clone, Debug, Default)]
pub struct VolumeRequest {
    /// The name; empty: a random one.
    pub name: String,
    /// The driver; empty or `local`.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// Creates a volume, or returns the one that has the name already.
pub async fn create(engine: &Arc<Engine>, request: VolumeRequest) -> Result<VolumeDetails, VolumeError> {
    let anonymous = request.name.is_empty();
    let existed = !anonymous && engine.volumes.get(&request.name).is_ok();
    let wanted = request.name.clone();
    let worker = Arc::clone(engine);
    // Waits for the disk: a volume that was acknowledged survives a power cut.
    let work = move || {
        worker.volumes.create(volume::Create {
            name: (!anonymous).then_some(request.name),
            driver: request.driver,
            options: request.options,
            labels: request.labels,
            anonymous,
        })
    };
    let created = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| VolumeError::Step {
            doing: "create",
            name: wanted.clone(),
            kind: base::error::Kind::Internal,
            source: Box::new(error),
        })?;
    let volume = created.map_err(|error| translate("create", &wanted, error))?;
    if !existed {
        tell(engine, "create", &volume.name);
    }
    Ok(details(engine, volume))
}
