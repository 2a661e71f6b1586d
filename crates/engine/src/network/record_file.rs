//! A network's record in a file of its own: what the store says of it once more, in case the store's file is damaged.
//!
//! As with containers (`container/record_file.rs`) it is written after the store knows the network and removed before the
//! store forgets it: where there is a file, there is a network. Never synced; what a power cut has taken is written again by
//! the next daemon.

use std::borrow::Cow;
use std::path::Path;

use base::error::chain;
use base::file::{Durability, read_optional, write_atomic};
use base::id::NetworkId;
use db::NetworkRow;
use serde::{Deserialize, Serialize};

use super::endpoint::{Endpoint, Publication};
use super::record::NetworkRecord;
use crate::container::Container;
use crate::daemon::encode;
use crate::files::{self, Layout};

/// Largest file in bytes.
const MAX: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct RecordFile<'a> {
    name: Cow<'a, str>,
    /// The record as the store has it.
    document: Cow<'a, str>,
}

/// Writes the file unless it is there and says the same. The store is what counts, so a failure is only told.
pub(crate) fn write(layout: &Layout, record: &NetworkRecord) {
    let text = encode(&RecordFile {
        name: record.name.as_str().into(),
        document: encode(record).into(),
    });
    let path = layout.network(&record.id);
    let is_there = read_optional(&path, MAX).is_ok_and(|found| found.as_deref() == Some(text.as_bytes()));
    if !is_there && let Err(error) = write_atomic(&path, text.as_bytes(), 0o600, Durability::Crash) {
        tracing::warn!(network = record.name, error = %chain(&error), "a network's record is in the store only");
    }
}

/// Removes the file.
pub(crate) fn remove(layout: &Layout, record: &NetworkRecord) {
    if let Err(error) = files::remove_file(&layout.network(&record.id)) {
        tracing::warn!(network = record.name, error = %chain(&error), "a network's record stays in its file");
    }
}

/// What is written of a running container's networks, as its state has it in the store.
#[derive(Serialize, Deserialize)]
struct Notes<'a> {
    endpoints: Cow<'a, [Endpoint]>,
    publications: Cow<'a, [Publication]>,
}

/// What is found again of it.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) publications: Vec<Publication>,
    /// Whether its questions for names are answered.
    pub(crate) is_answered: bool,
}

/// Returns what is to be found again of a container's networks while it runs: it travels in its task document, which is
/// written at each start anyway.
pub(crate) fn notes(container: &Container) -> String {
    let view = container.view();
    encode(&Notes {
        endpoints: Cow::Borrowed(&view.endpoints),
        publications: Cow::Borrowed(&view.publications),
    })
}

/// Returns what a task document says of its container's networks; nothing if it is on none.
pub(crate) fn places(task: &Path) -> Places {
    let read = || {
        let text = read_optional(task, MAX).ok()??;
        let task: shim_api::task::Task = serde_json::from_slice(&text).ok()?;
        let sandbox = task.network?;
        let notes: Notes<'_> = serde_json::from_str(&sandbox.notes).ok()?;
        Some(Places {
            endpoints: notes.endpoints.into_owned(),
            publications: notes.publications.into_owned(),
            is_answered: sandbox.resolver.is_some(),
        })
    };
    read().unwrap_or_default()
}

/// Returns the network of an id as its file has it, as a row for the store.
pub(crate) fn read(layout: &Layout, id: &NetworkId) -> Option<NetworkRow> {
    let text = read_optional(&layout.network(id.as_str()), MAX).ok()??;
    let file: RecordFile<'_> = serde_json::from_slice(&text).ok()?;
    // What cannot be used is not worth a row.
    serde_json::from_str::<NetworkRecord>(&file.document).ok()?;
    Some(NetworkRow {
        id: id.to_string(),
        name: file.name.into_owned(),
        document: file.document.into_owned(),
    })
}

/// Returns the networks that have a file and are not `known`.
pub(crate) fn lost(layout: &Layout, known: &dyn Fn(&str) -> bool) -> Vec<NetworkRow> {
    let entries = std::fs::read_dir(layout.networks())
        .into_iter()
        .flatten()
        .flatten();
    let ids = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".json")?.parse::<NetworkId>().ok()
    });
    ids.filter(|id| !known(id.as_str()))
        .filter_map(|id| read(layout, &id))
        .collect()
}
