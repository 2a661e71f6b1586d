//! Images: brought in without a registry, listed, named, removed.

mod copy;
mod distribution;
mod history;
mod import;
mod inspect;
mod list;
mod load;
mod pack;
mod prune;
mod pull;
mod push;
mod remove;
mod save;
mod search;
mod tag;
mod unpack;

pub use copy::{ImageBlobs, blobs, missing};
pub use distribution::{Distribution, distribution};
pub use history::{HistoryEntry, history};
pub use image::pull::LayerState;
pub use import::{ImportRequest, import};
pub use inspect::{ImageConfig, ImageDetails, inspect};
pub use list::{ImageListRequest, ImageSummary, list};
pub use load::{LoadEvent, Loaded, load};
pub use pack::{PackRequest, pack};
pub use prune::{ImagePruneRequest, ImagesPruned, prune};
pub use pull::{PullProgress, PullRequest, pull};
pub use push::{PushProgress, PushRequest, PushState, push};
pub use remove::{Removal, RemoveImageRequest, remove};
pub use save::{SaveOptions, save};
pub use search::{SearchRequest, SearchResult, search};
pub use tag::tag;

pub(crate) use import::parse_reference;
pub(crate) use list::summarize;
pub(crate) use pull::remote;
pub(crate) use unpack::{
    Pins, Unpacker, ensure_layers, remove_layers, remove_left_layers, restore_lost_layers, unpack,
};

use std::sync::Arc;

use crate::Engine;
use crate::system::FilterError;
use base::error::{Kind, Kinded};
use image::{Image, ImageUser};
use oci::{Digest, Reference};

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
    /// A registry refuses, is not there, or sent something wrong.
    #[error("{text}")]
    Remote {
        /// docker's text where it has one.
        text: String,
        /// What kind of failure it is.
        kind: Kind,
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
            Self::Remote { kind, .. } | Self::Step { kind, .. } => *kind,
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

/// Tells what happened to an image.
pub(crate) fn tell(engine: &Engine, action: &str, id: &str, name: Option<&str>) {
    let name = name.unwrap_or(id).to_owned();
    let attributes = std::collections::BTreeMap::from([("name".to_owned(), name)]);
    engine
        .events
        .tell(crate::system::EventKind::Image, action, id, attributes);
}
