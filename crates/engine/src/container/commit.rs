//! Commit: a container's changes become a layer, and with its configuration an image.

use std::path::PathBuf;
use std::sync::Arc;

use base::error::{Kind, Kinded, chain};
use base::file::{Durability, write_atomic};
use image::{CommitOptions, NewLayer};
use oci::Reference;
use oci::digest::ParseDigestError;
use oci::image::{Empty, RunConfig};

use super::changes::{FilesError, blocking, difference_options, failed, require_snapshot};
use super::finish;
use super::pause::{pause, unpause_container};
use super::record::Container;
use super::view::Status;
use crate::config::Config;
use crate::image::{parse_reference, tell};
use crate::{Engine, failpoint};

/// What the new image is.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// `name[:tag]`; `None`: no name.
    pub reference: Option<String>,
    /// Who made it.
    pub author: String,
    /// The comment.
    pub comment: String,
    /// Dockerfile instructions (`--change`).
    pub changes: Vec<String>,
    /// Whether its processes are frozen meanwhile.
    pub pause: bool,
    /// A configuration instead of the container's own; what it leaves out is the container's.
    pub config: Option<Config>,
}

/// Makes an image of a container and returns its id (`sha256:…`).
pub async fn commit(engine: &Arc<Engine>, name: &str, request: CommitRequest) -> Result<String, FilesError> {
    let container = engine.registry.find(name)?;
    let invalid = |text: String| FilesError::Invalid { text };
    let wanted = request.reference.as_deref().filter(|name| !name.is_empty());
    let reference = wanted
        .map(|name| parse_reference(name).map_err(|error| invalid(error.to_string())))
        .transpose()?;
    if reference.as_ref().is_some_and(|name| name.digest().is_some()) {
        return Err(invalid(
            "refusing to create a tag with a digest reference".to_owned(),
        ));
    }
    engine
        .images
        .check_changes(&request.changes)
        .map_err(|error| invalid(error.to_string()))?;
    check_state(&container)?;
    require_snapshot(&container)?;
    let frozen = if request.pause {
        Frozen::freeze(engine, &container).await?
    } else {
        None
    };
    failpoint::reached("commit.pause");
    let made = make(engine, &container, &request, reference.clone()).await;
    if let Some(frozen) = frozen {
        frozen.thaw(engine).await;
    }
    failpoint::reached("commit.unpause");
    let id = made?;
    let mut facts = vec![("comment", request.comment), ("imageID", id.clone())];
    if let Some(reference) = &reference {
        facts.push(("imageRef", reference.familiar()));
        tell(engine, "tag", &id, Some(&reference.familiar()));
    }
    finish::tell(engine, &container, "commit", &facts);
    Ok(id)
}

async fn make(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    request: &CommitRequest,
    name: Option<Reference>,
) -> Result<String, FilesError> {
    let record = container.record();
    let parent = match record.image_id.as_str() {
        "" => None,
        id => Some(id.parse().map_err(|error: ParseDigestError| {
            FilesError::step("read the image of", container, Kind::Internal, error)
        })?),
    };
    if parent.is_none() && record.host.rootfs.is_some() {
        return Err(FilesError::Unsupported {
            text: format!(
                "container {} stands on a directory and not on an image: export and import it",
                container.id.short()
            ),
        });
    }
    let below = parent.as_ref().and_then(|id| engine.images.get(id));
    let below = below.map(|image| image.config.config.clone()).unwrap_or_default();
    let config = match &request.config {
        Some(config) => {
            let mut config = config.clone();
            spec::merge(&mut config, &run_config(&record.config, below.clone()));
            config
        }
        None => Config::clone(&record.config),
    };
    let options = CommitOptions {
        parent,
        container: Some(container.id.to_string()),
        created_by: record.config.cmd.clone().unwrap_or_default().join(" "),
        config: run_config(&config, below),
        changes: request.changes.clone(),
        author: request.author.clone(),
        comment: request.comment.clone(),
        name,
    };
    let (worker, container) = (Arc::clone(engine), Arc::clone(container));
    blocking(move || {
        let layer = pack(&worker, &container)?;
        failpoint::reached("commit.layer");
        let image = worker
            .images
            .commit(layer, &options)
            .map_err(|error| match error.kind() {
                Kind::Invalid => FilesError::Invalid {
                    text: chain(&error).to_string(),
                },
                Kind::NotFound => FilesError::NotFound {
                    text: error.to_string(),
                },
                kind => FilesError::step("make an image of", &container, kind, error),
            })?;
        failpoint::reached("commit.image");
        Ok(image.id.to_string())
    })
    .await
}

/// Stores the layer; `None` if nothing changed.
fn pack(engine: &Engine, container: &Container) -> Result<Option<NewLayer>, FilesError> {
    let stored =
        |error: image::BlobError| FilesError::step("store the layer of", container, error.kind(), error);
    let mut layer = engine.images.begin_layer().map_err(stored)?;
    let options = difference_options(&container.record());
    let summary = storage::pack_changes(&*engine.storage, &container.id, &options, &mut layer)
        .map_err(|error| failed("read the changes of", container, error))?;
    if summary.entries == 0 {
        return Ok(None);
    }
    let layer = engine
        .images
        .finish_layer(layer, summary.content_bytes)
        .map_err(stored)?;
    Ok(Some(layer))
}

fn check_state(container: &Container) -> Result<(), FilesError> {
    let refused = |what: &str| {
        Err(FilesError::State {
            text: format!("You cannot commit container {} which is {what}", container.id),
        })
    };
    match container.view().status {
        Status::Dead => refused("Dead"),
        Status::Removing => refused("RemovalInProgress"),
        _ => Ok(()),
    }
}

/// Returns what of a container's configuration an image has; what containers cannot say stays as the image below says.
fn run_config(config: &Config, below: RunConfig) -> RunConfig {
    RunConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.iter().map(|name| (name, Empty {})).collect(),
        env: Some(config.env.clone()).filter(|env| !env.is_empty()),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: config
            .volumes
            .iter()
            .map(|path| (path.clone(), Empty {}))
            .collect(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: Some(config.stop_signal.clone()).filter(|signal| !signal.is_empty()),
        stop_timeout: config.stop_timeout,
        ..below
    }
}

/// A container that is frozen for a commit. A file says so, so that the next daemon lets it go on if this one dies.
#[derive(Debug)]
struct Frozen {
    container: Arc<Container>,
    mark: PathBuf,
}

impl Frozen {
    /// Freezes a container that runs; `None` if it does not, or if somebody else has frozen it.
    async fn freeze(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<Option<Self>, FilesError> {
        if container.view().status != Status::Running {
            return Ok(None);
        }
        let mark = mark(engine, container);
        write_atomic(&mark, b"", 0o600, Durability::Crash)
            .map_err(|error| FilesError::step("note the pause of", container, Kind::Internal, error))?;
        let own = Self {
            container: Arc::clone(container),
            mark,
        };
        match pause(engine, container.id.as_str()).await {
            Ok(()) => Ok(Some(own)),
            Err(error) => {
                own.forget();
                // It ended, or was paused, just now.
                if container.view().status == Status::Running {
                    return Err(FilesError::step("pause", container, error.kind(), error));
                }
                Ok(None)
            }
        }
    }

    async fn thaw(self, engine: &Arc<Engine>) {
        if let Err(error) = unpause_container(engine, &self.container).await
            && self.container.view().status == Status::Paused
        {
            tracing::error!(container = %self.container.id, error = %chain(&error), "a container stays paused after a commit");
        }
        self.forget();
    }

    fn forget(&self) {
        if let Err(error) = crate::files::remove_file(&self.mark) {
            tracing::warn!(container = %self.container.id, error = %chain(&error), "the note of a pause stays");
        }
    }
}

fn mark(engine: &Engine, container: &Container) -> PathBuf {
    engine.layout.container(&container.id).join("paused-for-commit")
}

/// Lets a container go on that an earlier daemon had frozen for a commit when it died.
pub(crate) async fn thaw_left_over(engine: &Arc<Engine>, container: &Arc<Container>) {
    let mark = mark(engine, container);
    if !mark.exists() {
        return;
    }
    let frozen = Frozen {
        container: Arc::clone(container),
        mark,
    };
    if container.view().status == Status::Paused {
        frozen.thaw(engine).await;
    } else {
        frozen.forget();
    }
}
