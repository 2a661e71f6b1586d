//! `save`: images into an archive that is an OCI image layout and a docker-archive at once.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;

use archive::{Entry, EntryKind, TarWriter};
use base::error::{Kind, Kinded};
use oci::{Digest, Reference};

use crate::index;
use crate::resolve::ResolveError;
use crate::store::{Image, State, Store};
use content::BlobError;

/// The annotation in which containerd and Docker keep the full name; the standard one has only the tag then.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Why saving failed.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// No such image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A blob could not be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The receiver does not take it.
    #[error("write archive")]
    Write(#[source] io::Error),
    /// A document could not be written.
    #[error("encode image document")]
    Encode(#[source] serde_json::Error),
}

impl Kinded for SaveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::Blob(error) => error.kind(),
            Self::Write(_) | Self::Encode(_) => Kind::Internal,
        }
    }
}

/// What is saved.
#[derive(Clone, Debug)]
pub struct SaveOptions {
    /// Images; a bare repository name means all its tags.
    pub names: Vec<String>,
    /// Only these of their blobs, for a receiver that has the others; `None`: all.
    pub only: Option<BTreeSet<Digest>>,
}

impl Store {
    /// Writes images as one uncompressed tar. Blobs are written as they are kept.
    pub fn save(&self, options: &SaveOptions, archive: impl Write) -> Result<(), SaveError> {
        let (images, _ingest) = {
            let state = self.lock();
            let mut images: Vec<(Arc<Image>, Vec<Reference>)> = Vec::new();
            for name in &options.names {
                for (image, tag) in find(&state, name)? {
                    match images.iter_mut().find(|(own, _)| own.id == image.id) {
                        Some((_, tags)) => tags.extend(tag),
                        None => images.push((image, tag.into_iter().collect())),
                    }
                }
            }
            // Blobs stay while they are written out, also if their image is removed meanwhile.
            (images, self.content.begin_ingest())
        };
        let mut writer = TarWriter::new(archive);
        write(self, &mut writer, images, options.only.as_ref())?;
        writer.finish().map_err(SaveError::Write)?;
        Ok(())
    }
}

/// An image with the tag that it was found by, if it was.
type Named = (Arc<Image>, Option<Reference>);

/// Finds what a name means: an image with the tag that was named, or every tag of a repository.
fn find(state: &State, name: &str) -> Result<Vec<Named>, ResolveError> {
    if let Ok(reference) = Reference::parse(name) {
        if reference.tag().is_none() && reference.digest().is_none() {
            let repository = reference.repository();
            let all: Vec<_> = state
                .images
                .values()
                .flat_map(|image| {
                    image
                        .tags
                        .iter()
                        .map(move |tag| (Arc::clone(image), tag.reference.clone()))
                })
                .filter(|(_, tag)| tag.repository() == repository)
                .map(|(image, tag)| (image, Some(tag)))
                .collect();
            if !all.is_empty() {
                return Ok(all);
            }
        }
        let image = state.resolve(name)?;
        let tag = image
            .tags
            .iter()
            .map(|tag| &tag.reference)
            .find(|own| **own == reference)
            .cloned();
        return Ok(vec![(image, tag)]);
    }
    Ok(vec![(state.resolve(name)?, None)])
}

/// An entry of `manifest.json`.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

fn write<W: Write>(
    store: &Store,
    writer: &mut TarWriter<W>,
    images: Vec<(Arc<Image>, Vec<Reference>)>,
    only: Option<&BTreeSet<Digest>>,
) -> Result<(), SaveError> {
    for path in ["blobs/", "blobs/sha256/"] {
        let entry = Entry::new(path, EntryKind::Directory, 0o755);
        writer
            .append(&entry, &mut io::empty())
            .map_err(SaveError::Write)?;
    }
    let (mut written, mut descriptors, mut manifest) = (BTreeSet::new(), Vec::new(), Vec::new());
    for (image, mut tags) in images {
        tags.sort();
        tags.dedup();
        let layers = image.layers.iter().map(|layer| &layer.blob.digest);
        for digest in [&image.manifest.digest, &image.id].into_iter().chain(layers) {
            if only.is_none_or(|only| only.contains(digest)) && written.insert(digest.clone()) {
                blob(store, writer, digest)?;
            }
        }
        if tags.is_empty() {
            descriptors.push(image.manifest.clone());
        }
        for tag in &tags {
            let mut descriptor = image.manifest.clone();
            descriptor.annotations.insert(
                index::REF_NAME.to_owned(),
                tag.tag().unwrap_or_default().to_owned(),
            );
            descriptor
                .annotations
                .insert(CONTAINERD_NAME.to_owned(), tag.to_string());
            descriptors.push(descriptor);
        }
        manifest.push(ManifestEntry {
            config: blob_name(&image.id),
            repo_tags: tags.iter().map(Reference::familiar).collect(),
            layers: image
                .layers
                .iter()
                .map(|layer| blob_name(&layer.blob.digest))
                .collect(),
        });
    }
    let index = index::encode(descriptors).map_err(SaveError::Encode)?;
    let manifest = serde_json::to_vec(&manifest).map_err(SaveError::Encode)?;
    for (path, content) in [
        ("index.json", &index[..]),
        ("manifest.json", &manifest),
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
    ] {
        let mut entry = Entry::new(path, EntryKind::File, 0o644);
        entry.size = u64::try_from(content.len()).unwrap_or(u64::MAX);
        writer
            .append(&entry, &mut &content[..])
            .map_err(SaveError::Write)?;
    }
    Ok(())
}

fn blob<W: Write>(store: &Store, writer: &mut TarWriter<W>, digest: &Digest) -> Result<(), SaveError> {
    let mut file = store.content.open_blob(digest)?;
    let mut entry = Entry::new(blob_name(digest), EntryKind::File, 0o644);
    entry.size = store.content.blob_size(digest)?;
    writer.append(&entry, &mut file).map_err(SaveError::Write)
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
