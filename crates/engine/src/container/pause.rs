//! Pause and unpause: the freezer.

use std::sync::Arc;

use cgroup::Cgroup;

use super::actor::{Actor, Command, ask};
use super::finish;
use super::record::Container;
use super::state::{Answer, Ask, Happening, decide, next};
use super::view::{ChangeError, LookupError};
use crate::Engine;

/// Freezes every process of a container.
pub async fn pause(engine: &Arc<Engine>, name: &str) -> Result<(), ChangeError> {
    let container = engine.registry.find(name)?;
    freeze(engine, &container, true).await
}

/// Lets a frozen container go on.
pub async fn unpause(engine: &Arc<Engine>, name: &str) -> Result<(), ChangeError> {
    let container = engine.registry.find(name)?;
    unpause_container(engine, &container).await
}

/// As [`unpause`], for a container that was found.
pub(crate) async fn unpause_container(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
) -> Result<(), ChangeError> {
    freeze(engine, container, false).await
}

async fn freeze(engine: &Arc<Engine>, container: &Arc<Container>, frozen: bool) -> Result<(), ChangeError> {
    match ask(engine, container, |reply| Command::Freeze(frozen, reply)).await {
        Some(result) => result,
        None => Err(LookupError::NotFound {
            name: container.id.to_string(),
        }
        .into()),
    }
}

/// Carries it out, in the actor.
pub(crate) fn apply(actor: &mut Actor, frozen: bool) -> Result<(), ChangeError> {
    let (engine, container) = (&actor.engine, &actor.container);
    let (asked, happening, action, doing) = if frozen {
        (Ask::Pause, Happening::Frozen, "pause", "pause")
    } else {
        (Ask::Unpause, Happening::Thawed, "unpause", "unpause")
    };
    if let Answer::Refuse(refusal) = decide(container.view().status, asked) {
        return Err(ChangeError::State {
            text: refusal.text(container.id.as_str(), asked),
        });
    }
    let step = |source: cgroup::CgroupError| ChangeError::Step {
        doing,
        id: container.id.to_string(),
        source: Box::new(source),
    };
    let group = open_cgroup(engine, container).map_err(step)?;
    if frozen { group.freeze() } else { group.thaw() }.map_err(step)?;
    container.publish(|view| {
        if let Some(status) = next(view.status, happening) {
            view.status = status;
        }
    });
    // Not recorded: the freezer itself tells the next daemon.
    finish::tell(engine, container, action, &[]);
    Ok(())
}

/// Returns whether the container's processes are frozen.
pub(crate) fn is_frozen(actor: &Actor) -> bool {
    open_cgroup(&actor.engine, &actor.container).is_ok_and(|group| group.is_frozen().unwrap_or(false))
}

/// Opens a container's cgroup.
pub(crate) fn open_cgroup(engine: &Engine, container: &Container) -> Result<Cgroup, cgroup::CgroupError> {
    let record = container.record();
    let path = engine.cgroup_path(&record.host.cgroup_parent, container.id.as_str());
    Cgroup::open(&engine.host.cgroups, &path)
}
