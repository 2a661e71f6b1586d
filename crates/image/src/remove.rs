//! `remove`: Docker's rules for taking names away and deleting images.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::error::{Kind, Kinded};
use base::id::ContainerId;
use oci::{ChainId, Digest, Reference};

use crate::resolve::ResolveError;
use crate::store::{Image, State, Store};

/// How to remove.
#[derive(Clone, Copy, Debug)]
pub struct RemoveOptions {
    /// Also when there are other names or stopped containers.
    pub force: bool,
}

/// A container made from an image.
#[derive(Clone, Debug)]
pub struct ImageUser {
    /// The container.
    pub container: ContainerId,
    /// Whether it runs (or is paused).
    pub running: bool,
}

/// One thing that was done; Docker's reply is a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// A name was taken away (`Untagged`), as Docker prints it.
    Untagged(String),
    /// An image or a layer was deleted (`Deleted`), by its digest.
    Deleted(Digest),
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Removed {
    /// The image that was meant.
    pub image: Option<Digest>,
    /// For the reply, in order.
    pub removals: Vec<Removal>,
    /// Unpacked layers that no image has any more, topmost first: the caller removes them from `storage`, except those
    /// that a container's snapshot still stands on.
    pub orphaned_layers: Vec<ChainId>,
}

/// Why nothing, or not all, was removed. The texts are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// No such image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A container uses the image under this, its only, name.
    #[error(
        "conflict: unable to remove repository reference \"{name}\" (must force) - container {container} is using its referenced image {image}"
    )]
    NameInUse {
        /// The name as the user gave it.
        name: String,
        /// The container's short id.
        container: String,
        /// The image's short id.
        image: String,
    },
    /// Something is in the way.
    #[error("conflict: unable to delete {image} ({}) - {reason}", if *.forcible { "must be forced" } else { "cannot be forced" })]
    Conflict {
        /// The image's short id.
        image: String,
        /// Whether `force` would do.
        forcible: bool,
        /// What is in the way.
        reason: String,
    },
    /// The index could not be written.
    #[error(transparent)]
    File(#[from] base::file::FileError),
}

impl Kinded for RemoveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Resolve(error) => error.kind(),
            Self::NameInUse { .. } | Self::Conflict { .. } => Kind::Conflict,
            Self::File(error) => error.kind(),
        }
    }
}

impl Store {
    /// Removes a name, or an image with all its names, by Docker's rules. `users` tells which containers were made from
    /// an image; it is called with the store locked and must not call back.
    pub fn remove(
        &self,
        name: &str,
        options: &RemoveOptions,
        users: &dyn Fn(&Digest) -> Vec<ImageUser>,
    ) -> Result<Removed, RemoveError> {
        let mut state = self.lock();
        let image = state.resolve(name)?;
        let users = users(&image.id);
        let mut removed = Removed {
            image: Some(image.id.clone()),
            ..Removed::default()
        };
        let mut changed = state.clone();
        let by_name = named_tag(&image, name);
        if let Some(reference) = &by_name {
            if image.tags.len() == 1
                && !options.force
                && let Some(user) = users.first()
            {
                return Err(RemoveError::NameInUse {
                    name: name.to_owned(),
                    container: user.container.short().to_owned(),
                    image: image.id.short().to_owned(),
                });
            }
            untag(&mut changed, &image.id, reference, &mut removed);
            // Docker goes on to delete the image with its last name, but not from under a running container.
            if image.tags.len() > 1 || users.iter().any(|user| user.running) {
                self.replace(&mut state, changed)?;
                return Ok(removed);
            }
        } else {
            check(&image, options, &users)?;
            for tag in &image.tags {
                untag(&mut changed, &image.id, &tag.reference, &mut removed);
            }
        }
        changed.images.remove(&image.id);
        removed.removals.push(Removal::Deleted(image.id.clone()));
        let kept: BTreeSet<&ChainId> = changed
            .images
            .values()
            .flat_map(|image| image.layers.iter().map(|layer| &layer.chain_id))
            .collect();
        for layer in image
            .layers
            .iter()
            .rev()
            .filter(|layer| !kept.contains(&layer.chain_id))
        {
            removed
                .removals
                .push(Removal::Deleted(layer.chain_id.digest().clone()));
            removed.orphaned_layers.push(layer.chain_id.clone());
        }
        self.replace(&mut state, changed)?;
        if state.damaged.is_empty() {
            self.content.remove_unneeded(&state.needed_blobs())?;
        }
        Ok(removed)
    }
}

/// Returns which of the image's names the user gave; none if it was given by id.
fn named_tag(image: &Image, name: &str) -> Option<Reference> {
    let reference = Reference::parse(name).ok()?.with_default_tag();
    image
        .tags
        .iter()
        .map(|tag| &tag.reference)
        .find(|own| **own == reference)
        .cloned()
}

fn untag(state: &mut State, id: &Digest, reference: &Reference, removed: &mut Removed) {
    if let Some(image) = state.images.get_mut(id) {
        let mut changed = Image::clone(image);
        changed.tags.retain(|tag| tag.reference != *reference);
        *image = Arc::new(changed);
    }
    removed.removals.push(Removal::Untagged(reference.familiar()));
}

/// Checks what forbids to delete an image that was given by its id.
fn check(image: &Image, options: &RemoveOptions, users: &[ImageUser]) -> Result<(), RemoveError> {
    let conflict = |forcible, reason| RemoveError::Conflict {
        image: image.id.short().to_owned(),
        forcible,
        reason,
    };
    if let Some(user) = users.iter().find(|user| user.running) {
        let reason = format!(
            "image is being used by running container {}",
            user.container.short()
        );
        return Err(conflict(false, reason));
    }
    if options.force {
        return Ok(());
    }
    if image.tags.len() > 1 {
        return Err(conflict(
            true,
            "image is referenced in multiple repositories".to_owned(),
        ));
    }
    if let Some(user) = users.first() {
        let reason = format!(
            "image is being used by stopped container {}",
            user.container.short()
        );
        return Err(conflict(true, reason));
    }
    Ok(())
}
