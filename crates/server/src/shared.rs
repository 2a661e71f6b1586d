//! What all requests share, and who is at the other end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use engine::Engine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) facts: ServerFacts,
    /// How many connections there are.
    pub(crate) connections: watch::Sender<usize>,
    /// The handlers at work.
    pub(crate) handlers: TaskTracker,
    /// Cancelled when the server stops.
    pub(crate) stopping: CancellationToken,
}

/// What the server says of itself.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// The program's version.
    pub version: String,
    /// The git commit it was built from, or empty.
    pub git_commit: String,
    /// When it was built, or empty.
    pub build_time: String,
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A process of this host.
    Unix { uid: u32, pid: Option<i32> },
    /// A program that reached the loopback address.
    Tcp(SocketAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid, pid } => write!(formatter, "uid={uid} pid={}", pid.unwrap_or(0)),
            Self::Tcp(address) => address.fmt(formatter),
        }
    }
}
