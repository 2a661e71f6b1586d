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

/// Removes images without a name (or, with `dangling=false`, without a container), by docker's rules.
pub async fn prune(engine: &Arc<Engine>, request: ImagePruneRequest) -> Result<ImagesPruned, ImageError> {
    let filters = &request.filters;
    check_names(filters, &["dangling", "label", "label!", "until"])?;
    let only_dangling = switch(filters, "dangling")?.unwrap_or(true);
    let until = until(filters)?;
    let values = |key: &str| filters.get(key).map(Vec::as_slice).unwrap_or_default();
    let mut pruned = ImagesPruned::default();
    let images = engine.images.list();
    let sizes: BTreeMap<String, u64> = images
        .iter()
        .flat_map(|image| &image.layers)
        .map(|layer| (layer.chain_id.to_string(), layer.size))
        .collect();
    for image in &images {
        let labels = &image.config.config.labels;
        let fits = (image.tags.is_empty() || !only_dangling)
            // What others were committed from goes with the last of them.
            && !(image.tags.is_empty() && image.digests.is_empty() && engine.images.has_children(&image.id))
            && super::users(engine, &image.id).is_empty()
            && until.is_none_or(|until| image.created < until)
            && values("label").iter().all(|label| label_fits(labels, label))
            && !values("label!").iter().any(|label| label_fits(labels, label));
        if !fits {
            continue;
        }
        let mut names = image.repo_tags();
        names.extend(image.repo_digests());
        if names.is_empty() {
            names.push(image.id.to_string());
        }
        let softly = RemoveImageRequest {
            force: false,
            no_prune: false,
        };
        for name in names {
            // One that a container began to use meanwhile is left alone; a digest may have gone with its tag.
            if let Ok(removed) = remove(engine, &name, softly).await {
                pruned.removed.extend(removed);
            }
        }
    }
    let layers = pruned.removed.iter().filter_map(|removal| match removal {
        Removal::Layer(layer) => sizes.get(layer),
        Removal::Untagged(_) | Removal::Deleted(_) => None,
    });
    pruned.reclaimed = layers.sum();
    engine.events.tell_pruned(EventKind::Image, pruned.reclaimed);
    Ok(pruned)
}
