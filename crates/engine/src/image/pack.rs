//! Pack: an image out of programs of this host.

use std::path::PathBuf;
use std::sync::Arc;

use image::PackOptions;

use super::import::{caller_or_step, parse_reference};
use super::{ImageError, blocking};
use crate::Engine;

/// What to pack.
#[derive(Clone, Debug)]
pub struct PackRequest {
    /// `name[:tag]`.
    pub reference: String,
    /// Absolute paths of programs; the libraries that they need come along.
    pub programs: Vec<PathBuf>,
    /// Dockerfile instructions (`--change`).
    pub changes: Vec<String>,
}

/// Makes an image of programs, the libraries that their ELF headers need, the loader and a minimal /etc; returns its id.
pub async fn pack(engine: &Arc<Engine>, request: PackRequest) -> Result<String, ImageError> {
    let name = parse_reference(&request.reference)?;
    if !request.changes.is_empty() {
        return Err(ImageError::Invalid {
            text: "--change with image pack is not supported by this version of Berth".to_owned(),
        });
    }
    let options = PackOptions {
        name: name.clone(),
        programs: request.programs,
    };
    let worker = Arc::clone(engine);
    let image = blocking("pack an image", move || {
        let image = worker
            .images
            .pack(&options)
            .map_err(|error| caller_or_step("pack the image", error))?;
        super::unpack(&worker, &image)?;
        Ok(image)
    })
    .await?;
    super::tell(engine, "import", image.id.as_str(), Some(&name.familiar()));
    Ok(image.id.to_string())
}
