//! Images: brought in without a registry, listed, named, removed.

mod history;
mod import;
mod inspect;
mod list;
mod load;
mod pack;
mod prune;
mod remove;
mod save;
mod tag;

pub use history::{HistoryEntry, history};
pub use import::{ImportRequest, import};
pub use inspect::{ImageConfig, ImageDetails, inspect};
pub use list::{ImageListRequest, ImageSummary, list};
pub use load::{Loaded, load};
pub use pack::{PackRequest, pack};
pub use prune::{ImagePruneRequest, ImagesPruned, prune};
pub use remove::{Removal, RemoveImageRequest, remove};
pub use save::save;
pub use tag::tag;

pub(crate) use import::parse_reference;
pub(crate) use list::summarize;

use std::sync::Arc;

use base::error::{Kind, Kinded};
use image::{Image, ImageUser};
use oci::{Digest, Reference};
use storage::LayerSource;

use crate::Engine;
use crate::system::FilterError;

/// An image operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image is not here.
    #[error("No such image: {image}")]
    NoImage {
        /// What was asked for.
        image: String,
    },
    /// Another object is in the way; docker's text.
    #[error("{text}")]
    Conflict {
        /// docker's text.
        text: String,
    },
    /// The request, or the archive, is wrong.
    #[error("{text}")]
    Invalid {
        /// What is wrong with it.
        text: String,
    },
    /// A step failed.
    #[error("{doing}")]
    Step {
        /// What was being done.
        doing: &'static str,
        /// What kind of failure it is.
        kind: Kind,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Kinded for ImageError {
    fn kind(&self) -> Kind {
        match self {
            Self::NoImage { .. } => Kind::NotFound,
            Self::Conflict { .. } => Kind::Conflict,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Step { kind, .. } => *kind,
        }
    }
}

impl From<FilterError> for ImageError {
    fn from(error: FilterError) -> Self {
        Self::Invalid {
            text: error.to_string(),
        }
    }
}

/// Returns the error of a step of another crate: its own kind, and its text where the caller is to blame.
pub(crate) fn step<E>(doing: &'static str, error: E) -> ImageError
where
    E: Kinded + Send + Sync + 'static,
{
    ImageError::Step {
        doing,
        kind: error.kind(),
        source: Box::new(error),
    }
}

/// Runs blocking work on another thread.
pub(crate) async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(ImageError::Step {
            doing,
            kind: Kind::Internal,
            source: Box::new(error),
        })
    })
}

/// Finds an image.
pub(crate) fn find(engine: &Engine, name: &str) -> Result<Arc<Image>, ImageError> {
    engine.images.resolve(name).map_err(|error| match error.kind() {
        Kind::NotFound => ImageError::NoImage {
            image: full_name(name),
        },
        _ => ImageError::Invalid {
            text: base::error::chain(&error).to_string(),
        },
    })
}

/// Returns a name with its default tag, as docker's errors show it.
pub(crate) fn full_name(name: &str) -> String {
    let full = Reference::parse(name).map(|reference| reference.with_default_tag().familiar());
    full.unwrap_or_else(|_not_a_name| name.chars().take(256).collect())
}

/// Returns the containers made from an image.
pub(crate) fn users(engine: &Engine, id: &Digest) -> Vec<ImageUser> {
    let users = engine
        .registry
        .all()
        .into_iter()
        .map(|container| container.view());
    users
        .filter(|view| view.image_id == id.as_str())
        .map(|view| ImageUser {
            container: view.id.clone(),
            running: view.status.is_running(),
        })
        .collect()
}

/// Unpacks what of an image's layers is not unpacked yet.
pub(crate) async fn ensure_layers(engine: &Arc<Engine>, image: &Arc<Image>) -> Result<(), ImageError> {
    // The usual case without another thread: the topmost layer is there, so all below it are.
    let top = image.layers.last();
    if top.is_none_or(|layer| engine.storage.has_layer(&layer.chain_id).unwrap_or(false)) {
        return Ok(());
    }
    let (engine, image) = (Arc::clone(engine), Arc::clone(image));
    blocking("unpack the image", move || unpack(&engine, &image)).await
}

/// As [`ensure_layers`], on the calling thread.
pub(crate) fn unpack(engine: &Engine, image: &Image) -> Result<(), ImageError> {
    for layer in &image.layers {
        if engine
            .storage
            .has_layer(&layer.chain_id)
            .map_err(|error| step("look for a layer", error))?
        {
            continue;
        }
        let tar = engine
            .images
            .open_layer(layer)
            .map_err(|error| step("open a layer", error))?;
        let source = LayerSource {
            chain_id: &layer.chain_id,
            parent: layer.parent.as_ref(),
            diff_id: &layer.diff_id,
        };
        storage::add_layer(&*engine.storage, &source, tar).map_err(|error| step("unpack a layer", error))?;
    }
    Ok(())
}

/// Removes unpacked layers that no image has any more, except those that a container stands on.
pub(crate) fn remove_layers(engine: &Engine, layers: Vec<oci::ChainId>) {
    let used: std::collections::BTreeSet<oci::ChainId> = engine
        .registry
        .all()
        .iter()
        .flat_map(|container| container.record().layers.clone())
        .collect();
    for layer in layers.into_iter().filter(|layer| !used.contains(layer)) {
        if let Err(error) = engine.storage.remove_layer(&layer) {
            tracing::warn!(%layer, error = %base::error::chain(&error), "a layer could not be removed");
        }
    }
}

/// Tells what happened to an image.
pub(crate) fn tell(engine: &Engine, action: &str, id: &str, name: Option<&str>) {
    let name = name.unwrap_or(id).to_owned();
    let attributes = std::collections::BTreeMap::from([("name".to_owned(), name)]);
    engine
        .events
        .tell(crate::system::EventKind::Image, action, id, attributes);
}
