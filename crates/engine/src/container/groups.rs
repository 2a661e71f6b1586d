//! A container's cgroups, made beside the other steps: on v1 that is a directory in each of ten hierarchies, and most of what
//! its shim would have to do before there can be a first process. The shim takes over what is there. What fails here fails
//! there as well, where it is told.

use std::sync::Arc;
use std::time::Duration;

use base::error::chain;
use base::id::ContainerId;
use cgroup::Cgroup;
use tokio::task::JoinHandle;

use crate::Engine;
use crate::config::HostConfig;

/// How long dying processes may keep a group from being removed.
const PATIENCE: Duration = Duration::from_secs(2);

/// Groups that are being made, or are made, for a container that does not use them yet.
#[derive(Debug)]
pub(crate) struct Groups {
    making: JoinHandle<()>,
    path: String,
}

impl Groups {
    /// Begins to make the groups of container `id`.
    pub(crate) fn begin(engine: &Engine, id: &ContainerId, host: &HostConfig) -> Self {
        let path = engine.cgroup_path(&host.cgroup_parent, id.as_str());
        let (layout, of) = (engine.host.cgroups.clone(), path.clone());
        let making = tokio::task::spawn_blocking(move || drop(Cgroup::create(&layout, &of)));
        Self { making, path }
    }

    /// As [`Groups::begin`], for a container that has a directory but no record yet. Where the next daemon would not look
    /// for groups of a container without a record there are none.
    pub(crate) fn begin_early(engine: &Engine, id: &ContainerId, host: &HostConfig) -> Option<Self> {
        host.cgroup_parent
            .is_empty()
            .then(|| Self::begin(engine, id, host))
    }

    /// Waits until nobody makes them any more: who removes them must not meet somebody who does.
    pub(crate) async fn settled(self) {
        self.making.await.ok();
    }

    /// Removes groups that no container will use.
    pub(crate) fn discard(self, engine: &Arc<Engine>) {
        let (engine, path) = (Arc::clone(engine), self.path.clone());
        drop(tokio::spawn(async move {
            self.settled().await;
            let layout = engine.host.cgroups.clone();
            engine.defer(move || {
                if let Err(error) = Cgroup::remove_path(&layout, &path, PATIENCE) {
                    tracing::warn!(path, error = %chain(&error), "a cgroup could not be removed");
                }
            });
        }));
    }
}
