//! Changes: what a container's processes did to its files.

use std::sync::Arc;

use archive::{IdRange, IdShift};
use base::error::{Kind, Kinded, chain};
use storage::{DifferenceError, DifferenceOptions};

use super::record::{Container, Record};
use super::view::LookupError;
use crate::Engine;

pub use storage::{Change, ChangeKind};

/// The files of a container could not be read, written or made an image.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
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
    /// A path is not there; docker's text.
    #[error("{text}")]
    NotFound {
        /// docker's text.
        text: String,
    },
    /// What is asked for may not be written; docker's text.
    #[error("{text}")]
    Denied {
        /// docker's text.
        text: String,
    },
    /// It cannot be done with this container.
    #[error("{text}")]
    Unsupported {
        /// Why.
        text: String,
    },
    /// A step failed.
    #[error("{doing} container {id}")]
    Step {
        /// What was being done.
        doing: &'static str,
        /// The container.
        id: String,
        /// What kind of failure it is.
        kind: Kind,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl FilesError {
    /// Returns the error of a failed step.
    pub(crate) fn step<E>(doing: &'static str, container: &Container, kind: Kind, source: E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        Self::Step {
            doing,
            id: container.id.to_string(),
            kind,
            source: Box::new(source),
        }
    }
}

impl Kinded for FilesError {
    fn kind(&self) -> Kind {
        match self {
            Self::Lookup(error) => error.kind(),
            Self::State { .. } => Kind::Conflict,
            Self::Invalid { .. } => Kind::Invalid,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Denied { .. } => Kind::Denied,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Step { kind, .. } => *kind,
        }
    }
}

/// Lists what changed in a container's files since its creation: parents before children, names sorted.
pub async fn changes(engine: &Arc<Engine>, name: &str) -> Result<Vec<Change>, FilesError> {
    let container = engine.registry.find(name)?;
    require_snapshot(&container)?;
    let worker = Arc::clone(engine);
    blocking(move || {
        let options = difference_options(&container.record());
        storage::changes(&*worker.storage, &container.id, &options)
            .map_err(|error| failed("list the changes of", &container, error))
    })
    .await
}

/// Where every container has something of the engine's: docker makes these places before the container's own layer.
const ENGINE_PATHS: [&str; 9] = [
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/mtab",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// Returns how the writable part of a container is to be read.
pub(crate) fn difference_options(record: &Record) -> DifferenceOptions {
    DifferenceOptions {
        ids: id_shift(record),
        engine_paths: ENGINE_PATHS.map(str::to_owned).to_vec(),
    }
}

/// Returns how the ids of a container are shifted on the disk.
pub(crate) fn id_shift(record: &Record) -> IdShift {
    let ranges = |maps: &[crate::config::IdMap]| {
        let range = |map: &crate::config::IdMap| IdRange {
            inside: map.container,
            outside: map.host,
            count: map.size,
        };
        maps.iter().map(range).collect()
    };
    match record.ids() {
        None => IdShift::none(),
        Some(ids) => IdShift {
            users: ranges(&ids.users),
            groups: ranges(&ids.groups),
        },
    }
}

/// A directory of the user's own as root has no layer of changes.
pub(crate) fn require_snapshot(container: &Container) -> Result<(), FilesError> {
    match &container.record().host.rootfs {
        Some(rootfs) if !rootfs.overlay => Err(FilesError::Unsupported {
            text: format!(
                "the root of container {} is the directory \"{}\" itself, which has no layer of changes",
                container.id.short(),
                rootfs.path.display()
            ),
        }),
        _ => Ok(()),
    }
}

/// Returns the error of a walk over a container's files.
pub(crate) fn failed(doing: &'static str, container: &Container, error: DifferenceError) -> FilesError {
    FilesError::step(doing, container, error.kind(), error)
}

/// Runs blocking work on another thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, FilesError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        tracing::error!(error = %chain(&error), "a worker failed");
        Err(FilesError::Unsupported {
            text: "the daemon met a fault of its own; its log has more".to_owned(),
        })
    })
}
