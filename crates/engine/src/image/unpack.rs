//! Unpacked layers of images: made where they are missing, kept as long as somebody needs them, removed with the last.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use image::{Image, LayerSink, Pin, SinkError, StagedLayer};
use oci::{ChainId, Digest};
use storage::{Driver, LayerSource, StorageError, Unpacked};

use super::{ImageError, blocking, step};
use crate::Engine;

/// Layers that somebody is about to need, though no image has them yet: they are not removed.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<HashMap<ChainId, usize>>);

/// Keeps layers until it is dropped.
#[derive(Debug)]
struct Pinned {
    pins: Arc<Pins>,
    layers: Vec<ChainId>,
}

impl Pin for Pinned {}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = self.pins.lock();
        for layer in &self.layers {
            if let Some(count) = pins.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(layer);
                }
            }
        }
    }
}

impl Pins {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ChainId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unpacks layers of images into the storage.
#[derive(Debug)]
pub(crate) struct Unpacker {
    storage: Arc<dyn Driver>,
    pins: Arc<Pins>,
}

impl Unpacker {
    pub(crate) fn new(storage: Arc<dyn Driver>, pins: Arc<Pins>) -> Self {
        Self { storage, pins }
    }
}

impl LayerSink for Unpacker {
    fn pin(&self, layers: &[ChainId]) -> Box<dyn Pin> {
        let mut pins = self.pins.lock();
        for layer in layers {
            *pins.entry(layer.clone()).or_default() += 1;
        }
        drop(pins);
        Box::new(Pinned {
            pins: Arc::clone(&self.pins),
            layers: layers.to_vec(),
        })
    }

    fn present(&self, layer: &ChainId) -> Result<Option<u64>, SinkError> {
        if !self.storage.has_layer(layer).map_err(SinkError::new)? {
            return Ok(None);
        }
        match self.storage.layer(layer) {
            Ok(facts) => Ok(Some(facts.size)),
            // It is unpacked again, and takes the place of what is damaged.
            Err(StorageError::Damaged { .. } | StorageError::NoLayer { .. }) => Ok(None),
            Err(error) => Err(SinkError::new(error)),
        }
    }

    fn needs_parent(&self) -> bool {
        self.storage.needs_parent()
    }

    fn unpack(
        &self,
        parent: Option<&ChainId>,
        label: &Digest,
        known: Option<&Digest>,
        tar: &mut (dyn Read + Send),
    ) -> Result<Box<dyn StagedLayer>, SinkError> {
        let parent = parent.filter(|_| self.storage.needs_parent());
        let unpacked =
            storage::unpack_layer(&*self.storage, parent, label, known, tar).map_err(SinkError::new)?;
        Ok(Box::new(Staged {
            storage: Arc::clone(&self.storage),
            unpacked,
        }))
    }
}

/// A layer that nobody sees yet.
#[derive(Debug)]
struct Staged {
    storage: Arc<dyn Driver>,
    unpacked: Unpacked,
}

impl StagedLayer for Staged {
    fn diff_id(&self) -> &Digest {
        &self.unpacked.summary().diff_id
    }

    fn size(&self) -> u64 {
        self.unpacked.summary().content_bytes
    }

    fn show(
        self: Box<Self>,
        layer: &ChainId,
        parent: Option<&ChainId>,
        diff_id: &Digest,
    ) -> Result<(), SinkError> {
        let source = LayerSource {
            chain_id: layer,
            parent,
            diff_id,
        };
        let shown = self.unpacked.show(&*self.storage, &source);
        shown.map(drop).map_err(SinkError::new)
    }
}

/// Unpacks what of an image's layers is not unpacked yet.
pub(crate) async fn ensure_layers(engine: &Arc<Engine>, image: &Arc<Image>) -> Result<(), ImageError> {
    // The usual case without another thread.
    let is_there = |layer: &image::Layer| engine.storage.has_layer(&layer.chain_id).unwrap_or(false);
    if image.layers.iter().all(is_there) {
        return Ok(());
    }
    let (engine, image) = (Arc::clone(engine), Arc::clone(image));
    blocking("unpack the image", move || unpack(&engine, &image)).await
}

/// As [`ensure_layers`], on the calling thread.
pub(crate) fn unpack(engine: &Arc<Engine>, image: &Image) -> Result<(), ImageError> {
    let mut is_new = false;
    for layer in &image.layers {
        if engine
            .storage
            .has_layer(&layer.chain_id)
            .map_err(|error| step("look for a layer", error))?
        {
            continue;
        }
        let tar = engine
            .images
            .open_layer(layer)
            .map_err(|error| step("open a layer", error))?;
        let source = LayerSource {
            chain_id: &layer.chain_id,
            parent: layer.parent.as_ref(),
            diff_id: &layer.diff_id,
        };
        storage::add_layer(&*engine.storage, &source, tar).map_err(|error| step("unpack a layer", error))?;
        is_new = true;
    }
    if is_new {
        engine.sync_layers_later();
    }
    Ok(())
}

/// Unpacks again what a power cut took before it was on the disk. What cannot be is told when it is needed.
pub(crate) async fn restore_lost_layers(engine: &Arc<Engine>) {
    let lost: BTreeSet<ChainId> = engine.storage.take_lost().into_iter().collect();
    // Those of a daemon that was killed.
    engine.sync_layers_later();
    if lost.is_empty() {
        return;
    }
    for image in engine.images.list() {
        if !image.layers.iter().any(|layer| lost.contains(&layer.chain_id)) {
            continue;
        }
        if let Err(error) = ensure_layers(engine, &image).await {
            tracing::warn!(image = %image.id, error = %base::error::chain(&error), "an image could not be unpacked again");
        }
    }
}

/// Removes the layers that pulls left which were given up, when nobody waits for it.
pub(crate) fn remove_left_layers(engine: &Arc<Engine>) {
    let worker = Arc::clone(engine);
    engine.defer(move || match worker.storage.layers() {
        Ok(layers) => remove_layers(&worker, layers),
        Err(error) => {
            tracing::warn!(error = %base::error::chain(&error), "the layers could not be listed");
        }
    });
}

/// Removes unpacked layers that no image has any more, except those that a container stands on, or that somebody is about
/// to need.
pub(crate) fn remove_layers(engine: &Engine, layers: Vec<ChainId>) {
    let used: BTreeSet<ChainId> = engine
        .registry
        .all()
        .iter()
        .flat_map(|container| container.record().layers.clone())
        .collect();
    for layer in layers.into_iter().filter(|layer| !used.contains(layer)) {
        // Held while it goes, so that nobody counts on a layer that is just going.
        let pins = engine.pins.lock();
        let is_of_image = |image: &Arc<Image>| image.layers.iter().any(|own| own.chain_id == layer);
        if pins.contains_key(&layer) || engine.images.list().iter().any(is_of_image) {
            continue;
        }
        if let Err(error) = engine.storage.remove_layer(&layer) {
            tracing::warn!(%layer, error = %base::error::chain(&error), "a layer could not be removed");
        }
    }
}
