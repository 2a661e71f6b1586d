//! History: how an image was made.

use std::sync::Arc;

use base::clock::Timestamp;

use super::{ImageError, find};
use crate::Engine;

/// One step of an image's making.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The image's id for the newest entry, else `<missing>`.
    pub id: String,
    /// When.
    pub created: Timestamp,
    /// The command.
    pub created_by: String,
    /// The names of the image, for the newest entry.
    pub tags: Vec<String>,
    /// Bytes of the layer it made.
    pub size: u64,
    /// The comment.
    pub comment: String,
}

/// Returns how an image was made, newest step first.
pub async fn history(engine: &Arc<Engine>, image: &str) -> Result<Vec<HistoryEntry>, ImageError> {
    let image = find(engine, image)?;
    let mut layers = image.layers.iter();
    let mut entries: Vec<HistoryEntry> = Vec::new();
    for step in &image.config.history {
        let layer = if step.empty_layer { None } else { layers.next() };
        let size = layer
            .and_then(|layer| engine.storage.layer(&layer.chain_id).ok())
            .map_or(0, |facts| facts.size);
        entries.push(HistoryEntry {
            id: "<missing>".to_owned(),
            created: step
                .created
                .as_deref()
                .and_then(|text| text.parse().ok())
                .unwrap_or(Timestamp::NEVER),
            created_by: step.created_by.clone().unwrap_or_default(),
            tags: Vec::new(),
            size,
            comment: step.comment.clone().unwrap_or_default(),
        });
    }
    entries.reverse();
    if let Some(newest) = entries.first_mut() {
        newest.id = image.id.to_string();
        newest.tags = image.repo_tags();
    }
    Ok(entries)
}
