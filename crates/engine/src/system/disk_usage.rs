//! Disk usage.

use std::collections::BTreeMap;
use std::sync::Arc;

use image::Image;
use oci::ChainId;

use crate::Engine;
use crate::container::{Summary, sizes, summarize};
use crate::image::{ImageError, ImageSummary, blocking, summarize as summarize_image};
use crate::volume::{VolumeDetails, details, tree_size};

/// What uses the disk.
#[derive(Clone, Debug, Default)]
pub struct DiskUsage {
    /// Bytes of all layers.
    pub layers: u64,
    /// Images with the bytes of those of their layers that other images have as well.
    pub images: Vec<(ImageSummary, u64)>,
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
    let volumes = blocking("count what uses the disk", move || {
        let volumes = worker.volumes.list().into_iter().map(|volume| {
            let size = tree_size(&worker.volumes.mountpoint(&volume.name));
            (details(&worker, volume), size)
        });
        Ok(volumes.collect())
    })
    .await?;
    let mut layers: BTreeMap<&ChainId, (u64, usize)> = BTreeMap::new();
    for layer in images.iter().flat_map(|image| &image.layers) {
        let known = layers.entry(&layer.chain_id).or_insert((layer.size, 0));
        known.1 += 1;
    }
    let shared = |image: &Image| {
        let of_several = |layer: &&image::Layer| layers.get(&layer.chain_id).is_some_and(|known| known.1 > 1);
        image
            .layers
            .iter()
            .filter(of_several)
            .map(|layer| layer.size)
            .sum()
    };
    Ok(DiskUsage {
        layers: layers.values().map(|(size, _)| size).sum(),
        images: images
            .iter()
            // As in the list: what lies between named images is not shown.
            .filter(|image| {
                !(image.tags.is_empty() && image.digests.is_empty() && engine.images.has_children(&image.id))
            })
            .map(|image| (summarize_image(engine, image), shared(image)))
            .collect(),
        containers,
        volumes,
    })
}
