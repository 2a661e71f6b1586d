//! Layers that are here only as plain tars are compressed when their image first leaves, once.
//!
//! `import`, `commit`, `pack` and the load of a docker-archive keep a layer's tar as it comes. Registries want it small.
//! The compressed blob takes the tar's place: the image gets a manifest with the compressed layers and keeps its id,
//! which is that of its configuration. A manifest that was made elsewhere is never touched.

use std::io::{self, BufReader, Write};
use std::sync::{Arc, Mutex, PoisonError};

use base::error::{Kind, Kinded};
use content::{BlobError, Ingest};
use oci::image::{Descriptor, Manifest};
use oci::{Digest, media_type};

use crate::document::{self, MAX_MANIFEST};
use crate::store::{Image, Layer, Store};

/// Why layers could not be compressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// A blob could not be read or stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A layer could not be read, or its compressed form not be written.
    #[error("compress layer {diff_id}")]
    Copy {
        /// The layer.
        diff_id: Digest,
        /// Why.
        source: io::Error,
    },
    /// The manifest could not be written.
    #[error("encode image document")]
    Encode(#[source] serde_json::Error),
    /// The image's documents are damaged.
    #[error("{problem}")]
    Damaged {
        /// How.
        problem: String,
    },
    /// The index could not be written.
    #[error(transparent)]
    File(#[from] base::file::FileError),
}

impl Kinded for CompressError {
    fn kind(&self) -> Kind {
        match self {
            Self::Blob(error) => error.kind(),
            Self::Copy { source, .. } => base::error::kind_of_io(source),
            Self::Encode(_) | Self::Damaged { .. } => Kind::Internal,
            Self::File(error) => error.kind(),
        }
    }
}

/// One layer is compressed at a time, on all cores.
static COMPRESSING: Mutex<()> = Mutex::new(());

/// The compressed blob of a layer, kept until an image has it.
#[derive(Clone, Debug)]
pub(crate) struct Compressed {
    pub(crate) blob: Descriptor,
    #[expect(dead_code, reason = "held for its destructor")]
    ingest: Ingest,
}

/// Returns the manifest if layers of it may be compressed: it was made here, and some layer is a plain tar.
pub(crate) fn own_manifest(store: &Store, image: &Image) -> Result<Option<Manifest>, BlobError> {
    if !image.layers.iter().any(is_plain) || !image.repo_digests().is_empty() {
        return Ok(None);
    }
    let text = store
        .content
        .read_document(&image.manifest.digest, MAX_MANIFEST)?;
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else {
        return Ok(None);
    };
    // What was written elsewhere is not, to the byte, what this program writes.
    let is_own = serde_json::to_vec(&manifest).is_ok_and(|own| own == text);
    Ok(is_own.then_some(manifest))
}

/// Returns whether the layer's blob is an uncompressed tar.
pub(crate) fn is_plain(layer: &Layer) -> bool {
    matches!(
        layer.blob.media_type.as_str(),
        media_type::OCI_LAYER | media_type::DOCKER_LAYER
    )
}

/// Returns the compressed blob of a plain layer: one that another image has, or a new one.
pub(crate) fn compress_layer(store: &Store, layer: &Layer) -> Result<Compressed, CompressError> {
    let _one = COMPRESSING.lock().unwrap_or_else(PoisonError::into_inner);
    let ingest = store.content.begin_ingest();
    let known = store
        .lock()
        .images
        .values()
        .flat_map(|image| &image.layers)
        .find(|other| other.diff_id == layer.diff_id && other.blob.media_type == media_type::OCI_LAYER_GZIP)
        .map(|other| other.blob.clone());
    if let Some(blob) = known.filter(|blob| store.content.has_blob(&blob.digest)) {
        return Ok(Compressed { blob, ingest });
    }
    let failed = |source| CompressError::Copy {
        diff_id: layer.diff_id.clone(),
        source,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut content = oci::digest::HashReader::new(store.content.reader(&layer.blob.digest)?);
    let mut draft = io::BufWriter::with_capacity(1 << 20, store.content.draft()?);
    archive::compress_gzip(
        BufReader::with_capacity(1 << 20, &mut content),
        &mut draft,
        threads,
    )
    .map_err(failed)?;
    draft.flush().map_err(failed)?;
    // What leaves must be what its configuration says it is.
    let (_, actual, _) = content.finish();
    if actual != layer.diff_id {
        return Err(BlobError::Mismatch {
            expected: layer.diff_id.clone(),
            actual,
        }
        .into());
    }
    let draft = draft.into_inner().map_err(|error| failed(error.into_error()))?;
    let (digest, size) = store.content.store(draft, None)?;
    Ok(Compressed {
        blob: Descriptor::new(media_type::OCI_LAYER_GZIP, digest, size),
        ingest,
    })
}

/// Gives the image a manifest with these blobs for its layers, lowest first, and returns it as it is now.
pub(crate) fn remember(
    store: &Store,
    image: &Image,
    mut manifest: Manifest,
    blobs: Vec<Descriptor>,
) -> Result<Arc<Image>, CompressError> {
    let _ingest = store.content.begin_ingest();
    manifest.layers = blobs;
    let text = serde_json::to_vec(&manifest).map_err(CompressError::Encode)?;
    let descriptor = store.content.store_document(&image.manifest.media_type, &text)?;
    let sizes: Vec<u64> = image.layers.iter().map(|layer| layer.size).collect();
    let fresh =
        document::read_image(store, &descriptor, Some(&sizes)).map_err(|error| CompressError::Damaged {
            problem: base::error::chain(&error).to_string(),
        })?;
    let mut state = store.lock();
    let mut changed = state.clone();
    let Some(present) = changed.images.get_mut(&image.id) else {
        // Removed meanwhile: what was made is good for this push only.
        return Ok(Arc::new(fresh));
    };
    let mut replaced = Image::clone(present);
    replaced.manifest = fresh.manifest;
    replaced.layers = fresh.layers;
    *present = Arc::new(replaced);
    let made = Arc::clone(present);
    store.replace(&mut state, changed)?;
    Ok(made)
}
