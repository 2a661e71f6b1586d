//! `copy`: an image goes from one daemon to another, without what the other has.
//!
//! The giving side lists the image's blobs ([`Store::blobs_of`]), the taking side says which of them it lacks and keeps
//! the others from being removed ([`Store::missing`]), and an archive with only those goes over ([`Store::save`] with
//! [`crate::SaveOptions::only`], then [`Store::load`], which checks every blob that arrives against its digest).

use base::file::FileError;
use oci::image::Descriptor;
use oci::{Digest, media_type};

use crate::resolve::ResolveError;
use crate::store::Store;

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct ImageBlobs {
    /// The image's id.
    pub id: Digest,
    /// The manifest.
    pub manifest: Descriptor,
    /// Manifest, configuration and layers, each once.
    pub blobs: Vec<Descriptor>,
}

impl Store {
    /// Lists the blobs of the image that `name` means.
    pub fn blobs_of(&self, name: &str) -> Result<ImageBlobs, ResolveError> {
        let image = self.resolve(name)?;
        let config_size = self.content.blob_size(&image.id).unwrap_or_default();
        let config = Descriptor::new(media_type::OCI_CONFIG, image.id.clone(), config_size);
        let layers = image.layers.iter().map(|layer| layer.blob.clone());
        let mut blobs: Vec<Descriptor> = Vec::new();
        for blob in [image.manifest.clone(), config].into_iter().chain(layers) {
            if !blobs.iter().any(|own| own.digest == blob.digest) {
                blobs.push(blob);
            }
        }
        Ok(ImageBlobs {
            id: image.id.clone(),
            manifest: image.manifest.clone(),
            blobs,
        })
    }

    /// Returns which of the blobs of an image with this manifest are not here. Those that are, and those that come, are
    /// kept until the image is loaded, or for some days.
    pub fn missing(&self, manifest: &Digest, blobs: &[Digest]) -> Result<Vec<Digest>, FileError> {
        let lease = self.content.lease(manifest, blobs.iter().cloned())?;
        let missing = blobs.iter().filter(|digest| !self.content.has_blob(digest));
        let missing = missing.cloned().collect();
        drop(lease);
        Ok(missing)
    }
}
