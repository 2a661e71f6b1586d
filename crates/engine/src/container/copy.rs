//! Copying: single paths of a container as archives, in both directions, while it runs or not.
//!
//! Paths are the container's, and it may change what they lead to at any moment. So none becomes a path of the host: the
//! container's root is opened once ([`root`]), everything below it is opened with `openat2` and worked on by descriptor,
//! and the last step of a path is never followed unasked (CP-01, CP-04). No program is run, neither of the image nor of
//! the host, and decompression is this process's own (CP-02, CP-03).

mod collect;
mod extract;
mod path;
mod root;

use std::sync::Arc;

use base::clock::Timestamp;
use base::error::{Kind, Kinded, chain};
use tokio::io::AsyncRead;
use tokio::sync::oneshot;
use tokio_util::io::SyncIoBridge;

use super::changes::FilesError;
use super::finish;
use super::record::Container;
use crate::Engine;
use path::CopyPath;

/// Bytes that wait for a slow client.
const BUFFER: usize = 256 << 10;

/// What a path in a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// The last part of the path as it was asked for: `.` and `/` too.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its mode as stat(2) has it.
    pub mode: u32,
    /// When it changed.
    pub modified: Timestamp,
    /// Where a symbolic link leads in the end, inside of the container; else empty.
    pub link_target: String,
}

/// How an archive is unpacked in a container.
#[derive(Clone, Debug, Default)]
pub struct ExtractRequest {
    /// The directory.
    pub path: String,
    /// Whether it is an error that a directory would replace something else, or the other way round.
    pub keep_kinds: bool,
    /// Whether the files get the ids of the container's user.
    pub copy_ids: bool,
}

/// Tells what a path in a container is.
pub async fn look(engine: &Arc<Engine>, name: &str, path: &str) -> Result<PathFacts, FilesError> {
    let container = engine.registry.find(name)?;
    let (shown, path) = (name.to_owned(), path.to_owned());
    root::with(engine, &container, move |sight| {
        let path = CopyPath::parse(&path)?;
        let found = path
            .find(&sight.root)
            .map_err(|error| path.missing(&shown, error))?;
        path.facts(&sight.root, &found)
    })
    .await
}

/// Returns what a path in a container is, and an archive of it and of all below it; ids are those inside. The archive's
/// names begin with the path's last part. A failure after the first byte shows as an archive that is cut off.
pub async fn get(
    engine: &Arc<Engine>,
    name: &str,
    path: &str,
) -> Result<(PathFacts, Box<dyn AsyncRead + Send + Unpin>), FilesError> {
    let container = engine.registry.find(name)?;
    let (shown, path) = (name.to_owned(), path.to_owned());
    let (reader, writer) = tokio::io::duplex(BUFFER);
    let writer = SyncIoBridge::new(writer);
    let (first, facts) = oneshot::channel();
    let work = move |sight: &root::Sight| {
        let path = CopyPath::parse(&path)?;
        let found = path
            .find(&sight.root)
            .map_err(|error| path.missing(&shown, error))?;
        let facts = path.facts(&sight.root, &found)?;
        if first.send(facts).is_err() {
            return Ok(());
        }
        collect::collect(sight, &found, path.name(), writer)
    };
    let id = container.id.to_string();
    let (worker, target) = (Arc::clone(engine), Arc::clone(&container));
    let whole = tokio::spawn(async move { root::with(&worker, &target, work).await });
    let Ok(facts) = facts.await else {
        // It failed before it knew.
        return match whole.await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(lost()),
        };
    };
    drop(tokio::spawn(async move {
        if let Ok(Err(error)) = whole.await {
            tracing::warn!(container = id, error = %chain(&error), "an archive was not written to its end");
        }
    }));
    finish::tell(engine, &container, "archive-path", &[]);
    Ok((facts, Box::new(reader)))
}

/// Unpacks an archive (plain, gzip or zstd) in a directory of a container.
pub async fn put(
    engine: &Arc<Engine>,
    name: &str,
    request: ExtractRequest,
    archive: impl AsyncRead + Send + Unpin + 'static,
) -> Result<(), FilesError> {
    let container = engine.registry.find(name)?;
    let shown = name.to_owned();
    let archive = SyncIoBridge::new(archive);
    let target = Arc::clone(&container);
    root::with(engine, &container, move |sight| {
        let path = CopyPath::parse(&request.path)?;
        let resolved = path.resolve(&sight.root);
        let directory = path
            .open_directory(&sight.root)
            .map_err(|error| path.missing_directory(&shown, error))?;
        refuse_read_only(&target, &resolved)?;
        let owner = if request.copy_ids {
            user_of(&target, &sight.root)?
        } else {
            None
        };
        let options = extract::Options {
            keep_kinds: request.keep_kinds,
            owner,
        };
        extract::extract(sight, &resolved, directory, archive, &options).map_err(|error| match &sight.full {
            Some(cause) if error.is_read_only() => {
                FilesError::step("copy files into", &target, Kind::Internal, cause.clone())
            }
            _ => extract_error(&target, &resolved, error),
        })
    })
    .await?;
    finish::tell(engine, &container, "extract-to-dir", &[]);
    Ok(())
}

/// The texts are docker's.
const READ_ONLY_ROOT: &str = "container rootfs is marked read-only";
const READ_ONLY_VOLUME: &str = "mounted volume is marked read-only";

/// Refuses what the container itself could not write, as docker does.
fn refuse_read_only(container: &Container, path: &str) -> Result<(), FilesError> {
    let record = container.record();
    match mount_of(container, path) {
        Some(true) => Ok(()),
        Some(false) => Err(denied(READ_ONLY_VOLUME)),
        None if record.host.read_only_rootfs => Err(denied(READ_ONLY_ROOT)),
        None => Ok(()),
    }
}

/// Returns whether the mount that holds `path` is writable; `None` if it is the root.
fn mount_of(container: &Container, path: &str) -> Option<bool> {
    let record = container.record();
    let holds = |destination: &str| {
        path == destination
            || path
                .strip_prefix(destination)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let mounts = record.mounts.iter().map(|mount| &mount.point);
    let holding = mounts.filter(|point| holds(&point.destination));
    holding
        .max_by_key(|point| point.destination.len())
        .map(|point| point.rw)
}

fn denied(text: &str) -> FilesError {
    FilesError::Denied {
        text: text.to_owned(),
    }
}

fn extract_error(container: &Container, path: &str, error: extract::ExtractError) -> FilesError {
    match error.kind() {
        Kind::Denied if error.is_read_only() => denied(match mount_of(container, path) {
            Some(_) => READ_ONLY_VOLUME,
            None => READ_ONLY_ROOT,
        }),
        Kind::Invalid | Kind::Unsupported => FilesError::Invalid {
            text: chain(&error).to_string(),
        },
        kind => FilesError::step("copy files into", container, kind, error),
    }
}

/// Returns the ids, inside, of the user that the container runs as; `None` if it names none.
fn user_of(container: &Container, root: &sys::path::Root) -> Result<Option<(u32, u32)>, FilesError> {
    let user = container.record().config.user.clone();
    if user.is_empty() {
        return Ok(None);
    }
    let found = runtime::look_up(root, &user, &[]).map_err(|error| FilesError::Invalid {
        text: chain(&error).to_string(),
    })?;
    Ok(Some((found.uid, found.gid)))
}

fn lost() -> FilesError {
    FilesError::Unsupported {
        text: "the daemon met a fault of its own; its log has more".to_owned(),
    }
}
