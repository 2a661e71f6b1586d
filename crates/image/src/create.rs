//! Makes an image out of a configuration and layers that are blobs already, or of a new layer.

use std::io::{self, Read, Write};
use std::sync::Arc;

use archive::{Compression, Limits};
use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use oci::image::{Descriptor, ImageConfig, Manifest};
use oci::{Digest, Reference, media_type};

use crate::document::{self, DocumentError};
use crate::store::{Image, Store};
use content::{BlobError, Draft, Ingest};

/// An image to be.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// The configuration; its `rootfs` is filled in from `layers`.
    pub config: ImageConfig,
    /// All layers, lowest first.
    pub layers: Vec<NewLayer>,
    /// Names to give; they are taken from other images.
    pub names: Vec<Reference>,
}

/// A layer whose blob is in the store.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// The blob.
    pub blob: Descriptor,
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The sum of the sizes of its regular files in bytes.
    pub size: u64,
    /// Keeps the blob until an image has it.
    #[expect(dead_code, reason = "held for its destructor")]
    pub(crate) ingest: Ingest,
}

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The layer's tar is wrong.
    #[error("read layer")]
    Layer(#[from] archive::ReadError),
    /// A blob could not be stored.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A document could not be written.
    #[error("encode image document")]
    Encode(#[source] serde_json::Error),
    /// The documents are not those of an image.
    #[error("{problem}")]
    Content {
        /// What is wrong.
        problem: String,
    },
    /// The index could not be written.
    #[error(transparent)]
    File(#[from] base::file::FileError),
}

impl From<DocumentError> for CreateError {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Blob(error) => Self::Blob(error),
            other => Self::Content {
                problem: base::error::chain(&other).to_string(),
            },
        }
    }
}

impl Kinded for CreateError {
    fn kind(&self) -> Kind {
        match self {
            Self::Layer(error) => error.kind(),
            Self::Content { .. } => Kind::Invalid,
            Self::Blob(error) => error.kind(),
            Self::Encode(_) => Kind::Internal,
            Self::File(error) => error.kind(),
        }
    }
}

impl Store {
    /// Stores a layer's tar (plain, gzip or zstd, kept as it comes) and checks that it is one.
    pub fn add_layer(&self, tar: impl Read) -> Result<NewLayer, CreateError> {
        let ingest = self.content.begin_ingest();
        let mut tee = Tee {
            reader: tar,
            draft: self.content.draft()?,
        };
        let summary = archive::inspect(&mut tee, &Limits::LAYER)?;
        // What follows the compressed stream belongs to the blob as well.
        io::copy(&mut tee, &mut io::sink()).map_err(|source| BlobError::Step {
            doing: "read",
            source,
        })?;
        let (digest, size) = self.content.store(tee.draft, None)?;
        Ok(NewLayer {
            blob: Descriptor::new(layer_type(summary.compression), digest, size),
            diff_id: summary.diff_id,
            size: summary.content_bytes,
            ingest,
        })
    }

    /// Makes an image.
    pub fn create(&self, image: NewImage) -> Result<Arc<Image>, CreateError> {
        let _ingest = self.content.begin_ingest();
        let mut config = image.config;
        config.rootfs.kind = "layers".to_owned();
        config.rootfs.diff_ids = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let text = serde_json::to_vec(&config).map_err(CreateError::Encode)?;
        let config = self.content.store_document(media_type::OCI_CONFIG, &text)?;
        self.create_from(config, &image.layers, &image.names)
    }

    /// Makes an image out of a configuration that is a blob already.
    pub(crate) fn create_from(
        &self,
        config: Descriptor,
        layers: &[NewLayer],
        names: &[Reference],
    ) -> Result<Arc<Image>, CreateError> {
        let _ingest = self.content.begin_ingest();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            config,
            layers: layers.iter().map(|layer| layer.blob.clone()).collect(),
            annotations: std::collections::BTreeMap::new(),
            manifests: None,
        };
        let text = serde_json::to_vec(&manifest).map_err(CreateError::Encode)?;
        let manifest = self.content.store_document(media_type::OCI_MANIFEST, &text)?;
        let sizes: Vec<u64> = layers.iter().map(|layer| layer.size).collect();
        self.adopt(&manifest, &sizes, names)
    }

    /// Makes the manifest in the store an image with these names, which may have tags or digests; one that is there
    /// already keeps its others.
    pub(crate) fn adopt(
        &self,
        manifest: &Descriptor,
        sizes: &[u64],
        names: &[Reference],
    ) -> Result<Arc<Image>, CreateError> {
        let image = document::read_image(self, manifest, Some(sizes))?;
        let id = image.id.clone();
        let mut state = self.lock();
        let mut changed = state.clone();
        let present = changed
            .images
            .entry(id.clone())
            .or_insert_with(|| Arc::new(image))
            .clone();
        let now = Timestamp::now();
        for name in names {
            if name.digest().is_some() {
                changed.set_digest(&id, name);
            } else {
                changed.set_tag(&id, &name.clone().with_default_tag(), now);
            }
        }
        let made = changed.images.get(&id).cloned().unwrap_or(present);
        self.replace(&mut state, changed)?;
        Ok(made)
    }
}

/// Reads from one end and stores what was read.
struct Tee<R> {
    reader: R,
    draft: Draft,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.draft.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// Returns the media type of a layer.
pub(crate) fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Plain => media_type::OCI_LAYER,
        Compression::Gzip => media_type::OCI_LAYER_GZIP,
        Compression::Zstd => media_type::OCI_LAYER_ZSTD,
    }
}
