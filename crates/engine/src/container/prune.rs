//! Prune: removes every container that does not run.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::id::ContainerId;

use super::inspect::sizes;
use super::remove::{RemoveRequest, remove};
use crate::Engine;
use crate::system::{EventKind, FilterError, check_names, label_fits, until};

/// Which containers go.
#[derive(Clone, Debug, Default)]
pub struct PruneRequest {
    /// docker's filters `until` and `label`, `label!`.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// What went.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The containers.
    pub removed: Vec<ContainerId>,
    /// Bytes that became free.
    pub reclaimed: u64,
}

/// Removes every container that does not run and fits.
pub async fn prune(engine: &Arc<Engine>, request: PruneRequest) -> Result<Pruned, FilterError> {
    let filters = &request.filters;
    check_names(filters, &["label", "label!", "until"])?;
    let until = until(filters)?;
    let values = |key: &str| filters.get(key).map(Vec::as_slice).unwrap_or_default();
    let mut pruned = Pruned::default();
    for container in engine.registry.all() {
        let view = container.view();
        let fits = !view.status.is_running()
            && until.is_none_or(|until| view.created < until)
            && values("label")
                .iter()
                .all(|label| label_fits(&view.config.labels, label))
            && !values("label!")
                .iter()
                .any(|label| label_fits(&view.config.labels, label));
        if !fits {
            continue;
        }
        let size = sizes(engine, &container).await.0.unwrap_or(0);
        // One that was started or removed meanwhile is left alone.
        if remove(engine, view.id.as_str(), RemoveRequest::default())
            .await
            .is_ok()
        {
            pruned.removed.push(view.id.clone());
            pruned.reclaimed += size;
        }
    }
    engine.events.tell_pruned(EventKind::Container, pruned.reclaimed);
    Ok(pruned)
}
