//! The store: an OCI image layout on disk, and the view of it that is kept in memory.
//!
//! ```text
//! <data root>/content/
//!   oci-layout             the layout's version
//!   index.json             every image: one descriptor per name, or one without a name. The only truth about names
//!   index.copy.json        the same, for the case that the file is damaged
//!   signatures/            what is known of images' signatures (see `policy`)
//!   blobs/sha256/<hex>     manifests, configurations and layers: complete, verified, synced
//!   ingest/<random>        blobs in the making; whatever is here at start is thrown away
//! ```
//!
//! A change is written to `index.json` first, atomically and synced, and only then shown in memory. Blobs that no image
//! needs are removed when nobody is storing any (see `content`), at the latest at the next start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use base::file::FileError;
use content::{BlobError, Content, Reader as LayerReader};
use oci::image::{Descriptor, ImageConfig};
use oci::{ChainId, Digest, Reference};

use crate::index;

/// The images of one data root. Cheap to share (`Arc<Store>`); all methods block and may be called from many threads.
#[derive(Debug)]
pub struct Store {
    pub(crate) content: Content,
    state: Mutex<State>,
}

/// All images, and what is in the index but is none.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) images: BTreeMap<Digest, Arc<Image>>,
    /// Descriptors of damaged images, kept in the index as they are.
    pub(crate) damaged: Vec<Descriptor>,
}

/// An image as it was when it was asked for.
#[derive(Clone, Debug)]
pub struct Image {
    /// The image's id: the digest of its configuration.
    pub id: Digest,
    /// The manifest.
    pub manifest: Descriptor,
    /// Its names, sorted; none for a dangling image.
    pub tags: Vec<Tag>,
    /// Repositories that it came from or went to, each with the digest that it has there, sorted: the manifest's, or that
    /// of an index that names it.
    pub digests: Vec<Reference>,
    /// The image that it was committed from, as long as that is here.
    pub parent: Option<Digest>,
    /// The id of the container that it was committed from here.
    pub container: Option<String>,
    /// When it was made.
    pub created: Timestamp,
    /// Its configuration.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// The sum of the sizes of all regular files in all layers in bytes.
    pub size: u64,
}

/// A name of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The name, with a tag.
    pub reference: Reference,
    /// When the name was given.
    pub tagged: Timestamp,
}

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the uncompressed tar.
    pub diff_id: Digest,
    /// The name of the unpacked layer.
    pub chain_id: ChainId,
    /// The unpacked layer below.
    pub parent: Option<ChainId>,
    /// The blob that holds the tar.
    pub blob: Descriptor,
    /// The sum of the sizes of its regular files in bytes.
    pub size: u64,
}

impl Image {
    /// Returns the chain ids of the layers, lowest first: what `storage` builds a snapshot on.
    pub fn chain(&self) -> Vec<ChainId> {
        self.layers.iter().map(|layer| layer.chain_id.clone()).collect()
    }

    /// Returns the names as Docker prints them (`RepoTags`).
    pub fn repo_tags(&self) -> Vec<String> {
        self.tags.iter().map(|tag| tag.reference.familiar()).collect()
    }

    /// Returns the names with digests as Docker prints them (`RepoDigests`).
    pub fn repo_digests(&self) -> Vec<String> {
        self.digests.iter().map(Reference::familiar).collect()
    }

    /// Returns when the image was last given a name (`Metadata.LastTagTime`), or never.
    pub fn last_tagged(&self) -> Timestamp {
        self.tags
            .iter()
            .map(|tag| tag.tagged)
            .max()
            .unwrap_or(Timestamp::NEVER)
    }
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is no image layout.
    #[error(transparent)]
    Content(#[from] content::OpenError),
    /// The index is damaged.
    #[error("\"{}\" is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        source: serde_json::Error,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Kinded for OpenError {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// An image that is in the index but cannot be used; it is left out of every answer and the rest goes on.
#[derive(Debug)]
pub struct Problem {
    /// The manifest; `None` if the index itself is what is damaged.
    pub manifest: Option<Digest>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl Store {
    /// Opens the image layout in `directory` (`<data root>/content`), which is made if it is not there; also removes
    /// what a killed process left half written. Damaged images are named, not fatal.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Problem>), OpenError> {
        let store = Self {
            content: Content::open(directory)?,
            state: Mutex::default(),
        };
        let (state, problems) = index::read(&store)?;
        *store.lock() = state;
        store.sweep()?;
        Ok((store, problems))
    }

    /// Returns the image with this id.
    pub fn get(&self, id: &Digest) -> Option<Arc<Image>> {
        self.lock().images.get(id).cloned()
    }

    /// Opens the blob of a layer; what is read is checked by unpacking it against the layer's diff id.
    pub fn open_layer(&self, layer: &Layer) -> Result<LayerReader, BlobError> {
        self.content.reader(&layer.blob.digest)
    }

    /// Removes what a killed process left: drafts, and blobs that no image needs.
    fn sweep(&self) -> Result<(), FileError> {
        self.content.sweep()?;
        let state = self.lock();
        // A damaged image may need any of them, and may be healed.
        if state.damaged.is_empty() {
            self.content.remove_unneeded(&state.needed_blobs())?;
        }
        Ok(())
    }

    /// Records from which image and which container `id` was committed, and returns it.
    pub(crate) fn set_origin(
        &self,
        id: &Digest,
        parent: Option<&Digest>,
        container: Option<&str>,
    ) -> Result<Arc<Image>, BlobError> {
        let mut state = self.lock();
        let mut changed = state.clone();
        if let Some(parent) = parent {
            changed.set_parent(id, parent);
        }
        if let Some(container) = container {
            changed.set_container(id, container);
        }
        let image = changed.images.get(id).cloned();
        let image = image.ok_or_else(|| BlobError::Missing { digest: id.clone() })?;
        self.replace(&mut state, changed)?;
        Ok(image)
    }

    /// Returns whether an image was committed from this one.
    pub fn has_children(&self, id: &Digest) -> bool {
        self.lock().children(id).next().is_some()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A change is built aside and put in place whole, so a panic elsewhere left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a changed state to the disk, then shows it.
    pub(crate) fn replace(&self, present: &mut State, changed: State) -> Result<(), FileError> {
        index::write(self, &changed)?;
        *present = changed;
        Ok(())
    }
}

impl State {
    /// Records that the image is known as `reference`, a repository with a digest; another image loses it.
    pub(crate) fn set_digest(&mut self, id: &Digest, reference: &Reference) {
        for image in self.images.values_mut() {
            let has = image.digests.contains(reference);
            if has != (image.id == *id) {
                let mut changed = Image::clone(image);
                if has {
                    changed.digests.retain(|own| own != reference);
                } else {
                    changed.digests.push(reference.clone());
                    changed.digests.sort();
                }
                *image = Arc::new(changed);
            }
        }
    }

    /// Records from which image `id` was committed; what would make a circle is not recorded.
    pub(crate) fn set_parent(&mut self, id: &Digest, parent: &Digest) {
        let mut above = Some(parent);
        while let Some(next) = above {
            if next == id {
                return;
            }
            above = self.images.get(next).and_then(|image| image.parent.as_ref());
        }
        if let Some(image) = self.images.get_mut(id) {
            let mut changed = Image::clone(image);
            changed.parent = Some(parent.clone());
            *image = Arc::new(changed);
        }
    }

    /// Records from which container `id` was committed.
    pub(crate) fn set_container(&mut self, id: &Digest, container: &str) {
        if let Some(image) = self.images.get_mut(id) {
            let mut changed = Image::clone(image);
            changed.container = Some(container.to_owned());
            *image = Arc::new(changed);
        }
    }

    /// Returns the images that were committed from `id`.
    pub(crate) fn children<'a>(&'a self, id: &'a Digest) -> impl Iterator<Item = &'a Arc<Image>> {
        self.images
            .values()
            .filter(move |image| image.parent.as_ref() == Some(id))
    }

    /// Gives `reference` to the image `id`, taking it from another image.
    pub(crate) fn set_tag(&mut self, id: &Digest, reference: &Reference, tagged: Timestamp) {
        for image in self.images.values_mut() {
            let has = image.tags.iter().any(|tag| tag.reference == *reference);
            if has || image.id == *id {
                let mut changed = Image::clone(image);
                changed.tags.retain(|tag| tag.reference != *reference);
                if changed.id == *id {
                    changed.tags.push(Tag {
                        reference: reference.clone(),
                        tagged,
                    });
                    changed.tags.sort_by_key(|tag| tag.reference.familiar());
                }
                *image = Arc::new(changed);
            }
        }
    }
}
