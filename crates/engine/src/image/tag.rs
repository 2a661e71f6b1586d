//! Tag: another name for an image.

use std::sync::Arc;

use base::error::Kinded;

use super::import::parse_reference;
use super::{ImageError, find, step};
use crate::Engine;

/// Gives `image` the name `reference` (`name[:tag]`), taking it from the image that had it.
pub async fn tag(engine: &Arc<Engine>, image: &str, reference: &str) -> Result<(), ImageError> {
    let reference = parse_reference(reference)?;
    let found = find(engine, image)?;
    engine
        .images
        .tag(image, &reference)
        .map_err(|error| match error.kind() {
            base::error::Kind::Invalid => ImageError::Invalid {
                text: error.to_string(),
            },
            _ => step("tag the image", error),
        })?;
    super::tell(engine, "tag", found.id.as_str(), Some(&reference.familiar()));
    Ok(())
}
