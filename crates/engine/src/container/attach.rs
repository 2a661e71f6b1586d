//! Attach: a stream to a container that runs, or that will be started.

use std::sync::Arc;

use base::error::{Kind, Kinded};
use tokio::net::UnixStream;

use shim_api::client::{Attach, stream_pair};
use shim_api::message::AttachOptions;

use super::finish;
use super::logs::{LogStream, LogsRequest};
use super::state::{Answer, Ask, decide};
use super::view::LookupError;
use crate::Engine;
use crate::signal::{DETACH_KEYS, detach_keys};

/// What a client wants of a container's streams.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Whether output that was logged before is delivered first (`logs=1`).
    pub logs: bool,
    /// Whether present and future output is delivered (`stream=1`).
    pub stream: bool,
    /// Whether the client's bytes go to stdin.
    pub stdin: bool,
    /// Whether stdout is wanted.
    pub stdout: bool,
    /// Whether stderr is wanted.
    pub stderr: bool,
    /// The detach keys as docker writes them (`ctrl-p,ctrl-q`); `None`: the default.
    pub detach_keys: Option<String>,
}

/// An attached client.
#[derive(Debug)]
pub struct Attached {
    /// Whether the container has a terminal: the stream is then raw, else it has docker's 8-byte frame headers.
    pub tty: bool,
    /// Earlier output, to be delivered first.
    pub replay: Option<LogStream>,
    /// The stream in docker's wire format in both directions; `None` without `stream`.
    pub stream: Option<UnixStream>,
}

/// Attaching failed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such container.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Its state forbids it; docker's text.
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
    /// A step failed.
    #[error("attach to container {id}")]
    Step {
        /// The container.
        id: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Kinded for AttachError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::State { .. } => Kind::Conflict,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Step { .. } => Kind::Internal,
        }
    }
}

/// Attaches a client.
pub async fn attach(
    engine: &Arc<Engine>,
    name: &str,
    request: AttachRequest,
) -> Result<Attached, AttachError> {
    let container = engine.registry.find(name)?;
    let view = container.view();
    if let Answer::Refuse(refusal) = decide(view.status, Ask::Attach) {
        let text = refusal.text(container.id.as_str(), Ask::Attach);
        return Err(AttachError::State { text });
    }
    let keys = match request.detach_keys.as_deref().filter(|keys| !keys.is_empty()) {
        None => DETACH_KEYS.to_vec(),
        Some(text) => detach_keys(text).ok_or_else(|| AttachError::Invalid {
            text: format!("Invalid detach keys ({}) provided", text.escape_default()),
        })?,
    };
    let step = |source: Box<dyn std::error::Error + Send + Sync>| AttachError::Step {
        id: container.id.to_string(),
        source,
    };
    let replay = if request.logs {
        let wanted = LogsRequest {
            removed: false,
            stdout: request.stdout,
            stderr: request.stderr,
            follow: false,
            since: None,
            until: None,
            tail: None,
        };
        let logs = super::logs::logs(engine, name, wanted)
            .await
            .map_err(|error| step(Box::new(error)))?;
        Some(logs.stream)
    } else {
        None
    };
    let tty = view.config.tty;
    if !request.stream {
        return Ok(Attached {
            tty,
            replay,
            stream: None,
        });
    }
    let (ours, theirs) = stream_pair().map_err(|error| step(Box::new(error)))?;
    let attach = Attach {
        options: AttachOptions {
            stdin: request.stdin && view.config.open_stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            detach_keys: keys,
        },
        stream: theirs,
    };
    // Under one lock: either the shim is there, or the start will find the stream.
    let running = {
        let mut streams = container.streams();
        match streams.shim.clone() {
            Some(shim) => Some((shim, attach)),
            None => {
                streams.pending.push(attach);
                None
            }
        }
    };
    if let Some((shim, attach)) = running {
        shim.attach(attach).await.map_err(|error| step(Box::new(error)))?;
    }
    finish::tell(engine, &container, "attach", &[]);
    engine.touch();
    Ok(Attached {
        tty,
        replay,
        stream: Some(ours),
    })
}
