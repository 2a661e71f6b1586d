//! `list`: all images.

use std::sync::Arc;

use crate::store::{Image, Store};

impl Store {
    /// Returns all images, newest first. An image without a name is dangling.
    pub fn list(&self) -> Vec<Arc<Image>> {
        let mut images: Vec<Arc<Image>> = self.lock().images.values().cloned().collect();
        images.sort_by(|one, other| {
            other
                .created
                .cmp(&one.created)
                .then_with(|| one.id.cmp(&other.id))
        });
        images
    }
}
