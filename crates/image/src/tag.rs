//! `tag`: one more name for an image.

use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use oci::Reference;

use crate::resolve::ResolveError;
use crate::store::Store;

/// Why a name was not given.
#[derive(Debug, thiserror::Error)]
pub enum TagError {
    /// No such image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Docker: names with digests are given by content, not by people.
    #[error("refusing to create a tag with a digest reference")]
    Digest,
    /// The index could not be written.
    #[error(transparent)]
    File(#[from] base::file::FileError),
}

impl Kinded for TagError {
    fn kind(&self) -> Kind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::Digest => Kind::Invalid,
            Self::File(error) => error.kind(),
        }
    }
}

impl Store {
    /// Gives the image that `source` names the name `target` (tag `latest` by default), taking it from another image.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<(), TagError> {
        if target.digest().is_some() {
            return Err(TagError::Digest);
        }
        let mut state = self.lock();
        let image = state.resolve(source)?;
        let target = target.clone().with_default_tag();
        let mut changed = state.clone();
        changed.set_tag(&image.id, &target, Timestamp::now());
        Ok(self.replace(&mut state, changed)?)
    }
}
