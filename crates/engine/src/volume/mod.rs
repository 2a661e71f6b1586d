//! Volumes: data that outlives containers.

mod create;
mod inspect;
mod list;
mod prune;
mod remove;

pub use create::{VolumeRequest, create};
pub use inspect::{VolumeDetails, inspect};
pub use list::{VolumeListRequest, list};
pub use prune::{VolumePruneRequest, VolumesPruned, prune};
pub use remove::remove;

pub(crate) use prune::tree_size;

use std::sync::Arc;

use base::error::{Kind, Kinded, chain};
use base::id::ContainerId;
use volume::Volume;

use crate::Engine;
use crate::system::{EventKind, FilterError};

/// A volume operation failed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// There is no such volume.
    #[error("get {name}: no such volume")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// A container uses it; docker's text.
    #[error("remove {name}: volume is in use - [{containers}]")]
    InUse {
        /// The volume.
        name: String,
        /// The ids of the containers.
        containers: String,
    },
    /// The request is wrong.
    #[error("{text}")]
    Invalid {
        /// What is wrong with it.
        text: String,
    },
    /// A step failed.
    #[error("{doing} volume {name}")]
    Step {
        /// What was being done.
        doing: &'static str,
        /// The volume.
        name: String,
        /// What kind of failure it is.
        kind: Kind,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Kinded for VolumeError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::InUse { .. } => Kind::Conflict,
            Self::Invalid { .. } => Kind::Invalid,
            Self::Step { kind, .. } => *kind,
        }
    }
}

impl From<FilterError> for VolumeError {
    fn from(error: FilterError) -> Self {
        Self::Invalid {
            text: error.to_string(),
        }
    }
}

/// Returns the containers that name a volume.
pub(crate) fn users(engine: &Engine, name: &str) -> Vec<ContainerId> {
    let all = engine.registry.all();
    let using = all.iter().filter(|container| {
        let record = container.record();
        record
            .mounts
            .iter()
            .any(|mount| mount.point.kind == "volume" && mount.point.name == name)
    });
    using.map(|container| container.id.clone()).collect()
}

/// Translates the error of the volumes' own crate.
pub(crate) fn translate(doing: &'static str, name: &str, error: volume::VolumeError) -> VolumeError {
    match error.kind() {
        Kind::NotFound => VolumeError::NotFound {
            name: name.to_owned(),
        },
        Kind::Invalid | Kind::Conflict => VolumeError::Invalid {
            text: chain(&error).to_string(),
        },
        kind => VolumeError::Step {
            doing,
            name: name.to_owned(),
            kind,
            source: Box::new(error),
        },
    }
}

/// Returns what is known of a volume.
pub(crate) fn details(engine: &Engine, volume: Volume) -> VolumeDetails {
    VolumeDetails {
        driver: "local".to_owned(),
        mountpoint: engine.volumes.mountpoint(&volume.name).display().to_string(),
        created: volume.created,
        users: users(engine, &volume.name).len(),
        options: volume.options,
        labels: volume.labels,
        name: volume.name,
    }
}

/// Tells what happened to a volume.
pub(crate) fn tell(engine: &Arc<Engine>, action: &str, name: &str) {
    let attributes = std::collections::BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
    engine.events.tell(EventKind::Volume, action, name, attributes);
}
