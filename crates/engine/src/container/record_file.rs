//! A container's record beside its files: what the store says of it once more, in case the store's file is damaged.
//!
//! Written a moment after the store knows the container and removed before the store forgets it: where there is a file, there
//! is a container. Never synced; a power cut takes it at worst, and it is written again with the next change.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Timestamp;
use base::error::chain;
use base::file::{FileError, read_optional};
use base::id::ContainerId;
use db::ContainerRow;
use serde::{Deserialize, Serialize};

use super::record::{Container, Record, StateRecord};
use super::view::{Exit, Status};
use crate::Engine;
use crate::files::Layout;

const FILE: &str = "record.json";
/// Largest file in bytes.
const MAX: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct RecordFile<'a> {
    name: std::borrow::Cow<'a, str>,
    slot: Option<u32>,
    /// The record as the store has it.
    config: std::borrow::Cow<'a, str>,
}

/// Writes the file of a new container when it has lived for a moment: most of those that are gone by then never need one, and
/// a new file can cost more than all else that is written at a start.
pub(crate) fn write_later(engine: &Arc<Engine>, container: &Arc<Container>) {
    const MOMENT: Duration = Duration::from_millis(100);
    let stays = |container: &Container| {
        let view = container.view();
        !view.gone && view.status != Status::Removing
    };
    let (worker, written, asked) = (Arc::clone(engine), Arc::clone(container), Arc::clone(container));
    engine.defer_by(
        MOMENT,
        move || stays(&asked),
        move || {
            // Who removes it waits for this, see `remove`.
            let _turn = written.unrecorded();
            if stays(&written) {
                update(&worker.layout, &written, &written.record());
            }
        },
    );
}

/// Writes the file. The store is what counts, so a failure is only told.
fn write(layout: &Layout, row: &ContainerRow) {
    let text = crate::daemon::encode(&RecordFile {
        name: row.name.as_str().into(),
        slot: row.slot,
        config: row.config.as_str().into(),
    });
    let path = layout.containers().join(&row.id).join(FILE);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| FileError::new("write", &path, source));
    if let Err(error) = written {
        tracing::warn!(container = row.id, error = %chain(&error), "a container's record is in the store only");
    }
}

/// Writes the file again when a container becomes what `record` says.
pub(crate) fn update(layout: &Layout, container: &Container, record: &Record) {
    write(
        layout,
        &ContainerRow {
            id: container.id.to_string(),
            name: container.view().name.clone(),
            slot: record.user_base.map(crate::registry::slot_of),
            config: crate::daemon::encode(record),
            state: String::new(),
        },
    );
}

/// Removes the file of a container that is being removed.
pub(crate) fn remove(layout: &Layout, container: &Container) {
    drop(container.unrecorded());
    let id = &container.id;
    if let Err(error) = crate::files::remove_file(&layout.container(id).join(FILE)) {
        tracing::warn!(container = %id, error = %chain(&error), "a container's record stays beside its files");
    }
}

/// Returns the containers that have a file and are not `known`, as rows: what ran in this boot of the machine is said to
/// run, and found out by recovery.
pub(crate) fn lost(layout: &Layout, boot_id: &str, known: &dyn Fn(&str) -> bool) -> Vec<ContainerRow> {
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(layout.containers())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<ContainerId>().ok()) else {
            continue;
        };
        if known(id.as_str()) {
            continue;
        }
        let text = read_optional(&entry.path().join(FILE), MAX).ok().flatten();
        let Some(file) = text
            .as_deref()
            .and_then(|text| serde_json::from_slice::<RecordFile<'_>>(text).ok())
        else {
            continue;
        };
        let ran_in_this_boot = layout.task(&id).exists();
        let places = if ran_in_this_boot {
            crate::network::record_file::places(&layout.task(&id))
        } else {
            crate::network::record_file::Places::default()
        };
        let has_ended = layout.exit_record(&id, false).exists();
        let state = StateRecord {
            status: if ran_in_this_boot || has_ended {
                Status::Running
            } else {
                Status::Created
            },
            started_at: Timestamp::NEVER,
            finished_at: Timestamp::NEVER,
            exit: Exit::default(),
            restart_count: 0,
            stopped: false,
            endpoints: places.endpoints,
            publications: places.publications,
            is_answered: places.is_answered,
            boot_id: if ran_in_this_boot {
                boot_id.to_owned()
            } else {
                String::new()
            },
        };
        rows.push(ContainerRow {
            id: id.to_string(),
            name: file.name.into_owned(),
            slot: file.slot,
            config: file.config.into_owned(),
            state: crate::daemon::encode(&state),
        });
    }
    rows
}
