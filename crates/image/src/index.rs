//! `index.json`: every image and its names, readable by every tool that reads OCI image layouts.
//!
//! One descriptor per name, with the full name in the standard annotation, so that `skopeo inspect
//! oci:DIRECTORY:NAME` finds it. Berth's own facts are annotations beside it.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use base::clock::Timestamp;
use base::file::{Durability, FileError, read_optional, write_atomic};
use oci::image::{Descriptor, Index, Manifest};
use oci::{Digest, Reference, media_type};

use crate::document;
use crate::store::{Image, OpenError, Problem, State, Store, Tag};

/// The file, and its copy.
const INDEX: &str = "index.json";
const COPY: &str = "index.copy.json";
/// The digest of the list, as it is written: an annotation of the index itself.
const SUM: &str = "io.berth.index.sum";
/// The standard annotation for a name.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// When the name was given.
const TAGGED: &str = "io.berth.image.tagged";
/// The repositories that the image came from or went to, each with its digest there, joined by commas.
const DIGESTS: &str = "io.berth.image.repo-digests";
/// The content sizes of the layers in bytes, lowest first, joined by commas.
const SIZES: &str = "io.berth.image.layer-sizes";

/// The id of the image that it was committed from.
const PARENT: &str = "io.berth.image.parent";
/// The id of the container that it was committed from.
const CONTAINER: &str = "io.berth.image.container";

/// Largest index in bytes: some hundred thousand names.
const MAX_INDEX: u64 = 256 << 20;

/// Reads the index; images that cannot be used are reported and left out.
pub(crate) fn read(store: &Store) -> Result<(State, Vec<Problem>), OpenError> {
    let (mut state, mut problems) = (State::default(), Vec::new());
    let directory = store.content.directory();
    let manifests = match read_file(&directory.join(INDEX)) {
        Ok(Some(manifests)) => manifests,
        own => {
            let problem = own.err();
            let (manifests, origin) = restored(store)?;
            if problem.is_none() && manifests.is_empty() {
                write(store, &state)?;
                return Ok((state, problems));
            }
            let problem = problem.unwrap_or_else(|| "is missing".to_owned());
            problems.push(Problem {
                manifest: None,
                name: Some(INDEX.to_owned()),
                problem: format!("{problem}; it was restored from {origin}"),
            });
            manifests
        }
    };
    let is_restored = !problems.is_empty();
    for descriptor in manifests {
        match add(store, &mut state, &descriptor) {
            Ok(()) => {}
            Err(problem) => {
                problems.push(Problem {
                    manifest: Some(descriptor.digest.clone()),
                    name: descriptor.annotations.get(REF_NAME).cloned(),
                    problem,
                });
                state.damaged.push(descriptor);
            }
        }
    }
    if is_restored {
        write(store, &state)?;
    }
    Ok((state, problems))
}

/// Reads an index file; an index of Berth's own has the digest of its list, so that a changed byte does not become a
/// changed name.
fn read_file(path: &Path) -> Result<Option<Vec<Descriptor>>, String> {
    let text = match read_optional(path, MAX_INDEX) {
        Ok(Some(text)) => text,
        Ok(None) => return Ok(None),
        Err(error) => return Err(base::error::chain(&error).to_string()),
    };
    let index: Index = serde_json::from_slice(&text).map_err(|error| format!("is damaged: {error}"))?;
    match index.annotations.get(SUM) {
        Some(sum) if *sum != sum_of(&index.manifests) => Err("is damaged: its digest is wrong".to_owned()),
        _ => Ok(Some(index.manifests)),
    }
}

fn sum_of(manifests: &[Descriptor]) -> String {
    // Descriptors are made of strings and numbers.
    Digest::sha256(&serde_json::to_vec(manifests).unwrap_or_default()).to_string()
}

/// Returns what can be had instead of an index that is damaged or gone: its copy, else every manifest among the blobs,
/// which then have no names.
fn restored(store: &Store) -> Result<(Vec<Descriptor>, &'static str), OpenError> {
    if let Ok(Some(manifests)) = read_file(&store.content.directory().join(COPY)) {
        return Ok((manifests, "its copy"));
    }
    let mut manifests = Vec::new();
    for digest in store.content.list()? {
        let Ok(text) = store.content.read_document(&digest, document::MAX_MANIFEST) else {
            continue;
        };
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) else {
            continue;
        };
        if manifest.schema_version == 2 && media_type::is_config(&manifest.config.media_type) {
            let kind = manifest.media_type.as_deref().unwrap_or(media_type::OCI_MANIFEST);
            let size = u64::try_from(text.len()).unwrap_or(u64::MAX);
            manifests.push(Descriptor::new(kind, digest, size));
        }
    }
    Ok((manifests, "the manifests among the blobs, without names"))
}

/// Returns the repositories that an image came from, as far as its descriptor tells.
pub(crate) fn sources(descriptor: &Descriptor) -> Vec<Reference> {
    let digests = descriptor.annotations.get(DIGESTS);
    digests
        .iter()
        .flat_map(|text| text.split(','))
        .filter_map(|text| Reference::parse(text).ok())
        .filter(|reference| reference.digest().is_some())
        .collect()
}

pub(crate) fn add(store: &Store, state: &mut State, descriptor: &Descriptor) -> Result<(), String> {
    let print = |error: &dyn std::error::Error| base::error::chain(error).to_string();
    if !media_type::is_manifest(&descriptor.media_type) {
        return Err(format!("is no image manifest but \"{}\"", descriptor.media_type));
    }
    let sizes: Option<Vec<u64>> = descriptor
        .annotations
        .get(SIZES)
        .and_then(|text| text.split(',').map(|size| size.parse().ok()).collect());
    let known = state
        .images
        .values()
        .find(|image| image.manifest.digest == descriptor.digest);
    let id = match known {
        Some(image) => image.id.clone(),
        None => {
            let image =
                document::read_image(store, descriptor, sizes.as_deref()).map_err(|error| print(&error))?;
            let id = image.id.clone();
            state.images.entry(id.clone()).or_insert_with(|| Arc::new(image));
            id
        }
    };
    for reference in descriptor
        .annotations
        .get(DIGESTS)
        .iter()
        .flat_map(|text| text.split(','))
    {
        let reference = Reference::parse(reference).map_err(|error| print(&error))?;
        if reference.digest().is_some() {
            state.set_digest(&id, &reference);
        }
    }
    if let Some(parent) = descriptor.annotations.get(PARENT)
        && let Ok(parent) = parent.parse()
    {
        state.set_parent(&id, &parent);
    }
    if let Some(container) = descriptor.annotations.get(CONTAINER) {
        state.set_container(&id, container);
    }
    if let Some(name) = descriptor.annotations.get(REF_NAME) {
        let reference = Reference::parse(name)
            .map_err(|error| print(&error))?
            .with_default_tag();
        let tagged = descriptor
            .annotations
            .get(TAGGED)
            .and_then(|text| text.parse().ok());
        state.set_tag(&id, &reference, tagged.unwrap_or(Timestamp::NEVER));
    }
    Ok(())
}

/// Writes the index of a state, synced.
pub(crate) fn write(store: &Store, state: &State) -> Result<(), FileError> {
    let path = store.content.directory().join(INDEX);
    let mut manifests = state.damaged.clone();
    for image in state.images.values() {
        if image.tags.is_empty() {
            manifests.push(descriptor(image, None));
        }
        manifests.extend(image.tags.iter().map(|tag| descriptor(image, Some(tag))));
    }
    let sum = sum_of(&manifests);
    let text = encode_with(
        manifests,
        std::collections::BTreeMap::from([(SUM.to_owned(), sum)]),
    )
    .map_err(|error| FileError::new("encode", &path, io::Error::other(error)))?;
    write_atomic(&path, &text, 0o600, Durability::Power)?;
    // For the case that a disk or a person damages the file; after a power cut one of the two is whole.
    write_atomic(
        &store.content.directory().join(COPY),
        &text,
        0o600,
        Durability::Crash,
    )
}

fn descriptor(image: &Image, tag: Option<&Tag>) -> Descriptor {
    let mut descriptor = image.manifest.clone();
    let sizes: Vec<String> = image.layers.iter().map(|layer| layer.size.to_string()).collect();
    if !sizes.is_empty() {
        descriptor.annotations.insert(SIZES.to_owned(), sizes.join(","));
    }
    if !image.digests.is_empty() {
        let digests: Vec<String> = image.digests.iter().map(Reference::to_string).collect();
        descriptor
            .annotations
            .insert(DIGESTS.to_owned(), digests.join(","));
    }
    if let Some(parent) = &image.parent {
        descriptor
            .annotations
            .insert(PARENT.to_owned(), parent.to_string());
    }
    if let Some(container) = &image.container {
        descriptor
            .annotations
            .insert(CONTAINER.to_owned(), container.clone());
    }
    if let Some(tag) = tag {
        descriptor
            .annotations
            .insert(REF_NAME.to_owned(), tag.reference.to_string());
        descriptor
            .annotations
            .insert(TAGGED.to_owned(), tag.tagged.to_string());
    }
    descriptor
}

/// Returns an index document of these manifests.
pub(crate) fn encode(manifests: Vec<Descriptor>) -> serde_json::Result<Vec<u8>> {
    encode_with(manifests, std::collections::BTreeMap::new())
}

fn encode_with(
    manifests: Vec<Descriptor>,
    annotations: std::collections::BTreeMap<String, String>,
) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Index {
        schema_version: 2,
        media_type: Some(media_type::OCI_INDEX.to_owned()),
        manifests,
        annotations,
        layers: None,
        config: None,
    })
}

impl State {
    /// Returns the digests of all blobs that some image needs.
    pub(crate) fn needed_blobs(&self) -> BTreeSet<Digest> {
        let mut needed = BTreeSet::new();
        for image in self.images.values() {
            needed.insert(image.id.clone());
            needed.insert(image.manifest.digest.clone());
            needed.extend(image.layers.iter().map(|layer| layer.blob.digest.clone()));
        }
        needed.extend(self.damaged.iter().map(|descriptor| descriptor.digest.clone()));
        needed
    }
}
