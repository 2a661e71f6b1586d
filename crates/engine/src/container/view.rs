//! What everybody may see of a container at any time, without asking its actor.

use std::sync::Arc;

use base::clock::Timestamp;
use base::error::{Kind, Kinded};
use base::id::ContainerId;

use crate::config::{Config, HostConfig};
use crate::network::{Endpoint, Publication};

/// Where a container is in its life; the names are docker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Recorded, never started.
    Created,
    /// PID 1 runs.
    Running,
    /// PID 1 is frozen.
    Paused,
    /// It ended and waits for its restart policy's delay.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
    /// Its removal failed, or its record is damaged; it can only be removed.
    Dead,
}

impl Status {
    /// Returns docker's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Returns whether PID 1 exists.
    pub fn has_process(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }

    /// Returns docker's `Running`: also while a restart is pending.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// How the last run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Exit {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i64,
    /// Whether the kernel's OOM killer hit it.
    pub oom_killed: bool,
    /// Why the last start failed, or empty.
    pub error: String,
}

/// A published snapshot of one container.
#[derive(Clone, Debug)]
pub struct View {
    /// The id.
    pub id: ContainerId,
    /// The name, without docker's leading slash.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// What runs in it, with the image's defaults filled in.
    pub config: Arc<Config>,
    /// How this machine runs it.
    pub host: Arc<HostConfig>,
    /// The image's id (`sha256:…`), or empty with a plain directory as root.
    pub image_id: String,
    /// Where it is in its life.
    pub status: Status,
    /// PID 1 in the host's namespace, or 0.
    pub pid: i32,
    /// When PID 1 was started last.
    pub started_at: Timestamp,
    /// When it ended last.
    pub finished_at: Timestamp,
    /// How it ended last.
    pub exit: Exit,
    /// How often its policy has restarted it.
    pub restart_count: u32,
    /// Where it is on networks, while it runs.
    pub endpoints: Arc<Vec<Endpoint>>,
    /// Its published ports, while it runs.
    pub publications: Arc<Vec<Publication>>,
    /// Whether Berth answers its questions for names, while it runs.
    pub(crate) is_answered: bool,
    /// How often it has ended since the daemon started; for those who wait.
    pub(crate) exits: u64,
    /// Whether it was removed.
    pub(crate) gone: bool,
    /// Why its last removal failed; for those who wait.
    pub(crate) removal_error: Option<String>,
}

/// A container could not be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No name, id or prefix fits.
    #[error("No such container: {name}")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Several ids begin so.
    #[error("multiple IDs found with provided prefix: {prefix}")]
    Ambiguous {
        /// The prefix.
        prefix: String,
    },
}

impl Kinded for LookupError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::Ambiguous { .. } => Kind::Invalid,
        }
    }
}

/// Whether a request changed anything; docker answers 304 when it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It did.
    Yes,
    /// The container was already so.
    Already,
}

/// Changing a container (stop, kill, restart, pause, rename, resize, update) failed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
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
    /// It cannot be done here.
    #[error("{text}")]
    Unsupported {
        /// What cannot be done.
        text: String,
    },
    /// A step failed.
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

impl Kinded for ChangeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::State { .. } => Kind::Conflict,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Step { .. } => Kind::Internal,
        }
    }
}
