//! Import: a tar of a root file system becomes an image of one layer.

use std::sync::Arc;

use tokio::io::AsyncRead;

use base::error::Kinded;
use image::ImportOptions;
use oci::Reference;
use tokio_util::io::SyncIoBridge;

use super::{ImageError, blocking, step};
use crate::Engine;

/// What the new image is.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// `name[:tag]`; `None`: no name.
    pub reference: Option<String>,
    /// Dockerfile instructions (`--change`).
    pub changes: Vec<String>,
    /// The comment.
    pub message: String,
    /// `os/arch[/variant]`; `None`: this machine's.
    pub platform: Option<String>,
    /// Where the archive comes from, for the image's history.
    pub source: String,
}

/// Imports a tar archive, plain or compressed with gzip or zstd; returns the image's id (`sha256:…`).
pub async fn import(
    engine: &Arc<Engine>,
    request: ImportRequest,
    archive: impl AsyncRead + Send + Unpin + 'static,
) -> Result<String, ImageError> {
    let name = request.reference.as_deref().filter(|name| !name.is_empty());
    let name = name.map(parse_reference).transpose()?;
    let platform =
        match request
            .platform
            .as_deref()
            .filter(|platform| !platform.is_empty())
        {
            None => None,
            Some(text) => Some(text.parse().map_err(|error: oci::platform::ParsePlatformError| {
                ImageError::Invalid {
                    text: error.to_string(),
                }
            })?),
        };
    let message = if request.message.is_empty() {
        format!(
            "Imported from {}",
            if request.source.is_empty() {
                "-"
            } else {
                &request.source
            }
        )
    } else {
        request.message
    };
    let options = ImportOptions {
        name: name.clone(),
        changes: request.changes,
        message,
        platform,
    };
    crate::policy::check_archive(engine, &image::policy::Source::Tarball).map_err(super::pull::remote)?;
    let worker = Arc::clone(engine);
    let tar = SyncIoBridge::new(archive);
    let image = blocking("import an image", move || {
        let image = worker
            .images
            .import(tar, &options)
            .map_err(|error| caller_or_step("import the image", error))?;
        // At once, so that the first container starts at once.
        super::unpack(&worker, &image)?;
        Ok(image)
    })
    .await?;
    let name = name.map(|name| name.familiar());
    super::tell(engine, "import", image.id.as_str(), name.as_deref());
    Ok(image.id.to_string())
}

/// Reads a name to give.
pub(crate) fn parse_reference(text: &str) -> Result<Reference, ImageError> {
    let reference = Reference::parse(text).map_err(|error| ImageError::Invalid {
        text: base::error::chain(&error).to_string(),
    })?;
    Ok(reference.with_default_tag())
}

/// An archive or a change that is wrong is told in full; everything else is a failed step.
pub(crate) fn caller_or_step<E: Kinded + Send + Sync + 'static>(doing: &'static str, error: E) -> ImageError {
    match error.kind() {
        base::error::Kind::Invalid => ImageError::Invalid {
            text: base::error::chain(&error).to_string(),
        },
        _ => step(doing, error),
    }
}
