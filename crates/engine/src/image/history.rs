//! History: how an image was made.

use std::sync::Arc;

use base::clock::Timestamp;

use super::{ImageError, find};
use crate::Engine;

/// One step of an image's making.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The image's id for the newest entry and for those whose image is here, else `<missing>`.
    pub id: String,
    /// When.
    pub created: Timestamp,
    /// The command.
    pub created_by: String,
    /// The names of that image.
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
        let size = layer.map_or(0, |layer| layer.size);
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
    // The newest step is the image; those below it have a name as far as it was committed here.
    let mut next = Some(image);
    for entry in &mut entries {
        let Some(image) = next else { break };
        entry.id = image.id.to_string();
        entry.tags = image.repo_tags();
        next = image.parent.as_ref().and_then(|parent| engine.images.get(parent));
    }
    Ok(entries)
}
