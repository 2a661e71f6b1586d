//! Why something about networks failed; docker's texts.

use base::error::{Kind, Kinded};

use crate::container::LookupError;
use crate::system::FilterError;

/// A network operation failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// There is no such network.
    #[error("network {name} not found")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// There is no such driver.
    #[error("could not resolve driver {name} in registry: plugin \"{name}\" not found")]
    NoDriver {
        /// The driver.
        name: String,
    },
    /// Several ids begin so.
    #[error("network {prefix} is ambiguous ({count} matches found based on ID prefix)")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// How many there are.
        count: usize,
    },
    /// The name is taken.
    #[error("network with name {name} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// It may not be done to this network.
    #[error("{text}")]
    Forbidden {
        /// What, and why.
        text: String,
    },
    /// Containers use it, or a name or address is taken.
    #[error("{text}")]
    Conflict {
        /// What is in the way.
        text: String,
    },
    /// There is no such container.
    #[error(transparent)]
    Container(#[from] LookupError),
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
    /// A port of the host is taken, which docker calls its own failure.
    #[error("{text}")]
    Port {
        /// The endpoint and the port.
        text: String,
    },
    /// A step failed.
    #[error("{doing} network {name}")]
    Step {
        /// What was being done.
        doing: &'static str,
        /// The network.
        name: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl NetworkError {
    /// Returns the error of a step.
    pub(crate) fn step<E: std::error::Error + Send + Sync + 'static>(
        doing: &'static str,
        name: &str,
        error: E,
    ) -> Self {
        Self::Step {
            doing,
            name: name.to_owned(),
            source: Box::new(error),
        }
    }

    /// Returns the error for a wrong request.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid { text: text.into() }
    }

    /// Returns the error for a container that is not on a network; docker's text.
    pub(crate) fn not_connected(container: &str, network: &str) -> Self {
        Self::Forbidden {
            text: format!("container {container} is not connected to network {network}"),
        }
    }
}

impl Kinded for NetworkError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } | Self::NoDriver { .. } => Kind::NotFound,
            Self::Container(error) => error.kind(),
            Self::Exists { .. } | Self::Conflict { .. } => Kind::Conflict,
            Self::Forbidden { .. } => Kind::Denied,
            Self::Ambiguous { .. } | Self::Invalid { .. } => Kind::Invalid,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Port { .. } | Self::Step { .. } => Kind::Internal,
        }
    }
}

impl From<FilterError> for NetworkError {
    fn from(error: FilterError) -> Self {
        Self::Invalid {
            text: error.to_string(),
        }
    }
}
