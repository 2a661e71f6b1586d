//! Save: images as an archive that docker and OCI tools load.

use std::sync::Arc;

pub use image::SaveOptions;
use tokio::io::AsyncRead;

use tokio_util::io::SyncIoBridge;

use super::{ImageError, find};
use crate::Engine;

/// Bytes that wait for a slow client.
const BUFFER: usize = 256 << 10;

/// Returns an archive of the named images. A failure after the first byte shows as a truncated archive.
pub async fn save(
    engine: &Arc<Engine>,
    options: SaveOptions,
) -> Result<Box<dyn AsyncRead + Send + Unpin>, ImageError> {
    for name in &options.names {
        let image = find(engine, name)?;
        super::tell(engine, "save", image.id.as_str(), Some(name));
    }
    let (reader, writer) = tokio::io::duplex(BUFFER);
    let worker = Arc::clone(engine);
    let writer = SyncIoBridge::new(writer);
    drop(tokio::task::spawn_blocking(move || {
        if let Err(error) = worker.images.save(&options, writer) {
            tracing::warn!(error = %base::error::chain(&error), "an archive was not written to its end");
        }
    }));
    Ok(Box::new(reader))
}
