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
    /// Also the images that it was committed from, if nothing else needs them.
    pub prune: bool,
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
    /// An image was deleted (`Deleted`), by its id.
    Image(Digest),
    /// A layer was deleted (`Deleted`), by its chain id.
    Layer(Digest),
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
        let mut work = Work {
            state: state.clone(),
            users,
            removed: Removed {
                image: Some(image.id.clone()),
                ..Removed::default()
            },
        };
        let quiet = match named_reference(&image, name) {
            Some(reference) => {
                if !options.force
                    && is_single(&image)
                    && let Some(user) = users(&image.id).first()
                {
                    return Err(RemoveError::NameInUse {
                        name: name.to_owned(),
                        container: user.container.short().to_owned(),
                        image: image.id.short().to_owned(),
                    });
                }
                work.untag_with_digests(&image.id, &reference);
                true
            }
            None => {
                if is_single(&image) {
                    if let Some(conflict) = work.conflict(&image, options.force, Names::Ignored) {
                        return Err(conflict.error);
                    }
                    work.untag_all(&image.id);
                }
                false
            }
        };
        let has_names = work
            .state
            .images
            .get(&image.id)
            .is_some_and(|image| has_references(image));
        if !(quiet && has_names) {
            work.delete(&image.id, options.force, quiet)?;
            if options.prune {
                work.prune_parents(image.parent.as_ref());
            }
        }
        let Work {
            state: changed,
            removed,
            ..
        } = work;
        let deleted = removed
            .removals
            .iter()
            .any(|removal| matches!(removal, Removal::Image(_)));
        self.replace(&mut state, changed)?;
        if deleted && state.damaged.is_empty() {
            self.content.remove_unneeded(&state.needed_blobs())?;
        }
        Ok(removed)
    }
}

/// Whether an image's own names are in the way of its removal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// They are: without `force` it must have none.
    Count,
    /// They go with it.
    Ignored,
}

/// What forbids to delete an image.
struct Conflict {
    error: RemoveError,
    /// Whether it is a container.
    used: bool,
}

/// A removal under way, on a copy of the state.
struct Work<'a> {
    state: State,
    users: &'a dyn Fn(&Digest) -> Vec<ImageUser>,
    removed: Removed,
}

impl Work<'_> {
    /// Takes a name away; with the last tag of a repository go its digests.
    fn untag_with_digests(&mut self, id: &Digest, reference: &Reference) {
        self.untag(id, reference);
        if reference.digest().is_some() {
            return;
        }
        let Some(image) = self.state.images.get(id).cloned() else {
            return;
        };
        let repository = reference.repository();
        let same = |other: &Reference| other.repository() == repository;
        if image.tags.iter().any(|tag| same(&tag.reference)) {
            return;
        }
        for digest in image.digests.iter().filter(|digest| same(digest)) {
            self.untag(id, digest);
        }
    }

    fn untag_all(&mut self, id: &Digest) {
        let Some(image) = self.state.images.get(id).cloned() else {
            return;
        };
        for reference in references(&image) {
            self.untag(id, reference);
        }
    }

    fn untag(&mut self, id: &Digest, reference: &Reference) {
        if let Some(image) = self.state.images.get_mut(id) {
            let mut changed = Image::clone(image);
            changed.tags.retain(|tag| tag.reference != *reference);
            changed.digests.retain(|own| own != reference);
            *image = Arc::new(changed);
        }
        self.removed
            .removals
            .push(Removal::Untagged(reference.familiar()));
    }

    /// Deletes an image with all its names and the layers that no other image has. With `quiet`, an image that is needed
    /// stays and nobody is told.
    fn delete(&mut self, id: &Digest, force: bool, quiet: bool) -> Result<(), RemoveError> {
        let Some(image) = self.state.images.get(id).cloned() else {
            return Ok(());
        };
        if let Some(conflict) = self.conflict(&image, force, Names::Count) {
            let is_dangling = !has_references(&image) && self.state.children(id).next().is_none();
            return if quiet && (!is_dangling || conflict.used) {
                Ok(())
            } else {
                Err(conflict.error)
            };
        }
        self.untag_all(id);
        self.state.images.remove(id);
        self.removed.removals.push(Removal::Image(id.clone()));
        let kept: BTreeSet<&ChainId> = self
            .state
            .images
            .values()
            .flat_map(|image| image.layers.iter().map(|layer| &layer.chain_id))
            .collect();
        let gone = image.layers.iter().rev().map(|layer| &layer.chain_id);
        for layer in gone.filter(|layer| !kept.contains(layer)) {
            let removal = Removal::Layer(layer.digest().clone());
            self.removed.removals.push(removal);
            self.removed.orphaned_layers.push(layer.clone());
        }
        Ok(())
    }

    /// Deletes the images that a deleted one was committed from, up to the first that is needed.
    fn prune_parents(&mut self, parent: Option<&Digest>) {
        let mut next = parent.cloned();
        while let Some(id) = next {
            let Some(parent) = self.state.images.get(&id).map(|image| image.parent.clone()) else {
                return;
            };
            // The child may be there still, because a container runs.
            if self.delete(&id, false, true).is_err() || self.state.images.contains_key(&id) {
                return;
            }
            next = parent;
        }
    }

    /// Returns what forbids to delete an image, in Docker's order.
    fn conflict(&self, image: &Image, force: bool, names: Names) -> Option<Conflict> {
        let conflict = |forcible, used, reason| {
            let error = RemoveError::Conflict {
                image: image.id.short().to_owned(),
                forcible,
                reason,
            };
            Some(Conflict { error, used })
        };
        if self.state.children(&image.id).next().is_some() {
            return conflict(false, false, "image has dependent child images".to_owned());
        }
        let users = (self.users)(&image.id);
        if let Some(user) = users.iter().find(|user| user.running) {
            let reason = format!(
                "image is being used by running container {}",
                user.container.short()
            );
            return conflict(false, true, reason);
        }
        if force {
            return None;
        }
        if names == Names::Count && has_references(image) {
            let reason = "image is referenced in multiple repositories".to_owned();
            return conflict(true, false, reason);
        }
        let user = users.first()?;
        let reason = format!(
            "image is being used by stopped container {}",
            user.container.short()
        );
        conflict(true, true, reason)
    }
}

fn references(image: &Image) -> impl Iterator<Item = &Reference> {
    image.tags.iter().map(|tag| &tag.reference).chain(&image.digests)
}

fn has_references(image: &Image) -> bool {
    references(image).next().is_some()
}

/// Returns whether an image has one name at most, and digests of that repository only.
fn is_single(image: &Image) -> bool {
    if references(image).count() <= 1 {
        return true;
    }
    let one = match image.tags.as_slice() {
        [] => image.digests.first(),
        [tag] => Some(&tag.reference),
        _ => return false,
    };
    let Some(one) = one else { return true };
    image
        .digests
        .iter()
        .all(|digest| digest.repository() == one.repository())
}

/// Returns which of the image's names the user gave; none if it was given by id.
fn named_reference(image: &Image, name: &str) -> Option<Reference> {
    let given = Reference::parse(name).ok()?;
    let tagged = given.clone().with_default_tag();
    references(image)
        .find(|own| **own == given || **own == tagged)
        .cloned()
}
