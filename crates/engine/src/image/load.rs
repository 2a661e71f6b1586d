//! Load: images from a docker-archive or an OCI archive.

use std::sync::Arc;

use image::LoadOptions;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
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

pub use image::LoadEvent;

/// Loads every image of an archive. `report` is told how far each layer is; it does not matter whether anybody listens.
pub async fn load(
    engine: &Arc<Engine>,
    archive: impl AsyncRead + Send + Unpin + 'static,
    report: mpsc::Sender<LoadEvent>,
) -> Result<Vec<Loaded>, ImageError> {
    let worker = Arc::clone(engine);
    let archive = SyncIoBridge::new(archive);
    let all = blocking("load images", move || {
        let all = worker
            .images
            .load(
                archive,
                &LoadOptions {
                    sink: Some(&*worker.unpacker),
                    // Numbers that nobody reads in time are soon replaced by others.
                    report: &|event| drop(report.try_send(event)),
                    check: &|source| crate::policy::check_archive(&worker, source),
                },
            )
            .map_err(|error| match error {
                image::LoadError::Refused(refusal) => super::pull::remote(refusal),
                other => caller_or_step("load images", other),
            })?;
        for loaded in &all {
            super::unpack(&worker, &loaded.image)?;
        }
        worker.sync_layers_later();
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
