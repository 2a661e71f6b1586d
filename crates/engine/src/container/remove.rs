//! Remove: nothing is left of a container but what the user said to keep.

use std::sync::Arc;

use base::error::{Kind, Kinded};

use super::actor::{Actor, Command, ask};
use super::finish;
use super::record::Container;
use super::state::{Answer, Ask, Happening, decide, next};
use super::stop;
use super::view::{LookupError, Status};
use crate::{Engine, failpoint, signal};

/// How to remove.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveRequest {
    /// Whether a running container is killed first.
    pub force: bool,
    /// Whether its anonymous volumes go with it.
    pub volumes: bool,
}

/// Removing failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// It runs.
    #[error("cannot remove container \"{name}\": container is {status}{remedy}")]
    Running {
        /// Its name, with docker's leading slash.
        name: String,
        /// `running`, `paused` or `restarting`.
        status: &'static str,
        /// docker's remedy.
        remedy: &'static str,
    },
    /// Another request removes it.
    #[error("removal of container {id} is already in progress")]
    InProgress {
        /// What was asked for.
        id: String,
    },
    /// A step failed; the container is dead and can be removed again.
    #[error("{doing} container {id}")]
    Step {
        /// What was being done.
        doing: &'static str,
        /// The container.
        id: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Kinded for RemoveError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::Running { .. } | Self::InProgress { .. } => Kind::Conflict,
            Self::Step { .. } => Kind::Internal,
        }
    }
}

/// Removes a container.
pub async fn remove(engine: &Arc<Engine>, name: &str, request: RemoveRequest) -> Result<(), RemoveError> {
    let container = engine.registry.find(name)?;
    let status = container.view().status;
    if decide(status, Ask::Remove) == Answer::Already {
        return Err(RemoveError::InProgress { id: name.to_owned() });
    }
    if status.is_running() && request.force {
        let auto_remove = container.record().host.auto_remove;
        let mut view = container.view.subscribe();
        stop::end(engine, &container, signal::KILL, None)
            .await
            .map_err(|error| RemoveError::Step {
                doing: "kill",
                id: container.id.to_string(),
                source: Box::new(error),
            })?;
        if auto_remove {
            // It removes itself, with its volumes.
            drop(
                view.wait_for(|view| view.gone || view.status == Status::Dead)
                    .await,
            );
            return Ok(());
        }
    }
    match ask(engine, &container, |reply| Command::Remove(request, reply)).await {
        Some(result) => result,
        // It was removed meanwhile, which is what was wanted.
        None => Ok(()),
    }
}

/// Carries it out, in the actor. The commit that forgets the record is the point of no return; trees are removed after
/// the reply, and the next daemon sweeps what has no record.
pub(crate) fn apply(actor: &mut Actor, request: RemoveRequest) -> Result<(), RemoveError> {
    let (engine, container) = (Arc::clone(&actor.engine), Arc::clone(&actor.container));
    let view = container.view();
    if view.gone {
        return Ok(());
    }
    match decide(view.status, Ask::Remove) {
        Answer::Accept => {}
        Answer::Already => {
            return Err(RemoveError::InProgress {
                id: container.id.to_string(),
            });
        }
        Answer::Refuse(_) => {
            return Err(RemoveError::Running {
                name: format!("/{}", view.name),
                status: view.status.as_str(),
                remedy: match view.status {
                    Status::Paused => " and must be unpaused first",
                    _ => ": stop the container before removing or force remove",
                },
            });
        }
    }
    begin(&engine, &container, request.volumes);
    if let Err(error) = forget(&engine, &container) {
        super::record_file::update(&engine.layout, &container, &container.record());
        let error = RemoveError::Step {
            doing: "forget",
            id: container.id.to_string(),
            source: Box::new(error),
        };
        container.publish(|view| {
            view.status = next(view.status, Happening::RemovalFailed).unwrap_or(Status::Dead);
            view.removal_error = Some(base::error::chain(&error).to_string());
        });
        return Err(error);
    }
    engine.registry.remove(&container);
    tell(&engine, &container);
    remove_trees(&engine, &container);
    Ok(())
}

/// Removes a container that ended and was started with `--rm`. Everybody is told before the record is forgotten, which takes
/// the most of it: a daemon that is killed in between finds a container whose run has ended, and removes it.
pub(crate) async fn apply_to_ended(actor: &mut Actor) {
    let (engine, container) = (Arc::clone(&actor.engine), Arc::clone(&actor.container));
    if container.view().gone {
        return;
    }
    begin(&engine, &container, true);
    engine.registry.hide(&container);
    tell(&engine, &container);
    // Those who were told run on this thread, and first.
    tokio::task::yield_now().await;
    match forget(&engine, &container) {
        Ok(()) => {
            engine.registry.forget(&container);
            remove_trees(&engine, &container);
        }
        // Its name stays taken: it is in the record.
        Err(error) => {
            engine.registry.keep_name(&container);
            let error = base::error::chain(&error).to_string();
            tracing::error!(container = %container.id, error, "a container's record is left to the next daemon");
        }
    }
}

fn begin(engine: &Arc<Engine>, container: &Container, volumes: bool) {
    container.publish(|view| {
        view.status = next(view.status, Happening::RemovalBegan).unwrap_or(view.status);
        view.removal_error = None;
    });
    let record = container.record();
    for mount in record.mounts.iter().filter(|mount| volumes && mount.anonymous) {
        let name = &mount.point.name;
        if crate::volume::users(engine, name)
            .iter()
            .any(|user| *user != container.id)
        {
            continue;
        }
        // One that is gone already is what was wanted; one that cannot go stays and is listed.
        if let Err(error) = engine.reserve.with_room(|| engine.volumes.remove(name)) {
            tracing::warn!(volume = %name, error = %base::error::chain(&error), "a volume could not be removed");
        }
    }
    failpoint::reached("remove.volumes");
    engine.kept_logs.note(container);
}

fn forget(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), db::StoreError> {
    super::record_file::remove(&engine.layout, container);
    let forget = || engine.write_of(container, |batch| batch.remove_container(container.id.as_str()));
    engine.reserve.with_room(forget)?;
    failpoint::reached("remove.record");
    Ok(())
}

fn tell(engine: &Arc<Engine>, container: &Container) {
    container.streams().pending.clear();
    if let Some(groups) = container.take_groups() {
        groups.discard(engine);
    }
    super::exec::container_removed(engine, container);
    finish::tell(engine, container, "destroy", &[]);
    container.publish(|view| view.gone = true);
}

fn remove_trees(engine: &Arc<Engine>, container: &Container) {
    let (worker, id, user_base) = (
        Arc::clone(engine),
        container.id.clone(),
        container.record().user_base,
    );
    engine.defer(move || {
        let snapshot = worker.storage.remove_snapshot(&id);
        failpoint::reached("remove.snapshot");
        worker.kept_logs.keep(&id);
        let directory = crate::files::remove_tree(&worker.layout.container(&id)).and(worker.layout.remove_run(&id));
        failpoint::reached("remove.directory");
        if let Err(error) = &snapshot {
            tracing::warn!(container = %id, error = %base::error::chain(error), "a snapshot could not be removed");
        }
        if let Err(error) = &directory {
            tracing::warn!(container = %id, error = %base::error::chain(error), "a directory could not be removed");
        }
        worker.spares.make();
        // Only now: a new container with these ids must not meet files of the old one.
        if let Some(base) = user_base {
            worker.registry.leave_base(base);
        }
    });
    engine.touch();
}
