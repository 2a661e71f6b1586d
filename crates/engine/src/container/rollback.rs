//! Rollback: a container's files become again what they were at an earlier commit, or when it was created.
//!
//! A container's line of states, newest first: its commits made upon the image that it stands on, that image; and if that
//! image is a commit of the same container, what was before it, and so on to the image that it was created from. What was
//! changed since the newest of them counts as one step.
//!
//! Only the files go back: its configuration, its mounts and its volumes stay. The record says first what the container
//! stands on from now on and that its file system is being made anew; a daemon that finds that goes on with it.

use std::sync::Arc;

use base::clock::Timestamp;
use base::error::{Kind, Kinded, chain};
use image::{Image, LayerSink};
use oci::digest::HashWriter;
use oci::{ChainId, Digest};
use storage::{Base, StorageError};
use tokio::sync::oneshot;

use super::actor::{Command, ask};
use super::changes::{FilesError, blocking, difference_options, failed, require_snapshot};
use super::create::snapshot_options;
use super::finish;
use super::record::{Container, Record, RollbackRecord};
use super::view::{LookupError, Status};
use crate::{Engine, failpoint};

/// A container was rolled back.
#[derive(Clone, Debug)]
pub struct RolledBack {
    /// The id of the image that it stands on now; empty if it was created from none.
    pub image: String,
}

/// Takes a container's files `steps` states back; it must not run.
pub async fn rollback(engine: &Arc<Engine>, name: &str, steps: usize) -> Result<RolledBack, FilesError> {
    let container = engine.registry.find(name)?;
    if steps == 0 {
        return Err(FilesError::Invalid {
            text: "a container is rolled back by one step at least".to_owned(),
        });
    }
    require_snapshot(&container)?;
    // Nobody starts or removes it meanwhile.
    let (_release, held) = oneshot::channel::<()>();
    ask(engine, &container, |granted| Command::Hold(granted, held))
        .await
        .ok_or_else(|| LookupError::NotFound {
            name: name.to_owned(),
        })?;
    check_state(&container)?;

    let (worker, held) = (Arc::clone(engine), Arc::clone(&container));
    let target = blocking(move || find_target(&worker, &held, steps)).await?;
    let mut record = Record::clone(&container.record());
    let mut pin = None;
    if let Some(image) = &target {
        crate::policy::check_use(engine, image, image.id.as_str()).map_err(|refusal| FilesError::Denied {
            text: refusal.to_string(),
        })?;
        record.image_id = image.id.to_string();
        record.layers = image.chain();
        pin = Some(engine.unpacker.pin(&record.layers));
        crate::image::ensure_layers(engine, image)
            .await
            .map_err(|error| FilesError::step("unpack the image for", &container, error.kind(), error))?;
    }
    record.rollback = Some(RollbackRecord {
        at: Timestamp::now(),
        is_under_way: true,
    });
    let (worker, renewed) = (Arc::clone(engine), Arc::clone(&container));
    blocking(move || {
        write_record(&worker, &renewed, record)?;
        failpoint::reached("rollback.intent");
        renew(&worker, &renewed)
    })
    .await?;
    drop(pin);
    let image = container.record().image_id.clone();
    finish::tell(engine, &container, "rollback", &[("imageID", image.clone())]);
    Ok(RolledBack { image })
}

/// Goes on with a rollback in which an earlier daemon died.
pub(crate) fn finish_rollback(engine: &Arc<Engine>, container: &Arc<Container>) {
    if is_under_way(&container.record())
        && let Err(error) = renew(engine, container)
    {
        tracing::error!(container = %container.id, error = %chain(&error), "a rollback could not be finished");
    }
}

/// Makes the file system anew on what the record says; safe to repeat as long as the container has not run since.
fn renew(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), FilesError> {
    let step = |error: StorageError| {
        let kind = error.kind();
        FilesError::step("make the file system anew of", container, kind, error)
    };
    let mut record = Record::clone(&container.record());
    engine.storage.remove_snapshot(&container.id).map_err(step)?;
    failpoint::reached("rollback.removed");
    let options = snapshot_options(&record);
    let base = match &record.host.rootfs {
        Some(rootfs) => Base::Directory(&rootfs.path),
        None => Base::Layers(&record.layers),
    };
    engine
        .storage
        .create_snapshot(&container.id, &base, &options)
        .map_err(step)?;
    failpoint::reached("rollback.created");
    record.rollback = record.rollback.map(|rollback| RollbackRecord {
        is_under_way: false,
        ..rollback
    });
    write_record(engine, container, record)
}

fn is_under_way(record: &Record) -> bool {
    record.rollback.is_some_and(|rollback| rollback.is_under_way)
}

fn write_record(engine: &Arc<Engine>, container: &Arc<Container>, record: Record) -> Result<(), FilesError> {
    let document = crate::daemon::encode(&record);
    engine
        .write_of(container, |batch| {
            batch.set_container_config(container.id.as_str(), &document)
        })
        .map_err(|error| FilesError::step("record the rollback of", container, Kind::Internal, error))?;
    super::record_file::update(&engine.layout, container, &record);
    let image = record.image_id.clone();
    container.set_record(record);
    container.publish(|view| view.image_id = image);
    Ok(())
}

fn check_state(container: &Container) -> Result<(), FilesError> {
    let view = container.view();
    match view.status {
        Status::Created | Status::Exited => Ok(()),
        Status::Running | Status::Paused | Status::Restarting => Err(FilesError::State {
            text: format!(
                "cannot roll back container \"/{}\": container is {}: stop the container first",
                view.name,
                view.status.as_str()
            ),
        }),
        Status::Removing | Status::Dead => Err(FilesError::State {
            text: format!("container {} is marked for removal", container.id),
        }),
    }
}

/// Returns the image to go back to; `None`: what the container stands on is no image, and stays.
fn find_target(
    engine: &Engine,
    container: &Container,
    steps: usize,
) -> Result<Option<Arc<Image>>, FilesError> {
    let line = line(engine, container)?;
    let newest = line.first().map(Option::as_ref);
    let is_changed = is_under_way(&container.record()) || is_changed(engine, container, newest.flatten())?;
    let place = if is_changed { steps - 1 } else { steps };
    let available = line.len() - usize::from(!is_changed);
    line.into_iter().nth(place).ok_or_else(|| FilesError::State {
        text: match available {
            0 => format!("container {} is as it was created", container.id.short()),
            1 => format!("container {} can go back by 1 step only", container.id.short()),
            _ => format!(
                "container {} can go back by {available} steps only",
                container.id.short()
            ),
        },
    })
}

/// Returns the states that a container can go back to, newest first; never empty.
fn line(engine: &Engine, container: &Container) -> Result<Vec<Option<Arc<Image>>>, FilesError> {
    let record = container.record();
    if record.image_id.is_empty() {
        return Ok(vec![None]);
    }
    let find = |id: &Digest| engine.images.get(id);
    let place: Option<Digest> = record.image_id.parse().ok();
    let mut place = place
        .and_then(|id| find(&id))
        .ok_or_else(|| FilesError::NotFound {
            text: format!("No such image: {}", record.image_id),
        })?;
    let images = engine.images.list();
    let is_own = |image: &Image| image.container.as_deref() == Some(container.id.as_str());
    let mut line = Vec::new();
    let mut before: Option<Timestamp> = None;
    // What was committed upon this image before the container came back to it is another line.
    let mut after = record.rollback.map(|rollback| rollback.at);
    loop {
        let mut commits: Vec<Arc<Image>> = images
            .iter()
            .filter(|image| is_own(image) && image.parent.as_ref() == Some(&place.id))
            .filter(|image| after.is_none_or(|after| image.created > after))
            .filter(|image| before.is_none_or(|before| image.created < before))
            .cloned()
            .collect();
        commits.sort_by_key(|image| std::cmp::Reverse(image.created));
        line.extend(commits.into_iter().map(Some));
        line.push(Some(Arc::clone(&place)));
        // Parents are older: this ends.
        let parent = place.parent.as_ref().filter(|_| is_own(&place)).and_then(find);
        let Some(parent) = parent else {
            return Ok(line);
        };
        after = None;
        before = Some(place.created);
        place = parent;
    }
}

/// Returns whether anything was changed since the newest state of the line.
fn is_changed(
    engine: &Engine,
    container: &Container,
    newest: Option<&Arc<Image>>,
) -> Result<bool, FilesError> {
    let record = container.record();
    let mut layer = HashWriter::new(std::io::sink());
    let summary = storage::pack_changes(
        &*engine.storage,
        &container.id,
        &difference_options(&record),
        &mut layer,
    )
    .map_err(|error| failed("read the changes of", container, error))?;
    let chain: Vec<ChainId> = newest.map(|image| image.chain()).unwrap_or_default();
    if summary.entries == 0 {
        // A commit of nothing has the layers of the image below.
        return Ok(newest.is_some() && chain != record.layers);
    }
    let top = newest.and_then(|image| image.layers.last());
    let is_commit = chain.len() == record.layers.len() + 1 && chain.starts_with(&record.layers);
    Ok(!is_commit || top.is_none_or(|top| top.diff_id != layer.finish().1))
}
