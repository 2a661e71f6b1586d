//! Disk usage.

use std::sync::Arc;

use crate::Engine;
use crate::container::{Summary, sizes, summarize};
use crate::image::{ImageError, ImageSummary, blocking, summarize as summarize_image};
use crate::volume::{VolumeDetails, details, tree_size};

/// What uses the disk.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    /// Bytes of all layers.
    pub layers: u64,
    /// Images.
    pub images: Vec<ImageSummary>,
    /// Containers, with sizes.
    pub containers: Vec<Summary>,
    /// Volumes with their bytes.
    pub volumes: Vec<(VolumeDetails, u64)>,
}

/// Counts what uses the disk; takes a walk.
pub async fn disk_usage(engine: &Arc<Engine>) -> Result<DiskUsage, ImageError> {
    let images = engine.images.list();
    let mut containers = Vec::new();
    for container in engine.registry.all() {
        let (own, all) = sizes(engine, &container).await;
        containers.push(summarize(&container, own, all));
    }
    let worker = Arc::clone(engine);
    let (layers, volumes) = blocking("count what uses the disk", move || {
        let layers = worker.storage.layers().unwrap_or_default();
        let layers = layers
            .iter()
            .filter_map(|layer| worker.storage.layer(layer).ok())
            .map(|facts| facts.size)
            .sum();
        let volumes = worker.volumes.list().into_iter().map(|volume| {
            let size = tree_size(&worker.volumes.mountpoint(&volume.name));
            (details(&worker, volume), size)
        });
        Ok((layers, volumes.collect()))
    })
    .await?;
    Ok(DiskUsage {
        layers,
        images: images
            .iter()
            .map(|image| summarize_image(engine, image))
            .collect(),
        containers,
        volumes,
    })
}
