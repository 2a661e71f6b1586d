//! Prune: removes images that nothing uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ImageError;
use super::remove::{Removal, RemoveImageRequest, remove};
use crate::Engine;
use crate::system::{EventKind, check_names, label_fits, switch, until};

/// Which images go.
#[derive(Clone, Debug, Default)]
pub struct ImagePruneRequest {
    /// docker's filters `dangling` (default true), `until`, `label`, `label!`.
    pub filters: BTreeMap<String, Vec<String>>,
}

/// What went.
#[derive(Clone, Debug, Default)]
pub struct ImagesPruned {
    /// Names and images.
    pub removed: Vec<Removal>,
    /// Bytes that became free.
    pub reclaimed: u64,
}

/// Removes images without a name (or, with `dangling=false`, without a container).
pub async fn prune(engine: &Arc<Engine>, request: ImagePruneRequest) -> Result<ImagesPruned, ImageError> {
    let filters = &request.filters;
    check_names(filters, &["dangling", "label", "label!", "until"])?;
    let only_dangling = switch(filters, "dangling")?.unwrap_or(true);
    let until = until(filters)?;
    let values = |key: &str| filters.get(key).map(Vec::as_slice).unwrap_or_default();
    let mut pruned = ImagesPruned::default();
    for image in engine.images.list() {
        let labels = &image.config.config.labels;
        let fits = (image.tags.is_empty() || !only_dangling)
            && super::users(engine, &image.id).is_empty()
            && until.is_none_or(|until| image.created < until)
            && values("label").iter().all(|label| label_fits(labels, label))
            && !values("label!").iter().any(|label| label_fits(labels, label));
        if !fits {
            continue;
        }
        let all_names = RemoveImageRequest {
            force: true,
            no_prune: false,
        };
        // One that a container began to use meanwhile is left alone.
        if let Ok(removed) = remove(engine, image.id.as_str(), all_names).await {
            pruned.reclaimed += image.size;
            pruned.removed.extend(removed);
        }
    }
    engine.events.tell_pruned(EventKind::Image, pruned.reclaimed);
    Ok(pruned)
}
