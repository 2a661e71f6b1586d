//! Remove an image, or one of its names.

use std::sync::Arc;

use base::error::Kinded;
use image::RemoveOptions;

use super::{ImageError, blocking, step, users};
use crate::Engine;

/// How to remove.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveImageRequest {
    /// Whether all names and stopped containers' use are ignored.
    pub force: bool,
    /// Whether unnamed parents stay.
    pub no_prune: bool,
}

/// One thing that went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A name.
    Untagged(String),
    /// An image.
    Deleted(String),
    /// A layer, by its chain id.
    Layer(String),
}

/// Removes a name, and the image with its last name; then, unless `no_prune` says otherwise, the images that it was
/// committed from and that nothing needs.
pub async fn remove(
    engine: &Arc<Engine>,
    image: &str,
    request: RemoveImageRequest,
) -> Result<Vec<Removal>, ImageError> {
    let (worker, name) = (Arc::clone(engine), image.to_owned());
    let removed = blocking("remove an image", move || {
        let options = RemoveOptions {
            force: request.force,
            prune: !request.no_prune,
        };
        if request.force {
            // A layer that a container goes on standing on must not depend on its blob any more.
            worker
                .storage
                .sync_layers()
                .map_err(|error| step("sync the layers", error))?;
        }
        let removed = worker
            .reserve
            .with_room(|| worker.images.remove(&name, &options, &|id| users(&worker, id)))
            .map_err(|error| match error.kind() {
                base::error::Kind::Conflict => ImageError::Conflict {
                    text: error.to_string(),
                },
                base::error::Kind::NotFound => ImageError::NoImage { image: name.clone() },
                base::error::Kind::Invalid => ImageError::Invalid {
                    text: base::error::chain(&error).to_string(),
                },
                _ => step("remove the image", error),
            })?;
        super::remove_layers(&worker, removed.orphaned_layers.clone());
        Ok(removed)
    })
    .await?;
    let id = removed.image.map(|id| id.to_string()).unwrap_or_default();
    let mut removals = Vec::with_capacity(removed.removals.len());
    for removal in removed.removals {
        removals.push(match removal {
            image::Removal::Untagged(name) => {
                super::tell(engine, "untag", &id, None);
                Removal::Untagged(name)
            }
            image::Removal::Image(image) => {
                super::tell(engine, "delete", image.as_str(), None);
                Removal::Deleted(image.to_string())
            }
            image::Removal::Layer(layer) => Removal::Layer(layer.to_string()),
        });
    }
    Ok(removals)
}
