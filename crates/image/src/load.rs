//! `load`: images out of an archive that `docker save`, `skopeo` or `podman save` wrote.

//!
//! The archive is read once, as a stream: its members come in any order, so each becomes a blob at once, and the images
//! are made when all is there. Nothing in the archive names a file of ours; a blob's name is what its content hashes to.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use archive::{Decoder, Entry, EntryKind, Limits, ReadError, TarReader};
use base::error::{Kind, Kinded};
use oci::image::{Descriptor, ImageConfig, Index};
use oci::platform::Platform;
use oci::{Digest, Reference, media_type};
use serde::Deserialize;

use crate::create::{CreateError, NewLayer, layer_type};
use crate::document::{self, find_manifest, read_image};
use crate::index;
use crate::save::CONTAINERD_NAME;
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
    /// The image could not be made.
    #[error(transparent)]
    Create(#[from] CreateError),
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
            Self::Create(error) => error.kind(),
        }
    }
}

impl Store {
    /// Loads every image of a docker-archive or an OCI archive, possibly compressed, read as a stream.
    pub fn load(&self, archive: impl Read) -> Result<Vec<Loaded>, LoadError> {
        // Nothing that this archive brings is removed before its images are made.
        let _ingest = self.content.begin_ingest();
        let contents = Contents::read(self, archive)?;
        let docker: Vec<ManifestEntry> = contents.document("manifest.json")?.unwrap_or_default();
        if contents.documents.contains_key("oci-layout")
            && let Some(index) = contents.document::<Index>("index.json")?
        {
            return load_oci(self, index, &docker);
        }
        if docker.is_empty() {
            return Err(wrong(
                "it has neither a manifest.json nor an index.json with images",
            ));
        }
        let mut checked = Checked::new();
        let mut loaded = Vec::new();
        for entry in &docker {
            loaded.extend(load_docker(self, &contents, entry, &mut checked)?);
        }
        Ok(loaded)
    }
}

/// Documents at the top of the archive that are read as a whole.
const DOCUMENTS: [&str; 3] = ["manifest.json", "index.json", "oci-layout"];
/// Most members of an archive of images.
const MAX_MEMBERS: u64 = 200_000;

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

/// What the archive held: documents in memory, everything else as blobs.
struct Contents {
    documents: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, (Digest, u64)>,
    links: BTreeMap<String, String>,
}

impl Contents {
    fn read(store: &Store, archive: impl Read) -> Result<Self, LoadError> {
        let decoder = Decoder::new(archive).map_err(|source| ReadError::Source { offset: 0, source })?;
        let limits = Limits {
            entries: MAX_MEMBERS,
            ..Limits::LAYER
        };
        let mut tar = TarReader::new(decoder, limits);
        let mut contents = Self {
            documents: BTreeMap::new(),
            blobs: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        while let Some(entry) = tar.next_entry()? {
            let path =
                normal(b"", &entry.path).ok_or_else(|| wrong("a member's name leads out of the archive"))?;
            match entry.kind {
                EntryKind::File => contents.add(store, &mut tar, path, &entry)?,
                EntryKind::Symlink => {
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let target = normal(parent.as_bytes(), &entry.link);
                    contents.links.extend(target.map(|target| (path, target)));
                }
                EntryKind::HardLink => {
                    let target = normal(b"", &entry.link);
                    contents.links.extend(target.map(|target| (path, target)));
                }
                _ => {}
            }
        }
        tar.drain()?;
        Ok(contents)
    }

    fn add<R: Read>(
        &mut self,
        store: &Store,
        tar: &mut TarReader<R>,
        path: String,
        entry: &Entry,
    ) -> Result<(), LoadError> {
        if entry.sparse.is_some() {
            return Err(wrong("it has a sparse member"));
        }
        if DOCUMENTS.contains(&path.as_str()) {
            if entry.size > document::MAX_CONFIG {
                return Err(wrong(format!(
                    "{path} is larger than {} bytes",
                    document::MAX_CONFIG
                )));
            }
            let mut content = Vec::new();
            tar.read_to_end(&mut content)
                .map_err(|source| LoadError::Temporary {
                    doing: "read into",
                    source,
                })?;
            self.documents.insert(path, content);
            return Ok(());
        }
        // Docker's oldest format repeats in each layer's directory what nobody reads any more.
        if path == "repositories" || path.ends_with("/VERSION") || path.ends_with("/json") {
            return Ok(());
        }
        let expected = match path.strip_prefix("blobs/") {
            None => None,
            Some(rest) => {
                let name = rest.replacen('/', ":", 1);
                Some(name.parse::<Digest>().map_err(|error| wrong(error.to_string()))?)
            }
        };
        let mut draft = store.content.draft().map_err(CreateError::from)?;
        io::copy(tar, &mut draft).map_err(|source| LoadError::Temporary {
            doing: "write",
            source,
        })?;
        let stored = store
            .content
            .store(draft, expected.as_ref())
            .map_err(CreateError::from)?;
        self.blobs.insert(path, stored);
        Ok(())
    }

    fn document<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, LoadError> {
        let Some(content) = self.documents.get(name) else {
            return Ok(None);
        };
        serde_json::from_slice(content)
            .map(Some)
            .map_err(|source| LoadError::Document {
                file: name.to_owned(),
                source,
            })
    }

    /// Returns the blob that a member became; links between members are followed.
    fn blob(&self, name: &str) -> Result<(Digest, u64), LoadError> {
        let missing = || wrong(format!("it has no member \"{}\"", short(name)));
        let mut path = normal(b"", name.as_bytes()).ok_or_else(missing)?;
        for _ in 0..8 {
            if let Some(found) = self.blobs.get(&path) {
                return Ok(found.clone());
            }
            path.clone_from(self.links.get(&path).ok_or_else(missing)?);
        }
        Err(missing())
    }
}

/// Returns `path` relative to the archive's top, taken from the directory `parent`; `None` if it leads out.
fn normal(parent: &[u8], path: &[u8]) -> Option<String> {
    let mut components: Vec<&[u8]> = Vec::new();
    let start: &[u8] = if path.starts_with(b"/") { b"" } else { parent };
    for component in start
        .split(|&byte| byte == b'/')
        .chain(path.split(|&byte| byte == b'/'))
    {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop()?;
            }
            name => components.push(name),
        }
    }
    String::from_utf8(components.join(&b'/')).ok()
}

/// Layers that were read already, so that images which share one do not read it again.
type Checked = BTreeMap<Digest, NewLayer>;

/// Reads a layer's blob through: finds its diff id and size, and whether it is a tar at all.
fn check_layer(
    store: &Store,
    digest: &Digest,
    size: u64,
    checked: &mut Checked,
) -> Result<NewLayer, LoadError> {
    if let Some(layer) = checked.get(digest) {
        return Ok(layer.clone());
    }
    let file = store.content.open_blob(digest).map_err(CreateError::from)?;
    let summary = archive::inspect(file, &Limits::LAYER)?;
    let layer = NewLayer {
        blob: Descriptor::new(layer_type(summary.compression), digest.clone(), size),
        diff_id: summary.diff_id,
        size: summary.content_bytes,
        ingest: store.content.begin_ingest(),
    };
    checked.insert(digest.clone(), layer.clone());
    Ok(layer)
}

fn load_docker(
    store: &Store,
    contents: &Contents,
    entry: &ManifestEntry,
    checked: &mut Checked,
) -> Result<Vec<Loaded>, LoadError> {
    let names = entry.names()?;
    let (id, size) = contents.blob(&entry.config)?;
    let text = store
        .content
        .read_document(&id, document::MAX_CONFIG)
        .map_err(CreateError::from)?;
    let config: ImageConfig = serde_json::from_slice(&text).map_err(|source| LoadError::Document {
        file: short(&entry.config),
        source,
    })?;
    let paths = entry.layers.as_deref().unwrap_or_default();
    if paths.len() != config.rootfs.diff_ids.len() {
        let (have, want) = (paths.len(), config.rootfs.diff_ids.len());
        return Err(wrong(format!(
            "an image has {have} layers, its configuration {want}"
        )));
    }
    let mut layers = Vec::new();
    for (path, diff_id) in paths.iter().zip(&config.rootfs.diff_ids) {
        let (digest, size) = contents.blob(path)?;
        let layer = check_layer(store, &digest, size, checked)?;
        compare(&layer.diff_id, diff_id)?;
        layers.push(layer);
    }
    let config = Descriptor::new(media_type::OCI_CONFIG, id, size);
    let image = store.create_from(config, &layers, &names)?;
    Ok(loaded(names, image))
}

fn compare(actual: &Digest, wanted: &Digest) -> Result<(), LoadError> {
    if actual == wanted {
        return Ok(());
    }
    Err(wrong(format!("the layer {wanted} has the digest {actual}")))
}

fn load_oci(store: &Store, index: Index, docker: &[ManifestEntry]) -> Result<Vec<Loaded>, LoadError> {
    if index.layers.is_some() || index.config.is_some() {
        return Err(wrong("its index is a manifest as well"));
    }
    let host = Platform::host();
    let mut checked = Checked::new();
    // One image may be listed once per name.
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
    let mut all = Vec::new();
    for (manifest, mut names) in found {
        let image = read_image(store, &manifest, None).map_err(CreateError::from)?;
        let mut sizes = Vec::new();
        for layer in &image.layers {
            let read = check_layer(store, &layer.blob.digest, layer.blob.size, &mut checked)?;
            compare(&read.diff_id, &layer.diff_id)?;
            sizes.push(read.size);
        }
        if names.is_empty() {
            let same = |entry: &&ManifestEntry| entry.config.ends_with(image.id.hex());
            names = docker
                .iter()
                .find(same)
                .map(ManifestEntry::names)
                .transpose()?
                .unwrap_or_default();
        }
        let image = store.adopt(&manifest, &sizes, &names)?;
        all.extend(loaded(names, image));
    }
    if all.is_empty() {
        return Err(wrong("its index has no images"));
    }
    Ok(all)
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
