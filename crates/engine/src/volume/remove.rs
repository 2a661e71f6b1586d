//! Remove a volume.

use std::sync::Arc;

use super::{VolumeError, tell, translate, users};
use crate::Engine;

/// Removes a volume that no container names; with `force` a missing one is no error.
pub async fn remove(engine: &Arc<Engine>, name: &str, force: bool) -> Result<(), VolumeError> {
    if let Err(error) = engine.volumes.get(name) {
        return if force {
            Ok(())
        } else {
            Err(translate("remove", name, error))
        };
    }
    let containers: Vec<String> = users(engine, name).iter().map(ToString::to_string).collect();
    if !containers.is_empty() {
        return Err(VolumeError::InUse {
            name: name.to_owned(),
            containers: containers.join(", "),
        });
    }
    let (worker, wanted) = (Arc::clone(engine), name.to_owned());
    let removed =
        tokio::task::spawn_blocking(move || worker.reserve.with_room(|| worker.volumes.remove(&wanted)))
            .await;
    removed
        .map_err(|error| VolumeError::Step {
            doing: "remove",
            name: name.to_owned(),
            kind: base::error::Kind::Internal,
            source: Box::new(error),
        })?
        .map_err(|error| translate("remove", name, error))?;
    tell(engine, "destroy", name);
    Ok(())
}
