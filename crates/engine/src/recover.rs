//! Recovery: what a crash, a reboot or an upgrade left is brought to what the records say.
//!
//! ```text
//! record says      found                        becomes
//! created, exited  —                            as it is (removed, if --rm and it had run; started, if its policy
//!                                               is `always`, or `unless-stopped` and nobody had stopped it)
//! running, …       a shim that answers          running, restarting or exited, as the shim says
//!                  no shim, an exit record      exited as recorded
//!                  neither                      its processes are killed; exited 137, or its policy restarts it
//!                  another boot                 exited; `always` and `unless-stopped` start again
//! no record        directory, snapshot, cgroup  removed
//! damaged          —                            quarantined and named
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::error::chain;
use base::id::ContainerId;
use db::{ContainerRow, Damage, StoreError};
use shim_api::client::ShimConnection;

use crate::Engine;
use crate::container::{self, Command, Container, Found, Record, StateRecord, Status};

/// How long a shim that was just forked when the last daemon was killed is waited for.
const LATE_SHIM: Duration = Duration::from_millis(300);

/// Brings everything to what the records say. Fails only when the store cannot be read.
pub(crate) async fn recover(engine: &Arc<Engine>) -> Result<(), StoreError> {
    let (rows, mut damaged) = engine.store.containers()?;
    let mut ran = Vec::new();
    for row in rows {
        match load(engine, row) {
            Ok((container, state)) => {
                container::finish_rollback(engine, &container);
                let auto_remove = container.record().host.auto_remove;
                let ended = matches!(state.status, Status::Exited | Status::Dead | Status::Removing);
                if state.status.is_running() || (auto_remove && ended) || starts_with_daemon(&container) {
                    ran.push((container, state));
                }
            }
            Err(damage) => damaged.push(damage),
        }
    }
    for damage in &damaged {
        tracing::error!(container = %damage.key, problem = %damage.problem, "a damaged record was quarantined");
        engine.store.quarantine(damage)?;
    }
    let on_networks = ran.iter().filter(|(_, state)| is_of_this_boot(engine, state));
    let on_networks = on_networks.map(|(container, state)| {
        (
            container.id.to_string(),
            state.endpoints.clone(),
            state.publications.clone(),
        )
    });
    crate::network::go_on(engine, on_networks.collect());
    let mut tasks = tokio::task::JoinSet::new();
    for (container, state) in ran {
        tasks.spawn(resume(Arc::clone(engine), container, state));
    }
    while let Some(result) = tasks.join_next().await {
        if let Err(error) = result {
            tracing::error!(%error, "a container could not be recovered");
        }
    }
    crate::network::mend(engine).await;
    crate::network::go_on_with_netd(engine).await;
    let mut keep: BTreeSet<String> = damaged.into_iter().map(|damage| damage.key).collect();
    keep.extend(engine.store.quarantined("containers")?);
    sweep(engine, &keep);
    Ok(())
}

fn load(engine: &Engine, row: ContainerRow) -> Result<(Arc<Container>, StateRecord), Damage> {
    let damage = |problem: String| Damage {
        table: "containers",
        key: row.id.clone(),
        problem,
    };
    let id: ContainerId = row
        .id
        .parse()
        .map_err(|error: base::id::ParseIdError| damage(error.to_string()))?;
    let record: Record = serde_json::from_str(&row.config).map_err(|error| damage(error.to_string()))?;
    let mut state: StateRecord =
        serde_json::from_str(&row.state).map_err(|error| damage(error.to_string()))?;
    if state.status == Status::Removing {
        state.status = Status::Dead;
    }
    engine
        .registry
        .try_reserve_name(&row.name, &id)
        .map_err(|_taken| damage("its name belongs to another container".to_owned()))?;
    if let Some(base) = record.user_base {
        engine.registry.use_base(base);
    }
    let container = Arc::new(Container::new(id, row.name, record, &state));
    if is_of_this_boot(engine, &state) {
        container.publish(|view| {
            view.endpoints = Arc::new(state.endpoints.clone());
            view.publications = Arc::new(state.publications.clone());
            view.is_answered = state.is_answered;
        });
    }
    engine.registry.insert(Arc::clone(&container));
    Ok((container, state))
}

/// Returns whether a container was running when this was written, and the machine has not been started since.
fn is_of_this_boot(engine: &Engine, state: &StateRecord) -> bool {
    state.status.is_running() && state.boot_id == engine.host.boot_id
}

/// Goes on with one container that ran, or that should have removed itself.
async fn resume(engine: Arc<Engine>, container: Arc<Container>, state: StateRecord) {
    if !state.status.is_running() && container.record().host.auto_remove {
        let request = container::RemoveRequest {
            force: false,
            volumes: true,
        };
        drop(container::ask(&engine, &container, |reply| Command::Remove(request, reply)).await);
        return;
    }
    if state.status.is_running() {
        let found = if state.boot_id != engine.host.boot_id {
            Found::OtherBoot
        } else {
            find_shim(&engine, &container)
                .await
                .map_or(Found::Nothing, Found::Shim)
        };
        container::ask(&engine, &container, |reply| Command::Adopt(found, reply)).await;
    }
    container::thaw_left_over(&engine, &container).await;
    if starts_with_daemon(&container) {
        let (sender, _receiver) = tokio::sync::oneshot::channel();
        // Not waited for: the daemon answers while its containers start.
        drop(container::queue(&engine, &container).send(Command::Start(sender)));
    }
}

/// Returns whether the start of a daemon starts a container, as docker does: `always`, also when a person had stopped it;
/// `unless-stopped`, unless one had; no other policy. One that never ran is not started.
pub(crate) fn starts_with_daemon(container: &Container) -> bool {
    let stopped = container.stopped.load(std::sync::atomic::Ordering::Relaxed);
    let wanted = match container.record().host.restart.name.as_str() {
        "always" => true,
        "unless-stopped" => !stopped,
        _ => false,
    };
    wanted && container.view.borrow().status == Status::Exited
}

/// Connects to a container's shim. One that was forked in the last moments of the old daemon may not listen yet.
async fn find_shim(engine: &Engine, container: &Container) -> Option<ShimConnection> {
    let path = engine.layout.shim(&container.id);
    let deadline = tokio::time::Instant::now() + LATE_SHIM;
    loop {
        match ShimConnection::connect(&path).await {
            Ok(shim) => return Some(shim),
            Err(error) if !error.is_gone() => {
                tracing::warn!(container = %container.id, error = %chain(&error), "a shim could not be reached");
            }
            Err(_) => {}
        }
        // A record of the end, or time that has passed, means that nobody comes any more.
        if container::exit_record(engine, container).is_some() || tokio::time::Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Removes what has no record: directories, snapshots, cgroups, and what killed processes left in the stores. After the
/// first answers, where nobody waits for it.
fn sweep(engine: &Arc<Engine>, keep: &BTreeSet<String>) {
    let known = |engine: &Engine, keep: &BTreeSet<String>, name: &str| {
        engine.registry.get(name).is_some() || keep.contains(name)
    };
    // Names are taken now: a container that is created while the sweep runs must not look like a leftover.
    let directories: BTreeSet<ContainerId> = [engine.layout.containers(), engine.layout.runs()]
        .into_iter()
        .flat_map(std::fs::read_dir)
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id: &ContainerId| !known(engine, keep, id.as_str()))
        .collect();
    let snapshots: Vec<ContainerId> = match engine.storage.snapshots() {
        Ok(snapshots) => snapshots
            .into_iter()
            .filter(|id| !known(engine, keep, id.as_str()))
            .collect(),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the snapshots could not be listed");
            Vec::new()
        }
    };
    let cgroups = leftover_cgroups(engine);
    let worker = Arc::clone(engine);
    // The storage's own leftovers are taken before anybody can make new ones.
    let report = engine.storage.sweep();
    for error in report.failed {
        tracing::warn!(error = %chain(&error), "a leftover of the storage stays");
    }
    engine.defer(move || {
        for path in cgroups {
            if let Ok(group) = cgroup::Cgroup::open(&worker.host.cgroups, &path) {
                drop(group.kill(rustix::process::Signal::KILL));
                if let Err(error) = group.remove(Duration::from_secs(2)) {
                    tracing::warn!(path, error = %chain(&error), "a leftover cgroup stays");
                }
            }
        }
        for id in snapshots {
            if let Err(error) = worker.storage.remove_snapshot(&id) {
                tracing::warn!(container = %id, error = %chain(&error), "a leftover snapshot stays");
            }
        }
        for id in directories {
            worker.kept_logs.keep(&id);
            let removed =
                crate::files::remove_tree(&worker.layout.container(&id)).and(worker.layout.remove_run(&id));
            if let Err(error) = removed {
                tracing::warn!(container = %id, error = %chain(&error), "a leftover directory stays");
            }
            if let Err(error) = crate::files::remove_file(&worker.layout.shim(&id)) {
                tracing::warn!(container = %id, error = %chain(&error), "a leftover socket stays");
            }
        }
    });
}

/// Returns the groups of containers that neither run nor are started now: those below the daemon's parent that are named
/// like containers, and those that a container's record asks for elsewhere.
fn leftover_cgroups(engine: &Engine) -> Vec<String> {
    // One that is being started makes its groups before it runs.
    let is_used =
        |container: &Container| container.view().status.is_running() || starts_with_daemon(container);
    let mut found: BTreeSet<String> = engine
        .registry
        .all()
        .iter()
        .filter(|container| !is_used(container))
        .filter_map(|container| {
            let parent = &container.record().host.cgroup_parent;
            (!parent.is_empty()).then(|| engine.cgroup_path(parent, container.id.as_str()))
        })
        .collect();
    let parent = engine.config.cgroup_parent.trim_matches('/');
    for hierarchy in engine.host.cgroups.hierarchies() {
        let entries = std::fs::read_dir(hierarchy.mount_point().join(parent))
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            let name = entry.file_name();
            let Some(id) = name.to_str().filter(|name| name.parse::<ContainerId>().is_ok()) else {
                continue;
            };
            // Another daemon with the same parent would have its own containers here: only ids that this data root
            // has, or had, are touched.
            let ours = engine.layout.containers().join(id).is_dir();
            let used = engine
                .registry
                .get(id)
                .is_some_and(|container| is_used(&container));
            if ours && !used {
                found.insert(format!("/{parent}/{id}"));
            }
        }
    }
    found.into_iter().collect()
}
