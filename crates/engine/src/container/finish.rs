//! What happens to a running container, and how each run is brought to its end: reported by its shim, seen by its
//! shim's death, or found after a crash. All three end in [`ended`], and [`clean`] leaves nothing of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::clock::Timestamp;
use base::error::chain;
use base::file::read_optional;
use cgroup::Cgroup;
use shim_api::client::ShimConnection;
use shim_api::message::Event;
use shim_api::task::{ExitRecord, RestartPolicy};

use super::actor::{Actor, Found, back_off};
use super::record::Container;
use super::state::{Happening, next};
use super::task;
use super::view::Status;
use crate::Engine;
use crate::failpoint;
use crate::system::EventKind;

/// Tells everybody what happened to a container, with docker's attributes.
pub(crate) fn tell(engine: &Engine, container: &Container, action: &str, extra: &[(&str, String)]) {
    let view = container.view();
    let mut attributes: BTreeMap<String, String> = view.config.labels.clone();
    attributes.insert("name".to_owned(), view.name.clone());
    attributes.insert("image".to_owned(), view.config.image.clone());
    for (key, value) in extra {
        attributes.insert((*key).to_owned(), value.clone());
    }
    engine
        .events
        .tell(EventKind::Container, action, container.id.as_str(), attributes);
}

/// PID 1 runs.
pub(crate) fn running(actor: &Actor, pid: i32, started_at: Timestamp, restart_count: u32) {
    actor.container.publish(|view| {
        if let Some(status) = next(view.status, Happening::Started) {
            view.status = status;
        }
        view.pid = pid;
        view.started_at = started_at;
        view.exit.error.clear();
        view.exit.code = 0;
        view.exit.oom_killed = false;
        view.restart_count = restart_count;
    });
    tell(&actor.engine, &actor.container, "start", &[]);
    actor.engine.touch();
}

/// The shim reported something.
pub(crate) async fn on_event(actor: &mut Actor, event: Event) {
    let view = actor.container.view();
    match event {
        Event::Running {
            pid,
            started_at,
            restart_count,
        } => {
            // The subscription begins with the present state, which a start has told already.
            if view.pid != pid || view.started_at != started_at {
                running(actor, pid, started_at, restart_count);
                record(actor);
            }
        }
        Event::Restarting { last } => {
            apply(actor, &last, Happening::EndedForNow);
            record(actor);
            tell(
                &actor.engine,
                &actor.container,
                "die",
                &[("exitCode", last.code.to_string())],
            );
        }
        // The shim knows the containers whose namespaces are joined by their processes only; these may be others by now.
        Event::Exited { record } if record.error.is_some() && joins_others(actor) && wants_again(actor) => {
            actor.events = None;
            try_again(actor, &record);
        }
        Event::Exited { record } => ended(actor, &record).await,
        Event::OutOfMemory => {
            tell(&actor.engine, &actor.container, "oom", &[]);
        }
        Event::ExecExited { exec_id, code } => {
            super::exec::exited(&actor.engine, &actor.container, &exec_id, code);
        }
    }
}

/// The shim is gone without having reported an end: it was killed. Its record tells whether the container had ended
/// before; else nobody holds the container any more, and it is killed.
pub(crate) async fn on_lost_shim(actor: &mut Actor) {
    actor.events = None;
    let view = actor.container.view();
    if !view.status.is_running() {
        return;
    }
    if let Some(record) = last_record(actor) {
        return ended(actor, &record).await;
    }
    clean(actor);
    let record = killed(actor);
    if wants_again(actor) {
        try_again(actor, &record);
    } else {
        ended(actor, &record).await;
    }
}

/// Returns whether the container joins namespaces of other containers.
fn joins_others(actor: &Actor) -> bool {
    let host = &actor.container.record().host;
    [&host.network_mode, &host.pid_mode, &host.ipc_mode]
        .iter()
        .any(|mode| mode.starts_with("container:"))
}

/// Returns whether the policy has the engine start the container again.
fn wants_again(actor: &Actor) -> bool {
    let stopped = actor.container.stopped.load(Ordering::Relaxed);
    match task::restart_policy(&actor.container.record().host.restart) {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => !stopped,
        RestartPolicy::OnFailure { maximum } => !stopped && (maximum == 0 || actor.failures < maximum),
    }
}

/// Has the engine itself start the container again, after docker's delay.
fn try_again(actor: &mut Actor, record: &ExitRecord) {
    let ran = actor.container.view().status.has_process();
    apply(actor, record, Happening::EndedForNow);
    release(actor.container.streams().shim.take());
    self::record(actor);
    // Of a restart that failed the end of the run before has been told.
    if ran {
        tell(
            &actor.engine,
            &actor.container,
            "die",
            &[("exitCode", record.code.to_string())],
        );
    }
    actor.retry = Some(tokio::time::Instant::now() + back_off(actor.failures));
    actor.failures += 1;
}

/// Returns how the present run ended, if its shim has written it.
fn last_record(actor: &Actor) -> Option<ExitRecord> {
    let started_at = actor.container.view().started_at;
    exit_record(&actor.engine, &actor.container)
        .filter(|record| started_at.is_never() || record.started_at >= started_at)
}

/// Returns the end of a run that nobody saw.
fn killed(actor: &Actor) -> ExitRecord {
    let view = actor.container.view();
    ExitRecord {
        code: 137,
        signal: Some(crate::signal::KILL),
        oom_killed: false,
        started_at: view.started_at,
        finished_at: Timestamp::now(),
        restart_count: view.restart_count,
        error: None,
    }
}

/// The container ended for good.
async fn ended(actor: &mut Actor, record: &ExitRecord) {
    let (engine, container) = (Arc::clone(&actor.engine), Arc::clone(&actor.container));
    actor.events = None;
    actor.retry = None;
    let auto_remove = container.record().host.auto_remove;
    let shim = {
        let mut streams = container.streams();
        streams.pending.clear();
        streams.shim.take()
    };
    super::exec::container_ended(&engine, &container);
    crate::network::leave(&engine, &container);
    if auto_remove {
        // One commit does both: the removal of the record.
        apply(actor, record, Happening::Ended);
        tell(
            &engine,
            &container,
            "die",
            &[("exitCode", record.code.to_string())],
        );
        failpoint::reached("exit.record");
        release(shim);
        super::remove::apply_to_ended(actor).await;
    } else {
        // Recorded before it is published: who saw the end will see it again after a crash.
        let mut state = container.state_record(&engine.host.boot_id);
        state.status = Status::Exited;
        state.finished_at = record.finished_at;
        state.started_at = record.started_at;
        state.exit.code = i64::from(record.code);
        state.exit.oom_killed = record.oom_killed;
        state.exit.error = record.error.clone().unwrap_or_default();
        state.restart_count = record.restart_count;
        let state = crate::daemon::encode(&state);
        let write = || {
            engine.write_of(&container, |batch| {
                batch.set_container_state(container.id.as_str(), &state)
            })
        };
        if let Err(error) = engine.reserve.with_room(write) {
            // The exit record file still has it; the next daemon reads that.
            tracing::error!(container = %container.id, error = %chain(&error), "an exit was not recorded");
        }
        failpoint::reached("exit.record");
        apply(actor, record, Happening::Ended);
        tell(
            &engine,
            &container,
            "die",
            &[("exitCode", record.code.to_string())],
        );
        release(shim);
    }
    engine.touch();
}

/// Lets the shim end.
fn release(shim: Option<ShimConnection>) {
    if let Some(shim) = shim {
        drop(tokio::spawn(async move {
            // A shim that is gone needs no release.
            drop(shim.release().await);
        }));
    }
}

fn apply(actor: &Actor, record: &ExitRecord, happening: Happening) {
    actor.container.publish(|view| {
        if let Some(status) = next(view.status, happening) {
            view.status = status;
        }
        view.pid = 0;
        view.started_at = record.started_at;
        view.finished_at = record.finished_at;
        view.exit.code = i64::from(record.code);
        view.exit.oom_killed = record.oom_killed;
        view.exit.error = record.error.clone().unwrap_or_default();
        view.restart_count = record.restart_count;
        view.exits += 1;
    });
}

fn record(actor: &Actor) {
    let write = || actor.engine.write_state(&actor.container);
    if let Err(error) = actor.engine.reserve.with_room(write) {
        tracing::error!(container = %actor.container.id, error = %chain(&error), "a state was not recorded");
    }
}

/// Remembers that a person stopped it.
pub(crate) async fn mark_stopped(actor: &mut Actor) {
    actor.container.stopped.store(true, Ordering::Relaxed);
    failpoint::reached("stop.mark");
    if let Some(shim) = actor.container.shim() {
        // A shim that is gone restarts nothing.
        drop(shim.stop_restarting().await);
    }
    if actor.retry.take().is_some() {
        let view = actor.container.view();
        let record = ExitRecord {
            code: u8::try_from(view.exit.code).unwrap_or(137),
            signal: None,
            oom_killed: view.exit.oom_killed,
            started_at: view.started_at,
            finished_at: view.finished_at,
            restart_count: view.restart_count,
            error: None,
        };
        ended(actor, &record).await;
    } else {
        // `unless-stopped` must know it after a reboot as well.
        record(actor);
    }
}

/// Leaves nothing of a run: its processes, its cgroup, its shim's socket, its place on networks. Safe when there is nothing.
pub(crate) fn clean(actor: &Actor) {
    forget(&actor.engine, &actor.container);
    crate::network::leave(&actor.engine, &actor.container);
    failpoint::reached("exit.clean");
}

/// As [`clean`], for recovery.
pub(crate) fn forget(engine: &Arc<Engine>, container: &Arc<Container>) {
    let record = container.record();
    let path = engine.cgroup_path(&record.host.cgroup_parent, container.id.as_str());
    if let Ok(group) = Cgroup::open(&engine.host.cgroups, &path) {
        if let Err(error) = group.kill(rustix::process::Signal::KILL) {
            tracing::warn!(container = %container.id, error = %chain(&error), "leftover processes could not be killed");
        }
        let id = container.id.clone();
        engine.defer(move || {
            if let Err(error) = group.remove(Duration::from_secs(2)) {
                tracing::warn!(container = %id, error = %chain(&error), "a cgroup could not be removed");
            }
        });
    }
    if let Err(error) = crate::files::remove_file(&engine.layout.shim(&container.id)) {
        tracing::warn!(container = %container.id, error = %chain(&error), "a shim's socket could not be removed");
    }
}

/// Returns what the shim wrote about the end of the last run.
pub(crate) fn exit_record(engine: &Engine, container: &Container) -> Option<ExitRecord> {
    let bytes = read_optional(
        &engine
            .layout
            .exit_record(&container.id, container.record().host.auto_remove),
        64 << 10,
    )
    .ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// Goes on with a container that ran when the last daemon ended: with its shim, or with what its shim left.
pub(crate) async fn adopt(actor: &mut Actor, found: Found) {
    let shim = match found {
        Found::Shim(shim) => shim,
        Found::Nothing => return on_lost_shim(actor).await,
        Found::OtherBoot => {
            let record = last_record(actor).unwrap_or_else(|| killed(actor));
            clean(actor);
            return ended(actor, &record).await;
        }
    };
    let events = match shim.subscribe().await {
        Ok(events) => events,
        Err(_gone) => return on_lost_shim(actor).await,
    };
    actor.container.streams().shim = Some(shim);
    actor.events = Some(events);
    // The first event is the present state; it is there at once unless the shim is being killed right now.
    let first = match &mut actor.events {
        Some(events) => tokio::time::timeout(Duration::from_secs(2), events.next()).await,
        None => return,
    };
    match first {
        Ok(Some(event)) => on_event(actor, event).await,
        Ok(None) => on_lost_shim(actor).await,
        Err(_slow) => tracing::warn!(container = %actor.container.id, "a shim is slow to answer"),
    }
    let paused = actor.container.view().status == Status::Running && super::pause::is_frozen(actor);
    if paused {
        actor.container.publish(|view| view.status = Status::Paused);
    }
}
