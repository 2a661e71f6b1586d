//! `check`: every blob read again, each damage named with the images that it concerns, and what can be mended from here.
//!
//! A blob that is not what it is called is set aside; its bytes can then come again, from a registry or with `load`. An
//! image whose documents came back is an image again, with the names that it had ([`Store::reclaim`]).

use std::collections::{BTreeMap, BTreeSet};

use base::file::FileError;
use content::BlobError;
use oci::image::Descriptor;
use oci::{Digest, Reference};

use crate::index;
use crate::store::{Image, Problem, State, Store};

/// Something that is wrong in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobDamage {
    /// The blob.
    pub digest: Digest,
    /// What it is: `manifest`, `configuration`, `layer`, or `blob` when nobody refers to it.
    pub role: &'static str,
    /// What is wrong.
    pub problem: String,
    /// Names, or else ids, of the images that need it.
    pub images: Vec<String>,
    /// Where it may be had: repositories that an image with it came from or went to.
    pub sources: Vec<Reference>,
}

/// What the check of all blobs found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobReport {
    /// How many blobs were read.
    pub checked: u64,
    /// What is wrong.
    pub damage: Vec<BlobDamage>,
}

/// Who needs a blob, and as what.
#[derive(Default)]
struct Need {
    role: Option<&'static str>,
    images: BTreeSet<String>,
    sources: BTreeSet<Reference>,
}

impl Store {
    /// Reads every blob: those of all images, also of images that are damaged, and those that lie about.
    pub fn check(&self) -> Result<BlobReport, FileError> {
        // Nothing is removed meanwhile.
        let _ingest = self.content.begin_ingest();
        let mut needs = needs(&self.lock());
        for digest in self.content.list()? {
            needs.entry(digest).or_default();
        }
        let mut report = BlobReport::default();
        for (digest, need) in needs {
            report.checked += 1;
            if let Some(problem) = self.content.problem(&digest) {
                report.damage.push(BlobDamage {
                    digest,
                    role: need.role.unwrap_or("blob"),
                    problem,
                    images: need.images.into_iter().collect(),
                    sources: need.sources.into_iter().collect(),
                });
            }
        }
        Ok(report)
    }

    /// Moves a damaged blob out of the way of the next try to get it.
    pub fn set_aside(&self, digest: &Digest) -> Result<(), BlobError> {
        self.content.set_aside(digest)
    }

    /// Looks again at the images that were damaged when the index was read; those that are sound now are images again.
    /// Returns those that are not.
    pub fn reclaim(&self) -> Result<Vec<Problem>, FileError> {
        let mut state = self.lock();
        if state.damaged.is_empty() {
            return Ok(Vec::new());
        }
        let mut changed = state.clone();
        let mut problems = Vec::new();
        for descriptor in std::mem::take(&mut changed.damaged) {
            if let Err(problem) = index::add(self, &mut changed, &descriptor) {
                problems.push(Problem {
                    manifest: Some(descriptor.digest.clone()),
                    name: descriptor.annotations.get(index::REF_NAME).cloned(),
                    problem,
                });
                changed.damaged.push(descriptor);
            }
        }
        if changed.damaged.len() != state.damaged.len() {
            self.replace(&mut state, changed)?;
        }
        drop(state);
        self.content.release_set_aside()?;
        Ok(problems)
    }

    /// Forgets what is kept of images that are gone: signatures.
    pub fn forget_gone(&self) {
        let state = self.lock();
        let known: BTreeSet<Digest> = state
            .images
            .values()
            .map(|image| image.manifest.digest.clone())
            .chain(state.damaged.iter().map(|descriptor| descriptor.digest.clone()))
            .collect();
        drop(state);
        self.sweep_evidence(|digest| known.contains(digest));
    }

    /// Returns all layers of all images, each once, a layer after the one below it, with the images that have it.
    pub fn layers(&self) -> Vec<(crate::store::Layer, Vec<String>)> {
        let state = self.lock();
        let mut at: BTreeMap<oci::ChainId, usize> = BTreeMap::new();
        let mut layers: Vec<(crate::store::Layer, Vec<String>)> = Vec::new();
        for image in state.images.values() {
            for layer in &image.layers {
                let place = *at.entry(layer.chain_id.clone()).or_insert_with(|| {
                    layers.push((layer.clone(), Vec::new()));
                    layers.len() - 1
                });
                layers[place].1.extend(names(image));
            }
        }
        layers
    }
}

fn needs(state: &State) -> BTreeMap<Digest, Need> {
    let mut needs: BTreeMap<Digest, Need> = BTreeMap::new();
    for image in state.images.values() {
        let layers = image.layers.iter().map(|layer| (&layer.blob.digest, "layer"));
        let documents = [(&image.manifest.digest, "manifest"), (&image.id, "configuration")];
        for (digest, role) in layers.chain(documents) {
            let need = needs.entry(digest.clone()).or_default();
            need.role = Some(role);
            need.images.extend(names(image));
            need.sources.extend(image.digests.iter().cloned());
        }
    }
    for descriptor in &state.damaged {
        let need = needs.entry(descriptor.digest.clone()).or_default();
        need.role.get_or_insert("manifest");
        need.images.insert(name(descriptor));
        need.sources.extend(index::sources(descriptor));
    }
    needs
}

fn names(image: &Image) -> Vec<String> {
    match image.repo_tags() {
        tags if tags.is_empty() => vec![image.id.to_string()],
        tags => tags,
    }
}

fn name(descriptor: &Descriptor) -> String {
    let name = descriptor.annotations.get(index::REF_NAME);
    match name.and_then(|name| Reference::parse(name).ok()) {
        Some(reference) => reference.familiar(),
        None => descriptor.digest.to_string(),
    }
}
