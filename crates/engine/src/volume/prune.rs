//! Prune: removes volumes that no container names.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{VolumeError, remove, users};
use crate::Engine;
use crate::system::{check_names, label_fits, switch};

/// Which volumes go.
#[derive(Clone, Debug, Default)]
pub struct VolumePruneRequest {
    /// docker's filters `all`, `label`, `label!`; without `all=true` only anonymous volumes go.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// What went.
#[derive(Clone, Debug, Default)]
pub struct VolumesPruned {
    /// Names.
    pub removed: Vec<String>,
    /// Bytes that became free.
    pub reclaimed: u64,
}

/// Removes volumes that no container names.
pub async fn prune(engine: &Arc<Engine>, request: VolumePruneRequest) -> Result<VolumesPruned, VolumeError> {
    let filters = &request.filters;
    check_names(filters, &["all", "label", "label!"])?;
    let all = switch(filters, "all")?.unwrap_or(false);
    let values = |key: &str| filters.get(key).map(Vec::as_slice).unwrap_or_default();
    let mut pruned = VolumesPruned::default();
    for volume in engine.volumes.list() {
        let fits = (all || volume.anonymous)
            && users(engine, &volume.name).is_empty()
            && values("label")
                .iter()
                .all(|label| label_fits(&volume.labels, label))
            && !values("label!")
                .iter()
                .any(|label| label_fits(&volume.labels, label));
        if !fits {
            continue;
        }
        let path = engine.volumes.mountpoint(&volume.name);
        let size = tokio::task::spawn_blocking(move || tree_size(&path))
            .await
            .unwrap_or(0);
        // One that a container began to use meanwhile is left alone.
        if remove(engine, &volume.name, false).await.is_ok() {
            pruned.removed.push(volume.name);
            pruned.reclaimed += size;
        }
    }
    engine
        .events
        .tell_pruned(crate::system::EventKind::Volume, pruned.reclaimed);
    Ok(pruned)
}

/// Returns the bytes of the regular files of a tree of ours; links are not followed.
pub(crate) fn tree_size(directory: &std::path::Path) -> u64 {
    let mut total = 0;
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) if metadata.is_file() => total += metadata.len(),
                _ => {}
            }
        }
    }
    total
}
