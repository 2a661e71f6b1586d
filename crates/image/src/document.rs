//! From a manifest in the store to an [`Image`]: every document read with a limit, checked, and read in one way only.

use base::clock::Timestamp;
use oci::image::{Descriptor, ImageConfig, Index, Manifest};
use oci::platform::Platform;
use oci::{ChainId, Digest, media_type};

use crate::store::{Image, Layer, Store};
use content::BlobError;

/// Largest manifest and index in bytes, as registries have it.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// Largest configuration in bytes.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// Most layers of an image: what overlay can mount.
pub(crate) const MAX_LAYERS: usize = 500;
/// Deepest nesting of indexes.
pub(crate) const MAX_INDEX_DEPTH: usize = 3;

/// Why a document is no image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It cannot be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It is not the JSON that it should be.
    #[error("read document {digest}")]
    Parse {
        /// The document.
        digest: Digest,
        /// Why.
        source: serde_json::Error,
    },
    /// It is something else, or contradicts itself.
    #[error("{digest} {problem}")]
    Content {
        /// The document.
        digest: Digest,
        /// What is wrong.
        problem: String,
    },
}

fn wrong(digest: &Digest, problem: impl Into<String>) -> DocumentError {
    DocumentError::Content {
        digest: digest.clone(),
        problem: problem.into(),
    }
}

fn parse<T: serde::de::DeserializeOwned>(digest: &Digest, content: &[u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(content).map_err(|source| DocumentError::Parse {
        digest: digest.clone(),
        source,
    })
}

/// Follows a descriptor through indexes to the manifest for `platform`; `None` if an index has none for it.
pub(crate) fn find_manifest(
    store: &Store,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<Option<Descriptor>, DocumentError> {
    let mut present = descriptor.clone();
    for _ in 0..=MAX_INDEX_DEPTH {
        if media_type::is_manifest(&present.media_type) {
            return Ok(Some(present));
        }
        if !media_type::is_index(&present.media_type) {
            return Err(wrong(
                &present.digest,
                format!("has the unknown media type \"{}\"", present.media_type),
            ));
        }
        let index: Index = parse(
            &present.digest,
            &store.content.read_document(&present.digest, MAX_MANIFEST)?,
        )?;
        if index.layers.is_some() || index.config.is_some() {
            return Err(wrong(&present.digest, "is an index and a manifest at once"));
        }
        let fits = |descriptor: &&Descriptor| {
            // BuildKit's attestations are manifests for the platform "unknown".
            descriptor
                .platform
                .as_ref()
                .is_none_or(|wanted| wanted.runs_on(platform))
        };
        match index.manifests.iter().find(fits) {
            Some(next) => present = next.clone(),
            None => return Ok(None),
        }
    }
    Err(wrong(&descriptor.digest, "nests too many indexes"))
}

/// Reads a manifest and its configuration; `sizes` are the content sizes of the layers where they are known.
pub(crate) fn read_image(
    store: &Store,
    descriptor: &Descriptor,
    sizes: Option<&[u64]>,
) -> Result<Image, DocumentError> {
    let digest = &descriptor.digest;
    let manifest: Manifest = parse(digest, &store.content.read_document(digest, MAX_MANIFEST)?)?;
    if manifest.schema_version != 2 {
        return Err(wrong(digest, "is not of schema version 2"));
    }
    if manifest.manifests.is_some() {
        return Err(wrong(digest, "is a manifest and an index at once"));
    }
    if manifest
        .media_type
        .as_deref()
        .is_some_and(|own| own != descriptor.media_type)
    {
        return Err(wrong(digest, "has another media type than its descriptor says"));
    }
    if !media_type::is_config(&manifest.config.media_type) {
        return Err(wrong(
            digest,
            format!("is no image but \"{}\"", manifest.config.media_type),
        ));
    }
    let id = manifest.config.digest.clone();
    let config: ImageConfig = parse(&id, &store.content.read_document(&id, MAX_CONFIG)?)?;
    check_size(store, &manifest.config)?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let problem = format!(
            "has {} layers, its configuration {}",
            manifest.layers.len(),
            diff_ids.len()
        );
        return Err(wrong(digest, problem));
    }
    if diff_ids.len() > MAX_LAYERS {
        return Err(wrong(digest, format!("has more than {MAX_LAYERS} layers")));
    }
    let chain = ChainId::chain(diff_ids);
    let mut layers = Vec::with_capacity(chain.len());
    for (at, blob) in manifest.layers.iter().enumerate() {
        if !media_type::is_layer(&blob.media_type) {
            let problem = format!("has a layer of the unsupported type \"{}\"", blob.media_type);
            return Err(wrong(digest, problem));
        }
        check_size(store, blob)?;
        layers.push(Layer {
            diff_id: diff_ids[at].clone(),
            chain_id: chain[at].clone(),
            parent: at.checked_sub(1).map(|below| chain[below].clone()),
            blob: blob.clone(),
            size: sizes
                .and_then(|sizes| sizes.get(at).copied())
                .unwrap_or(blob.size),
        });
    }
    let created = config.created.as_deref().and_then(|text| text.parse().ok());
    Ok(Image {
        id,
        manifest: Descriptor::new(&descriptor.media_type, digest.clone(), descriptor.size),
        tags: Vec::new(),
        parent: None,
        container: None,
        digests: Vec::new(),
        created: created.unwrap_or(Timestamp::NEVER),
        size: layers.iter().map(|layer| layer.size).sum(),
        config,
        layers,
    })
}

fn check_size(store: &Store, descriptor: &Descriptor) -> Result<(), DocumentError> {
    let size = store.content.blob_size(&descriptor.digest)?;
    if size == descriptor.size {
        return Ok(());
    }
    let problem = format!("has {size} bytes, not the {} of its descriptor", descriptor.size);
    Err(wrong(&descriptor.digest, problem))
}
