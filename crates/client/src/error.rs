//! What may go wrong between a call and its answer.

use std::io;

use base::error::{Kind, Kinded};

/// A call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or not for us.
    #[error("connect to {endpoint}")]
    Connect {
        /// The daemon's address as a URL.
        endpoint: String,
        /// The cause.
        source: io::Error,
    },
    /// The connection broke before the answer was complete.
    #[error("{method} {path}")]
    Exchange {
        /// The method of the request.
        method: http::Method,
        /// The path of the request.
        path: String,
        /// The cause.
        source: hyper::Error,
    },
    /// The daemon answered with an error.
    #[error("{message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The daemon's own words.
        message: String,
    },
    /// The daemon did not switch to a raw stream.
    #[error("{path} was not upgraded to a stream (status {status})")]
    NotUpgraded {
        /// The path of the request.
        path: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not what the API says.
    #[error("decode the answer to {path}")]
    Decode {
        /// The path of the request.
        path: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// The request could not be written.
    #[error("encode the request to {path}")]
    Encode {
        /// The path of the request.
        path: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// The request's path or headers cannot be sent.
    #[error("build the request to {path}")]
    Request {
        /// The path of the request.
        path: String,
        /// The cause.
        source: http::Error,
    },
    /// Bytes that were sent up or came down could not be read or written.
    #[error("stream {path}")]
    Stream {
        /// The path of the request.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The daemon and this client have no version of the API in common.
    #[error("the daemon speaks API version {daemon}, older than 1.24")]
    Version {
        /// The daemon's newest version.
        daemon: String,
    },
}

impl ClientError {
    /// Returns the daemon's status if it answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns whether nobody listens: no socket file, or one that its daemon left behind.
    pub fn nobody_listens(&self) -> bool {
        let Self::Connect { source, .. } = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
        )
    }
}

impl Kinded for ClientError {
    fn kind(&self) -> Kind {
        match self {
            Self::Status { status: 404, .. } => Kind::NotFound,
            Self::Status { status: 409, .. } => Kind::Conflict,
            Self::Status { status: 400, .. } => Kind::Invalid,
            Self::Status {
                status: 401 | 403, ..
            } => Kind::Denied,
            Self::Status { status: 501, .. } | Self::Version { .. } => Kind::Unsupported,
            Self::Status { status: 503, .. } => Kind::Busy,
            Self::Connect { source, .. } | Self::Stream { source, .. } => base::error::kind_of_io(source),
            Self::Request { .. } => Kind::Invalid,
            _ => Kind::Internal,
        }
    }
}
