//! Start: every step, and its undo, on one screen.

use std::sync::Arc;

use base::error::{Kind, Kinded, chain};
use base::file::{Durability, write_atomic};
use serde_json::value::RawValue;
use shim_api::client::{RequestError, ShimConnection, Started};
use shim_api::message::Failure;
use shim_api::task::Task;

use super::actor::{Actor, Command, ask};
use super::groups::Groups;
use super::host_files::Age;
use super::record::Container;
use super::state::{Happening, next};
use super::view::{Changed, LookupError, Status};
use super::{finish, host_files, namespaces, task};
use crate::Engine;
use crate::failpoint;

/// Starting failed; nothing of the run is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Its state forbids it; docker's text.
    #[error("{text}")]
    State {
        /// docker's text.
        text: String,
    },
    /// The program could not be executed. The text is one that docker's client maps to 126 or 127.
    #[error("failed to create task for container: {text}")]
    Program {
        /// The text.
        text: String,
        /// 126 or 127.
        code: u8,
    },
    /// What was asked for is wrong, as seen only now.
    #[error("{text}")]
    Invalid {
        /// What is wrong.
        text: String,
    },
    /// It cannot join a network, or a port is taken.
    #[error(transparent)]
    Network(#[from] crate::network::NetworkError),
    /// A step failed.
    #[error("failed to create task for container: {doing}")]
    Step {
        /// What was being done.
        doing: &'static str,
        /// What kind of failure it is.
        kind: Kind,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl StartError {
    /// Returns the error of a step.
    pub(crate) fn step<E: std::error::Error + Send + Sync + 'static>(doing: &'static str, error: E) -> Self {
        Self::Step {
            doing,
            kind: Kind::Internal,
            source: Box::new(error),
        }
    }
}

impl Kinded for StartError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::Network(error) => error.kind(),
            Self::State { .. } => Kind::Conflict,
            Self::Program { .. } | Self::Invalid { .. } => Kind::Invalid,
            Self::Step { kind, .. } => *kind,
        }
    }
}

/// Starts a container. Streams attached before get its output from the first byte on.
pub async fn start(engine: &Arc<Engine>, name: &str) -> Result<Changed, StartError> {
    let container = engine.registry.find(name)?;
    match ask(engine, &container, Command::Start).await {
        Some(result) => result,
        None => Err(LookupError::NotFound {
            name: name.to_owned(),
        }
        .into()),
    }
}

/// The steps. Each `?` leads to `undo`, which does for a failed step what the end of a run and the recovery after a
/// crash do as well; it is safe for steps that never happened.
pub(crate) async fn run(actor: &mut Actor) -> Result<(), StartError> {
    let before = actor.container.view();
    let mut groups = actor.container.take_groups();
    let started = steps(actor, &mut groups).await;
    if let Some(groups) = groups {
        groups.settled().await;
    }
    match started {
        Ok(started) => {
            // docker's reply has no place for them; what is known before is told at the creation.
            for warning in &started.warnings {
                tracing::warn!(container = %actor.container.id, warning, "started otherwise than asked");
            }
            finish::running(actor, started.pid, started.started_at, 0);
            Ok(())
        }
        Err(error) => {
            undo(actor, before.status, &error).await;
            Err(error)
        }
    }
}

async fn steps(actor: &mut Actor, groups: &mut Option<Groups>) -> Result<Started, StartError> {
    let (engine, container) = (Arc::clone(&actor.engine), Arc::clone(&actor.container));

    // 1. A shim, and what it will run, with the addresses and ports that will be its: it gets ready beside the next steps.
    //    Nothing of that needs an undo but by the shim, which is not told to start, or whose daemon has ended.
    crate::network::allocate(&engine, &container)?;
    let shim = engine
        .new_shim()
        .await
        .map_err(|error| StartError::step("make the shim", error))?;
    failpoint::reached("start.spawn");
    let task = task::build(&engine, &container)?;
    warn_of_lost(&task, &container);
    let encoded = encode(&task)?;
    let console_size = container.record().host.console_size;
    shim.prepare(&encoded, console_size)
        .map_err(|error| StartError::step("prepare the shim", error))?;
    failpoint::reached("start.prepare");
    if groups.is_none() {
        *groups = Some(Groups::begin(&engine, &container.id, &container.record().host));
    }

    let started = match carry_out(actor, &shim, &task, &encoded).await {
        Ok(started) => started,
        Err(error) => {
            // Who takes back what it has made must not meet the next one. One that has ended has done so.
            shim.release().await.ok();
            return Err(error);
        }
    };

    // 6. Streams that came during the last step.
    attach_late(&container, shim).await;
    Ok(started)
}

/// The steps that a shim gets ready beside, and its start.
async fn carry_out(
    actor: &mut Actor,
    shim: &ShimConnection,
    task: &Task,
    encoded: &RawValue,
) -> Result<Started, StartError> {
    let (engine, container) = (Arc::clone(&actor.engine), Arc::clone(&actor.container));

    // 2. The intent: from here on a daemon that finds this record looks for the shim.
    intend(actor)?;
    failpoint::reached("start.intent");

    // 3. hostname, hosts, resolv.conf; kept over restarts, removed with the container. And the document that the shim restarts
    //    it from, also when no daemon lives; replaced by the next start.
    write_files(&engine, &container)?;
    failpoint::reached("start.files");
    write_document(task, encoded)?;
    failpoint::reached("start.document");

    // 4. The machine's side of the network: bridges, the packet filter, names. The container's own is made by its shim.
    crate::network::attach(&engine, &container)?;
    crate::network::enter(&engine, &container).await?;
    failpoint::reached("start.network");

    // 5. The container. On failure the shim leaves nothing of it and ends.
    actor.events = Some(
        shim.subscribe()
            .await
            .map_err(|error| StartError::step("subscribe to the shim", error))?,
    );
    let pending = std::mem::take(&mut container.streams().pending);
    let started = shim.start_prepared(pending, 0).await.map_err(start_error)?;
    failpoint::reached("start.started");
    Ok(started)
}

/// Leaves nothing of a start that failed at any step.
async fn undo(actor: &mut Actor, before: Status, error: &StartError) {
    actor.events = None;
    // Clients that wait for output see its end.
    let streams = {
        let mut streams = actor.container.streams();
        streams.shim = None;
        std::mem::take(&mut streams.pending)
    };
    drop(streams);
    finish::clean(actor);
    let code = match error {
        StartError::Program { code, .. } => i64::from(*code),
        _ => 128,
    };
    let text = chain(error).to_string();
    actor.container.publish(|view| {
        view.status = if before == Status::Created {
            Status::Created
        } else {
            Status::Exited
        };
        view.pid = 0;
        view.exit.code = code;
        view.exit.error = text;
        view.exits += 1;
    });
    if let Err(error) = actor.engine.write_state(&actor.container) {
        tracing::error!(container = %actor.container.id, error = %chain(&error), "a failed start was not recorded");
    }
    if actor.container.record().host.auto_remove {
        super::remove::apply_to_ended(actor).await;
    }
    actor.engine.touch();
}

fn intend(actor: &Actor) -> Result<(), StartError> {
    let (engine, container) = (&actor.engine, &actor.container);
    // The exit record of the last run must not be taken for that of this one.
    crate::files::remove_file(
        &engine
            .layout
            .exit_record(&container.id, container.record().host.auto_remove),
    )
    .map_err(|error| StartError::step("remove the last exit record", error))?;
    container
        .stopped
        .store(false, std::sync::atomic::Ordering::Relaxed);
    let mut state = container.state_record(&engine.host.boot_id);
    state.status = next(state.status, Happening::Started).unwrap_or(Status::Running);
    let state = crate::daemon::encode(&state);
    engine
        .write_of(container, |batch| {
            batch.set_container_state(container.id.as_str(), &state)
        })
        .map_err(|error| StartError::step("record the start", error))
}

/// Writes the container's files that say what it is called and where it is.
pub(crate) fn write_files(engine: &Engine, container: &Container) -> Result<(), StartError> {
    let record = container.record();
    let hostname = namespaces::hostname(engine, container.id.as_str(), &record.config, &record.host);
    let own = engine.layout.run(&container.id);
    crate::files::make_directory(&own, 0o700)
        .map_err(|error| StartError::step("make the run directory", error))?;
    if host_files::directory(engine, &own, &record) != own {
        return Ok(());
    }
    let age = if container.view().status.is_running() {
        Age::InUse
    } else if engine.layout.task(&container.id).exists() {
        Age::Kept
    } else {
        Age::New
    };
    let place = crate::network::place(engine, container)?;
    host_files::write(&own, age, &hostname, &record, &place)
        .map_err(|error| StartError::step("write the container's files", error))
}

fn encode(task: &Task) -> Result<Box<RawValue>, StartError> {
    serde_json::value::to_raw_value(task).map_err(|error| StartError::step("encode the task", error))
}

fn write_document(task: &Task, encoded: &RawValue) -> Result<(), StartError> {
    write_atomic(&task.document, encoded.get().as_bytes(), 0o600, Durability::Crash)
        .map_err(|error| StartError::step("write the task", error))
}

/// Writes the document of a container that runs again, for its next restart by policy.
pub(crate) fn rewrite_document(engine: &Engine, container: &Container) -> Result<(), StartError> {
    let task = task::build(engine, container)?;
    write_document(&task, &encode(&task)?)
}

/// Namespaces are kept in memory: a reboot takes them, and a container that relied on them begins anew.
fn warn_of_lost(task: &Task, container: &Container) {
    if let Some(keep) = &task.keep
        && !container.view().started_at.is_never()
        && !keep.directory.exists()
    {
        tracing::warn!(container = %container.id, "the namespaces that were kept are gone, new ones are made");
    }
}

/// From now on clients attach through the shim; those that queued up meanwhile are handed over.
async fn attach_late(container: &Container, shim: ShimConnection) {
    loop {
        let late = {
            let mut streams = container.streams();
            if streams.pending.is_empty() {
                streams.shim = Some(shim);
                return;
            }
            std::mem::take(&mut streams.pending)
        };
        for attach in late {
            // The container may have ended already; its client then sees the end of its stream.
            drop(shim.attach(attach).await);
        }
    }
}

fn start_error(error: RequestError) -> StartError {
    match error {
        RequestError::Failed(failure) => match program_code(&failure) {
            Some(code) => StartError::Program {
                text: program_text(&failure),
                code,
            },
            None => StartError::step("run the container", failure),
        },
        error => StartError::step("run the container", error),
    }
}

/// Returns the exit code of a program that could not be executed: 127 if it is not there, 126 if it may not be run.
pub(crate) fn program_code(failure: &Failure) -> Option<u8> {
    let not_found = rustix::io::Errno::NOENT.raw_os_error();
    match (failure.step.as_str(), failure.errno) {
        ("exec" | "cwd", errno) if errno == not_found => Some(127),
        ("exec" | "cwd", _) => Some(126),
        _ => None,
    }
}

/// Returns a text in which docker's client finds what it looks for.
pub(crate) fn program_text(failure: &Failure) -> String {
    let reason = match program_code(failure) {
        Some(127) => "no such file or directory",
        _ => "permission denied",
    };
    let message = &failure.message;
    let lower = message.to_ascii_lowercase();
    if lower.contains(reason) || lower.contains("executable file not found") {
        format!("OCI runtime create failed: unable to start container process: {message}")
    } else {
        format!("OCI runtime create failed: unable to start container process: {message}: {reason}")
    }
}
