//! The one error of the snapshot contract.

use std::io;
use std::path::{Path, PathBuf};

use base::error::{Kind, Kinded, kind_of_io};
use base::id::ContainerId;
use oci::ChainId;

/// Why a storage operation failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is no such driver.
    #[error("unknown storage driver \"{name}\"")]
    UnknownDriver {
        /// What was asked for.
        name: String,
    },
    /// A layer is not there.
    #[error("layer {layer} is missing")]
    NoLayer {
        /// The layer.
        layer: ChainId,
    },
    /// A container has no snapshot.
    #[error("container {container} has no file system")]
    NoSnapshot {
        /// The container.
        container: ContainerId,
    },
    /// A container has a snapshot with another base.
    #[error("container {container} has another file system already")]
    OtherSnapshot {
        /// The container.
        container: ContainerId,
    },
    /// More layers than overlay takes.
    #[error("{count} layers are more than the {limit} that can be mounted")]
    TooManyLayers {
        /// How many there are.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A size limit was asked for.
    #[error("storage-opt size is not supported by the {driver} driver")]
    SizeUnsupported {
        /// The driver's name.
        driver: &'static str,
    },
    /// A base directory cannot be used.
    #[error("root file system \"{}\" {problem}", path.display())]
    BaseDirectory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file of ours holds something else.
    #[error("\"{}\" is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How.
        source: serde_json::Error,
    },
    /// A step failed.
    #[error("{doing} \"{}\"", path.display())]
    Step {
        /// The step.
        doing: &'static str,
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of ours could not be read or written.
    #[error(transparent)]
    File(#[from] base::file::FileError),
}

impl StorageError {
    /// Returns a function that gives an I/O error its context.
    pub(crate) fn step<E: Into<io::Error>>(doing: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::Step {
            doing,
            path,
            source: source.into(),
        }
    }
}

impl Kinded for StorageError {
    fn kind(&self) -> Kind {
        match self {
            Self::UnknownDriver { .. } => Kind::Invalid,
            Self::NoLayer { .. } | Self::NoSnapshot { .. } => Kind::NotFound,
            Self::OtherSnapshot { .. } => Kind::Conflict,
            Self::TooManyLayers { .. } | Self::SizeUnsupported { .. } => Kind::Unsupported,
            Self::BaseDirectory { .. } => Kind::Invalid,
            Self::Damaged { .. } => Kind::Internal,
            Self::Step { source, .. } => kind_of_io(source),
            Self::File(error) => error.kind(),
        }
    }
}
