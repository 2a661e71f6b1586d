//! Load: images from a docker-archive or an OCI archive.

use std::sync::Arc;

use tokio::io::AsyncRead;

use tokio_util::io::SyncIoBridge;

use super::import::caller_or_step;
use super::{ImageError, blocking};
use crate::Engine;

/// What was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The image's id (`sha256:…`).
    pub id: String,
    /// Its names in the archive; docker prints `Loaded image: NAME` for each, or `Loaded image ID: ID`.
    pub references: Vec<String>,
}

/// Loads every image of an archive.
pub async fn load(
    engine: &Arc<Engine>,
    archive: impl AsyncRead + Send + Unpin + 'static,
) -> Result<Vec<Loaded>, ImageError> {
    let worker = Arc::clone(engine);
    let archive = SyncIoBridge::new(archive);
    let all = blocking("load images", move || {
        let all = worker
            .images
            .load(archive)
            .map_err(|error| caller_or_step("load images", error))?;
        for loaded in &all {
            super::unpack(&worker, &loaded.image)?;
        }
        Ok(all)
    })
    .await?;
    let mut loaded: Vec<Loaded> = Vec::new();
    for one in all {
        let id = one.image.id.to_string();
        let name = one.name.map(|name| name.familiar());
        super::tell(engine, "load", &id, name.as_deref());
        match loaded.iter_mut().find(|known| known.id == id) {
            Some(known) => known.references.extend(name),
            None => loaded.push(Loaded {
                id,
                references: name.into_iter().collect(),
            }),
        }
    }
    Ok(loaded)
}
