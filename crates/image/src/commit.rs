//! `commit`: an image out of another one and one layer more.

use std::io::{self, Write};
use std::sync::Arc;

use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use content::{BlobError, Draft, Ingest};
use oci::image::{Descriptor, History, ImageConfig, RunConfig};
use oci::platform::Platform;
use oci::{Digest, Reference, media_type};

use crate::change::{self, ChangeError};
use crate::create::{CreateError, NewImage, NewLayer};
use crate::store::{Image, Store};

/// What the new image is, beside its layers.
#[derive(Clone, Debug)]
pub struct CommitOptions {
    /// The image below; `None`: there is none.
    pub parent: Option<Digest>,
    /// The id of the container that it is made of, if it is one.
    pub container: Option<String>,
    /// What a container of it runs, before `changes`.
    pub config: RunConfig,
    /// Dockerfile instructions (`--change`).
    pub changes: Vec<String>,
    /// Who made it.
    pub author: String,
    /// The comment.
    pub comment: String,
    /// The command that made the layer, for the history.
    pub created_by: String,
    /// The name to give.
    pub name: Option<Reference>,
}

/// Why a commit failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A change is wrong.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The image below is gone.
    #[error("No such image: {id}")]
    NoParent {
        /// The image.
        id: Digest,
    },
    /// The image could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
}

impl Kinded for CommitError {
    fn kind(&self) -> Kind {
        match self {
            Self::Change(error) => error.kind(),
            Self::NoParent { .. } => Kind::NotFound,
            Self::Create(error) => error.kind(),
        }
    }
}

/// A layer in the making: what is written is its uncompressed tar. Dropping it removes it.
#[derive(Debug)]
pub struct LayerDraft {
    draft: Draft,
    ingest: Ingest,
}

impl Write for LayerDraft {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.draft.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draft.flush()
    }
}

impl Store {
    /// Begins a layer.
    pub fn begin_layer(&self) -> Result<LayerDraft, BlobError> {
        Ok(LayerDraft {
            ingest: self.content.begin_ingest(),
            draft: self.content.draft()?,
        })
    }

    /// Makes a draft a layer; `size` is the sum of the sizes of its regular files in bytes.
    pub fn finish_layer(&self, layer: LayerDraft, size: u64) -> Result<NewLayer, BlobError> {
        let (digest, bytes) = self.content.store(layer.draft, None)?;
        Ok(NewLayer {
            blob: Descriptor::new(media_type::OCI_LAYER, digest.clone(), bytes),
            diff_id: digest,
            size,
            ingest: layer.ingest,
        })
    }

    /// Checks changes without making anything.
    pub fn check_changes(&self, changes: &[String]) -> Result<(), ChangeError> {
        change::apply(&mut RunConfig::default(), changes)
    }

    /// Makes an image of the layers of the one below and, if there is one, `layer` on top. Without it the image differs
    /// by its configuration only, as with docker.
    pub fn commit(
        &self,
        layer: Option<NewLayer>,
        options: &CommitOptions,
    ) -> Result<Arc<Image>, CommitError> {
        // From here on no layer of the image below can be removed.
        let ingest = self.content.begin_ingest();
        let parent = options
            .parent
            .as_ref()
            .map(|id| {
                self.get(id)
                    .ok_or_else(|| CommitError::NoParent { id: id.clone() })
            })
            .transpose()?;
        let mut run = options.config.clone();
        change::apply(&mut run, &options.changes)?;
        let created = Timestamp::now().to_string();
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let below = parent.as_ref().map(|parent| parent.config.clone());
        let platform = below.as_ref().map_or_else(Platform::host, ImageConfig::platform);
        let mut history = below.map(|below| below.history).unwrap_or_default();
        history.push(History {
            created: Some(created.clone()),
            created_by: text(&options.created_by),
            author: text(&options.author),
            comment: text(&options.comment),
            empty_layer: layer.is_none(),
        });
        let layers = parent.iter().flat_map(|parent| &parent.layers);
        let mut layers: Vec<NewLayer> = layers
            .map(|layer| NewLayer {
                blob: layer.blob.clone(),
                diff_id: layer.diff_id.clone(),
                size: layer.size,
                ingest: ingest.clone(),
            })
            .collect();
        layers.extend(layer);
        let image = self.create(NewImage {
            config: ImageConfig {
                architecture: platform.architecture,
                os: platform.os,
                variant: platform.variant,
                created: Some(created),
                author: text(&options.author),
                comment: text(&options.comment),
                config: run,
                history,
                ..ImageConfig::default()
            },
            layers,
            names: options.name.iter().cloned().collect(),
        })?;
        let (parent, container) = (options.parent.as_ref(), options.container.as_deref());
        if parent.is_none() && container.is_none() {
            return Ok(image);
        }
        Ok(self
            .set_origin(&image.id, parent, container)
            .map_err(CreateError::from)?)
    }
}
