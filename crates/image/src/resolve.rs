//! `resolve`: what people type becomes an image.

use std::sync::Arc;

use base::error::{Kind, Kinded};
use oci::reference::ParseReferenceError;
use oci::{Digest, Reference};

use crate::store::{Image, State, Store};

/// Why a name means no image. The texts are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It is not a name.
    #[error(transparent)]
    Name(#[from] ParseReferenceError),
    /// There is no such image.
    #[error("No such image: {name}")]
    NotFound {
        /// The name, with its default tag.
        name: String,
    },
}

impl Kinded for ResolveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Name(error) => error.kind(),
            Self::NotFound { .. } => Kind::NotFound,
        }
    }
}

impl Store {
    /// Finds an image by `name[:tag]`, `name@digest`, id (with or without `sha256:`) or a unique start of an id.
    pub fn resolve(&self, name: &str) -> Result<Arc<Image>, ResolveError> {
        self.lock().resolve(name)
    }
}

impl State {
    pub(crate) fn resolve(&self, name: &str) -> Result<Arc<Image>, ResolveError> {
        let missing = |name: &str| ResolveError::NotFound {
            name: name.chars().take(300).collect(),
        };
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if let Ok(id) = Digest::from_sha256_hex(hex) {
            let by_manifest = || self.images.values().find(|image| image.manifest.digest == id);
            return self
                .images
                .get(&id)
                .or_else(by_manifest)
                .cloned()
                .ok_or_else(|| missing(name));
        }
        if name.starts_with("sha256:") {
            return self.by_id_prefix(hex).ok_or_else(|| missing(name));
        }
        let reference = Reference::parse(name)?.with_default_tag();
        self.by_name(&reference)
            .or_else(|| self.by_id_prefix(name))
            .ok_or_else(|| missing(&reference.familiar()))
    }

    fn by_name(&self, reference: &Reference) -> Option<Arc<Image>> {
        let matches = |image: &&Arc<Image>| match reference.digest() {
            None => image.tags.iter().any(|tag| tag.reference == *reference),
            // The digest says which; the repository must be one that it is known under.
            Some(digest) => {
                let is_it = image.manifest.digest == *digest || image.id == *digest;
                let repository = reference.repository();
                let is_known =
                    |own: &Reference| own.digest() == Some(digest) && own.repository() == repository;
                image.digests.iter().any(is_known)
                    || is_it
                        && image
                            .tags
                            .iter()
                            .any(|tag| tag.reference.repository() == repository)
            }
        };
        self.images.values().find(matches).cloned()
    }

    /// Finds the one image whose id begins with `prefix`; two are as good as none, as with Docker.
    fn by_id_prefix(&self, prefix: &str) -> Option<Arc<Image>> {
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut found = self
            .images
            .values()
            .filter(|image| image.id.hex().starts_with(prefix));
        let first = found.next()?;
        found.next().is_none().then(|| Arc::clone(first))
    }
}
