//! Exec: another process in a running container.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use base::id::{ContainerId, ExecId};
use serde_json::json;
use shim_api::client::{RequestError, stream_pair};
use shim_api::message::{AttachOptions, ExecRequest};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::record::Container;
use super::start::{program_code, program_text};
use super::state::{Answer, Ask, decide};
use super::view::LookupError;
use super::{finish, namespaces};
use crate::signal::{DETACH_KEYS, detach_keys};
use crate::{Engine, failpoint};

/// How long an exec that ended can be inspected.
const KEPT: Duration = Duration::from_secs(300);

/// How long an exec may go on without its streams before nobody waits for it any more.
const AFTER_STREAMS: Duration = Duration::from_secs(1);

/// How long an inspection waits for the exit code of a process that is gone already.
const GRACE: Duration = Duration::from_millis(500);

/// What to execute.
#[derive(Clone, Debug)]
pub struct ExecConfig {
    /// Whether the client's bytes go to stdin.
    pub attach_stdin: bool,
    /// Whether stdout is wanted.
    pub attach_stdout: bool,
    /// Whether stderr is wanted.
    pub attach_stderr: bool,
    /// Whether the process has a terminal.
    pub tty: bool,
    /// The initial terminal size (rows, columns).
    pub console_size: Option<(u16, u16)>,
    /// The detach keys as docker writes them; `None`: the default.
    pub detach_keys: Option<String>,
    /// `NAME=value`, added to the container's.
    pub env: Vec<String>,
    /// The command.
    pub command: Vec<String>,
    /// The user; empty: the container's.
    pub user: String,
    /// The working directory; empty: the container's.
    pub working_dir: String,
    /// Whether it gets every capability that the container may have.
    pub privileged: bool,
}

/// How an exec is started.
#[derive(Clone, Copy, Debug)]
pub struct ExecStart {
    /// Whether nobody attaches to it.
    pub detach: bool,
    /// The initial terminal size (rows, columns); overrides the one of the creation.
    pub console_size: Option<(u16, u16)>,
}

/// A started exec.
#[derive(Debug)]
pub struct Session {
    /// Whether it has a terminal: the stream is then raw, else it has docker's frame headers.
    pub tty: bool,
    /// The stream; `None` when detached.
    pub stream: Option<UnixStream>,
}

/// What is known of an exec.
#[derive(Clone, Debug)]
pub struct ExecDetails {
    /// Its id.
    pub id: ExecId,
    /// The container's id.
    pub container_id: base::id::ContainerId,
    /// What it executes.
    pub config: ExecConfig,
    /// Whether it runs.
    pub running: bool,
    /// Its exit code once it ended; 126 or 127 when it could not be executed.
    pub exit_code: Option<i64>,
    /// Its pid in the host's namespace, or 0.
    pub pid: i32,
}

/// An exec operation failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is no such container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// There is no such exec.
    #[error("No such exec instance: {id}")]
    NoExec {
        /// What was asked for.
        id: String,
    },
    /// The state of the container or the exec forbids it; docker's text.
    #[error("{text}")]
    State {
        /// docker's text.
        text: String,
    },
    /// The request is wrong.
    #[error("{text}")]
    Invalid {
        /// What is wrong with it.
        text: String,
    },
    /// The program could not be executed; the text is one that docker's client maps to 126 or 127.
    #[error("OCI runtime exec failed: exec failed: {text}")]
    Program {
        /// The text.
        text: String,
        /// 126 or 127.
        code: u8,
    },
    /// A step failed.
    #[error("exec in container {id}")]
    Step {
        /// The container.
        id: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Kinded for ExecError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::NoExec { .. } => Kind::NotFound,
            Self::State { .. } => Kind::Conflict,
            Self::Invalid { .. } | Self::Program { .. } => Kind::Invalid,
            Self::Step { .. } => Kind::Internal,
        }
    }
}

/// An exec, kept in memory only: it ends with its container.
#[derive(Debug)]
pub(crate) struct Exec {
    id: ExecId,
    container: ContainerId,
    config: ExecConfig,
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Created,
    Starting,
    Running { pid: i32 },
    Ended { code: i64, at: Timestamp },
}

impl Exec {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, code: i64) {
        let at = Timestamp::now();
        *self.state() = State::Ended { code, at };
        self.ended.notify_waiters();
    }

    fn is_running(&self) -> bool {
        matches!(*self.state(), State::Starting | State::Running { .. })
    }
}

/// Records an exec for a running container.
pub async fn exec_create(
    engine: &Arc<Engine>,
    container: &str,
    config: ExecConfig,
) -> Result<ExecId, ExecError> {
    let container = engine.registry.find(container)?;
    check_state(&container)?;
    let invalid = |text: &str| ExecError::Invalid {
        text: text.to_owned(),
    };
    if config.command.first().is_none_or(String::is_empty) {
        return Err(invalid("No exec command specified"));
    }
    let words = config.command.iter().chain(&config.env);
    if words.clone().any(|word| word.contains('\0')) {
        return Err(invalid("an argument or a variable contains a NUL"));
    }
    if config
        .env
        .iter()
        .any(|variable| variable.is_empty() || variable.starts_with('='))
    {
        return Err(invalid("invalid environment variable"));
    }
    if let Some(keys) = config.detach_keys.as_deref().filter(|keys| !keys.is_empty())
        && detach_keys(keys).is_none()
    {
        return Err(invalid("Invalid escape keys provided"));
    }
    let id = ExecId::generate().map_err(|error| ExecError::Step {
        id: container.id.to_string(),
        source: Box::new(error),
    })?;
    let action = format!("exec_create: {}", config.command.join(" "));
    let exec = Arc::new(Exec {
        id: id.clone(),
        container: container.id.clone(),
        config,
        state: Mutex::new(State::Created),
        ended: Notify::new(),
    });
    let mut execs = engine.execs();
    let now = Timestamp::now();
    execs.retain(|_, exec| !matches!(*exec.state(), State::Ended { at, .. } if now.since(at) > KEPT));
    execs.insert(id.to_string(), exec);
    drop(execs);
    failpoint::reached("exec.create");
    finish::tell(engine, &container, &action, &[("execID", id.to_string())]);
    Ok(id)
}

/// Starts an exec.
pub async fn exec_start(engine: &Arc<Engine>, exec: &str, start: ExecStart) -> Result<Session, ExecError> {
    let exec = find(engine, exec)?;
    let container = engine.registry.find(exec.container.as_str())?;
    check_state(&container)?;
    {
        let mut state = exec.state();
        match *state {
            State::Created => *state = State::Starting,
            State::Starting | State::Running { .. } => {
                return Err(ExecError::State {
                    text: format!("exec command {} is already running", exec.id),
                });
            }
            State::Ended { .. } => {
                return Err(ExecError::State {
                    text: format!("exec command {} has already run", exec.id),
                });
            }
        }
    }
    let step = |source: Box<dyn std::error::Error + Send + Sync>| ExecError::Step {
        id: container.id.to_string(),
        source,
    };
    let result = async {
        let config = &exec.config;
        let (ours, theirs) = if start.detach {
            (None, None)
        } else {
            let (ours, theirs) = stream_pair().map_err(|error| step(Box::new(error)))?;
            (Some(ours), Some(theirs))
        };
        failpoint::reached("exec.attach");
        let request = request(engine, &container, &exec, start).map_err(|error| step(Box::new(error)))?;
        let shim = container.shim().ok_or_else(|| ExecError::State {
            text: format!("container {} is not running", container.id),
        })?;
        let started = shim
            .exec(Box::new(request), theirs)
            .await
            .map_err(|error| match error {
                RequestError::Failed(failure) => match program_code(&failure) {
                    Some(code) => ExecError::Program {
                        text: program_text(&failure).replacen("OCI runtime create failed: ", "", 1),
                        code,
                    },
                    None => step(Box::new(failure)),
                },
                error => step(Box::new(error)),
            })?;
        failpoint::reached("exec.started");
        let mut state = exec.state();
        // A short one may have ended already.
        if matches!(*state, State::Starting) {
            *state = State::Running { pid: started.pid };
        }
        drop(state);
        let action = format!("exec_start: {}", config.command.join(" "));
        finish::tell(engine, &container, &action, &[("execID", exec.id.to_string())]);
        Ok(Session {
            tty: config.tty,
            stream: ours,
        })
    }
    .await;
    if let Err(error) = &result {
        let code = match error {
            ExecError::Program { code, .. } => i64::from(*code),
            _ => 126,
        };
        exec.end(code);
    }
    result
}

/// Sets the terminal size of an exec.
pub async fn exec_resize(engine: &Arc<Engine>, exec: &str, rows: u16, columns: u16) -> Result<(), ExecError> {
    let exec = find(engine, exec)?;
    let container = engine.registry.find(exec.container.as_str())?;
    let (true, Some(shim)) = (exec.is_running(), container.shim()) else {
        return Err(ExecError::State {
            text: format!("exec process {} is not running", exec.id),
        });
    };
    shim.resize(Some(exec.id.as_str()), rows, columns)
        .await
        .map_err(|error| ExecError::Step {
            id: container.id.to_string(),
            source: Box::new(error),
        })
}

/// Returns what is known of an exec. A client asks right after its stream ended: if the process is gone, its exit code
/// is on its way and waited for.
pub async fn exec_inspect(engine: &Arc<Engine>, exec: &str) -> Result<ExecDetails, ExecError> {
    let exec = find(engine, exec)?;
    let ended = exec.ended.notified();
    tokio::pin!(ended);
    ended.as_mut().enable();
    let running = *exec.state();
    if let State::Running { pid } = running
        && !is_alive(pid)
    {
        // When it does not come the answer is what is known.
        drop(tokio::time::timeout(GRACE, ended).await);
    }
    let state = *exec.state();
    let (running, pid, exit_code) = match state {
        State::Created => (false, 0, None),
        State::Starting => (true, 0, None),
        State::Running { pid } => (true, pid, None),
        State::Ended { code, .. } => (false, 0, Some(code)),
    };
    Ok(ExecDetails {
        id: exec.id.clone(),
        container_id: exec.container.clone(),
        config: exec.config.clone(),
        running,
        exit_code,
        pid,
    })
}

/// Waits for the end of an exec whose streams have ended and returns its exit code. `None`: it goes on without them, or
/// is not known any more.
pub async fn exec_ended(engine: &Arc<Engine>, exec: &str) -> Option<i64> {
    let exec = find(engine, exec).ok()?;
    let ended = exec.ended.notified();
    tokio::pin!(ended);
    ended.as_mut().enable();
    if exec.is_running() {
        // A process may close its streams a little before its end.
        drop(tokio::time::timeout(AFTER_STREAMS, ended).await);
    }
    let state = *exec.state();
    match state {
        State::Ended { code, .. } => Some(code),
        State::Created | State::Starting | State::Running { .. } => None,
    }
}

/// Returns the ids of the execs that run in a container.
pub(crate) fn running(engine: &Engine, container: &Container) -> Vec<ExecId> {
    let execs = engine.execs();
    let own = execs
        .values()
        .filter(|exec| exec.container == container.id && exec.is_running());
    own.map(|exec| exec.id.clone()).collect()
}

/// The shim reported the end of an exec.
pub(crate) fn exited(engine: &Engine, container: &Container, id: &str, code: u8) {
    let exec = engine.execs().get(id).cloned();
    if let Some(exec) = exec {
        exec.end(i64::from(code));
    }
    let extra = [("execID", id.to_owned()), ("exitCode", code.to_string())];
    finish::tell(engine, container, "exec_die", &extra);
}

/// The container ended and its execs with it.
pub(crate) fn container_ended(engine: &Engine, container: &Container) {
    let execs = engine.execs();
    for exec in execs
        .values()
        .filter(|exec| exec.container == container.id && exec.is_running())
    {
        exec.end(137);
    }
}

/// The container is gone.
pub(crate) fn container_removed(engine: &Engine, container: &Container) {
    engine.execs().retain(|_, exec| exec.container != container.id);
}

fn find(engine: &Engine, id: &str) -> Result<Arc<Exec>, ExecError> {
    let execs = engine.execs();
    let exact = execs.get(id).cloned();
    let by_start = || {
        let mut fitting = execs
            .iter()
            .filter(|(known, _)| !id.is_empty() && known.starts_with(id));
        match (fitting.next(), fitting.next()) {
            (Some((_, exec)), None) => Some(Arc::clone(exec)),
            _ => None,
        }
    };
    exact.or_else(by_start).ok_or_else(|| ExecError::NoExec {
        id: id.chars().take(256).collect(),
    })
}

fn check_state(container: &Container) -> Result<(), ExecError> {
    match decide(container.view().status, Ask::Exec) {
        Answer::Refuse(refusal) => Err(ExecError::State {
            text: refusal.text(container.id.as_str(), Ask::Exec),
        }),
        Answer::Accept | Answer::Already => Ok(()),
    }
}

fn request(
    engine: &Engine,
    container: &Container,
    exec: &Exec,
    start: ExecStart,
) -> Result<ExecRequest, serde_json::Error> {
    let record = container.record();
    let (config, wanted) = (&record.config, &exec.config);
    let hostname = namespaces::hostname(engine, container.id.as_str(), config, &record.host);
    let mut of_container = (**config).clone();
    of_container.tty |= wanted.tty;
    let cwd = [&wanted.working_dir, &config.working_dir]
        .into_iter()
        .find(|directory| !directory.is_empty())
        .map_or("/", String::as_str);
    // The same capabilities as the container has, at most; the shim gives a privileged one all of its namespace.
    let available = (!record.has_own_users()).then_some(&engine.host.capabilities);
    let granted = spec::check(config, &record.host, &engine.host.limitable, available)
        .map(|checked| checked.capabilities.names)
        .unwrap_or_default();
    let security = spec::security::parse(&record.host.security_opt).unwrap_or_default();
    let process = serde_json::from_value(json!({
        "terminal": wanted.tty,
        "user": {"uid": 0, "gid": 0},
        "args": wanted.command,
        "env": spec::environment(&of_container, &hostname, &wanted.env),
        "cwd": cwd,
        "capabilities": {
            "bounding": granted, "effective": granted, "permitted": granted, "inheritable": [], "ambient": [],
        },
        "noNewPrivileges": security.no_new_privileges.unwrap_or(engine.config.no_new_privileges),
        "oomScoreAdj": record.host.oom_score_adj,
    }))?;
    let keys = match wanted.detach_keys.as_deref().filter(|keys| !keys.is_empty()) {
        None => DETACH_KEYS.to_vec(),
        Some(text) => detach_keys(text).unwrap_or_default(),
    };
    Ok(ExecRequest {
        id: exec.id.to_string(),
        process,
        user: Some(if wanted.user.is_empty() {
            config.user.clone()
        } else {
            wanted.user.clone()
        }),
        groups: record.host.group_add.clone(),
        privileged: wanted.privileged,
        attach: (!start.detach).then_some(AttachOptions {
            stdin: wanted.attach_stdin,
            stdout: wanted.attach_stdout,
            stderr: wanted.attach_stderr,
            detach_keys: keys,
        }),
        console_size: start.console_size.or(wanted.console_size),
    })
}

/// Returns whether a process is there and no zombie.
fn is_alive(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}
