//! Copy: what another daemon must know to send or take an image without what is there already.

use std::sync::Arc;

use base::error::Kinded;
pub use image::ImageBlobs;
use oci::Digest;

use super::{ImageError, blocking, find, step};
use crate::Engine;

/// Lists the blobs of an image.
pub async fn blobs(engine: &Arc<Engine>, name: &str) -> Result<ImageBlobs, ImageError> {
    // With the error of every other call.
    let found = find(engine, name)?;
    engine
        .images
        .blobs_of(found.id.as_str())
        .map_err(|error| match error.kind() {
            base::error::Kind::NotFound => ImageError::NoImage {
                image: super::full_name(name),
            },
            _ => step("list the blobs of an image", error),
        })
}

/// Returns which blobs of an image with the manifest `manifest` are not here; those that are stay until it is loaded.
pub async fn missing(
    engine: &Arc<Engine>,
    manifest: Digest,
    blobs: Vec<Digest>,
) -> Result<Vec<Digest>, ImageError> {
    let engine = Arc::clone(engine);
    blocking("look for blobs", move || {
        engine
            .images
            .missing(&manifest, &blobs)
            .map_err(|error| step("look for blobs", error))
    })
    .await
}
