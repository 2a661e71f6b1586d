//! `load`: images out of an archive that `docker save`, `skopeo` or `podman save` wrote.
//!
//! The archive is read once, as a stream: its members come in any order, so each becomes a blob at once, and the images
//! are made when all is there. Nothing in the archive names a file of ours; a blob's name is what its content hashes to.

mod contents;

use std::io::{self, Read};
use std::sync::Arc;

use base::error::{Kind, Kinded};
use oci::image::{Descriptor, ImageConfig, Index};
use oci::platform::Platform;
use oci::{ChainId, Digest, Reference, media_type};
use serde::Deserialize;

use contents::Contents;

use crate::create::{CreateError, NewLayer, layer_type};
use crate::document::{self, find_manifest, read_image};
use crate::index;
use crate::policy::{Refusal, Source};
use crate::save::CONTAINERD_NAME;
use crate::sink::{LayerSink, Pin, SinkError};
use crate::store::{Image, Store};

/// One thing that was loaded: Docker prints `Loaded image: NAME`, or `Loaded image ID: ID` without a name.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The name it was loaded under.
    pub name: Option<Reference>,
    /// The image.
    pub image: Arc<Image>,
}

/// Why an archive could not be loaded. Images that were complete before the error stay.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The stream is no tar, or a broken one.
    #[error("read archive")]
    Archive(#[from] archive::ReadError),
    /// The archive is not one of images, or contradicts itself.
    #[error("invalid image archive: {problem}")]
    Content {
        /// What is wrong.
        problem: String,
    },
    /// A document in the archive cannot be read.
    #[error("read \"{file}\" in the image archive")]
    Document {
        /// The file in the archive.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
    /// A temporary file could not be used.
    #[error("{doing} temporary file")]
    Temporary {
        /// The step.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A layer could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] SinkError),
    /// The image could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The policy lets no such archive in.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Kinded for LoadError {
    fn kind(&self) -> Kind {
        match self {
            Self::Archive(_) | Self::Content { .. } | Self::Document { .. } => Kind::Invalid,
            // A stream that ends too early, or whose compression is broken, is read as a member's content.
            Self::Temporary { source, .. } => match source.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                    Kind::Invalid
                }
                _ => base::error::kind_of_io(source),
            },
            Self::Unpack(error) => error.kind(),
            Self::Create(error) => error.kind(),
            Self::Refused(error) => error.kind(),
        }
    }
}

/// How an archive is loaded.
pub struct LoadOptions<'a> {
    /// Where layers are unpacked while they are read; without one they are only checked.
    pub sink: Option<&'a dyn LayerSink>,
    /// Is told how far each layer is.
    pub report: &'a (dyn Fn(LoadEvent) + Sync),
    /// Is asked, before any image is made, whether an archive of that kind may be loaded.
    pub check: &'a (dyn Fn(&Source<'_>) -> Result<(), Refusal> + Sync),
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LoadOptions")
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}

/// How far a layer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadEvent {
    /// Its name in the archive, in short.
    pub layer: String,
    /// Bytes that were read.
    pub current: u64,
    /// Bytes in the archive.
    pub total: u64,
}

impl Store {
    /// Loads every image of a docker-archive or an OCI archive, possibly compressed, read as a stream.
    pub fn load(&self, archive: impl Read, options: &LoadOptions<'_>) -> Result<Vec<Loaded>, LoadError> {
        // Nothing that this archive brings is removed before its images are made.
        let _ingest = self.content.begin_ingest();
        let contents = Contents::read(self, archive, options)?;
        let docker: Vec<ManifestEntry> = contents.document("manifest.json")?.unwrap_or_default();
        let index = match contents.has_document("oci-layout") {
            true => contents.document::<Index>("index.json")?,
            false => None,
        };
        (options.check)(match index {
            Some(_) => &Source::OciArchive,
            None => &Source::DockerArchive,
        })?;
        let mut loading = Loading {
            store: self,
            contents,
            sink: options.sink,
            pins: Vec::new(),
        };
        if let Some(index) = index {
            return loading.oci(index, &docker);
        }
        if docker.is_empty() {
            return Err(wrong(
                "it has neither a manifest.json nor an index.json with images",
            ));
        }
        let mut loaded = Vec::new();
        for entry in &docker {
            loaded.extend(loading.docker(entry)?);
        }
        Ok(loaded)
    }
}

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl ManifestEntry {
    fn names(&self) -> Result<Vec<Reference>, LoadError> {
        self.repo_tags
            .iter()
            .flatten()
            .map(|name| parse_name(name))
            .collect()
    }
}

fn wrong(problem: impl Into<String>) -> LoadError {
    LoadError::Content {
        problem: problem.into(),
    }
}

fn parse_name(name: &str) -> Result<Reference, LoadError> {
    let named =
        Reference::parse(name).map_err(|error| wrong(format!("the name \"{}\": {error}", short(name))))?;
    Ok(named.with_default_tag())
}

fn short(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

/// Makes images of what an archive held.
struct Loading<'a> {
    store: &'a Store,
    contents: Contents,
    sink: Option<&'a dyn LayerSink>,
    /// Keep the layers that are shown until their images are made.
    pins: Vec<Box<dyn Pin>>,
}

impl Loading<'_> {
    fn docker(&mut self, entry: &ManifestEntry) -> Result<Vec<Loaded>, LoadError> {
        let names = entry.names()?;
        let (id, size) = self.contents.blob(&entry.config)?;
        let text = self
            .store
            .content
            .read_document(&id, document::MAX_CONFIG)
            .map_err(CreateError::from)?;
        let config: ImageConfig = serde_json::from_slice(&text).map_err(|source| LoadError::Document {
            file: short(&entry.config),
            source,
        })?;
        let paths = entry.layers.as_deref().unwrap_or_default();
        let diff_ids = &config.rootfs.diff_ids;
        if paths.len() != diff_ids.len() {
            let (have, want) = (paths.len(), diff_ids.len());
            return Err(wrong(format!(
                "an image has {have} layers, its configuration {want}"
            )));
        }
        let mut layers = Vec::new();
        for (path, diff_id) in paths.iter().zip(diff_ids) {
            let (digest, size) = self.contents.blob(path)?;
            layers.push(self.layer(&digest, size, diff_id)?);
        }
        self.show(&layers)?;
        let config = Descriptor::new(media_type::OCI_CONFIG, id, size);
        let image = self.store.create_from(config, &layers, &names)?;
        Ok(loaded(names, image))
    }

    fn oci(&mut self, index: Index, docker: &[ManifestEntry]) -> Result<Vec<Loaded>, LoadError> {
        let mut all = Vec::new();
        for (manifest, mut names) in listed(self.store, index)? {
            let image = read_image(self.store, &manifest, None).map_err(CreateError::from)?;
            let mut layers = Vec::new();
            for layer in &image.layers {
                layers.push(self.layer(&layer.blob.digest, layer.blob.size, &layer.diff_id)?);
            }
            self.show(&layers)?;
            if names.is_empty() {
                let same = |entry: &&ManifestEntry| entry.config.ends_with(image.id.hex());
                names = docker
                    .iter()
                    .find(same)
                    .map(ManifestEntry::names)
                    .transpose()?
                    .unwrap_or_default();
            }
            let sizes: Vec<u64> = layers.iter().map(|layer| layer.size).collect();
            let image = self.store.adopt(&manifest, &sizes, &names)?;
            // What `missing` kept for it is the image's now.
            let lease = self.store.content.lease(&manifest.digest, []);
            lease.and_then(content::Lease::end).map_err(CreateError::from)?;
            all.extend(loaded(names, image));
        }
        if all.is_empty() {
            return Err(wrong("its index has no images"));
        }
        Ok(all)
    }

    /// Returns a layer that is what the configuration says.
    fn layer(&mut self, digest: &Digest, size: u64, diff_id: &Digest) -> Result<NewLayer, LoadError> {
        let found = self.contents.layer(self.store, digest)?;
        if found.diff_id != *diff_id {
            return Err(wrong(format!(
                "the layer {diff_id} has the digest {}",
                found.diff_id
            )));
        }
        Ok(NewLayer {
            blob: Descriptor::new(layer_type(found.compression), digest.clone(), size),
            diff_id: found.diff_id.clone(),
            size: found.size,
            ingest: self.store.content.begin_ingest(),
        })
    }

    /// Shows the unpacked layers of an image, lowest first, as far as they were unpacked on the way.
    fn show(&mut self, layers: &[NewLayer]) -> Result<(), LoadError> {
        let Some(sink) = self.sink else { return Ok(()) };
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let chain = ChainId::chain(&diff_ids);
        self.pins.push(sink.pin(&chain));
        let mut parent: Option<&ChainId> = None;
        for (chain_id, layer) in chain.iter().zip(layers) {
            if sink.present(chain_id)?.is_none() {
                let staged = self.contents.layer(self.store, &layer.blob.digest)?.staged.take();
                // Unpacked already for another image: whoever needs it unpacks it again.
                let Some(staged) = staged else { return Ok(()) };
                staged.show(chain_id, parent, &layer.diff_id)?;
            }
            parent = Some(chain_id);
        }
        Ok(())
    }
}

/// Returns the manifests of an index for this machine, each with its names: one image may be listed once per name.
fn listed(store: &Store, index: Index) -> Result<Vec<(Descriptor, Vec<Reference>)>, LoadError> {
    if index.layers.is_some() || index.config.is_some() {
        return Err(wrong("its index is a manifest as well"));
    }
    let host = Platform::host();
    let mut found: Vec<(Descriptor, Vec<Reference>)> = Vec::new();
    for descriptor in &index.manifests {
        if descriptor
            .platform
            .as_ref()
            .is_some_and(|platform| platform.os == "unknown")
        {
            continue;
        }
        let Some(manifest) = find_manifest(store, descriptor, &host).map_err(CreateError::from)? else {
            return Err(wrong(format!("{} has no image for {host}", descriptor.digest)));
        };
        let name = oci_name(descriptor)?;
        match found.iter_mut().find(|(own, _)| own.digest == manifest.digest) {
            Some((_, names)) => names.extend(name),
            None => found.push((manifest, name.into_iter().collect())),
        }
    }
    Ok(found)
}

/// Returns the name of an image in an index: containerd's annotation has the full one; the standard one has whatever
/// the writer liked, often only a tag.
fn oci_name(descriptor: &Descriptor) -> Result<Option<Reference>, LoadError> {
    if let Some(name) = descriptor.annotations.get(CONTAINERD_NAME) {
        return parse_name(name).map(Some);
    }
    match descriptor.annotations.get(index::REF_NAME) {
        Some(name) if name.contains([':', '/']) => parse_name(name).map(Some),
        _ => Ok(None),
    }
}

fn loaded(names: Vec<Reference>, image: Arc<Image>) -> Vec<Loaded> {
    if names.is_empty() {
        return vec![Loaded { name: None, image }];
    }
    let with_name = |name| Loaded {
        name: Some(name),
        image: Arc::clone(&image),
    };
    names.into_iter().map(with_name).collect()
}
