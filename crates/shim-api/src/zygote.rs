//! The messages between the daemon and the zygote, on one stream socket that the zygote gets as its stdin.
//!
//! ```text
//! zygote ── fork ──▶ shim, ahead of its request
//! zygote ── Offer + 2 fds (a connection to that shim, its pidfd) ──▶ daemon
//! daemon ── SpawnRequest + 1 fd (the shim's first connection) ──▶ zygote ── fork ──▶ shim
//!                                      shim ── Hello on that connection ──▶ daemon
//! ```
//!
//! There is at most one offer at a time: another one comes when the shim of the last one has started its container, or
//! has ended. A daemon that has none asks. The zygote does not answer: a fork that fails closes the fd it was given,
//! which the daemon sees as an end of that connection. The zygote ends when its socket ends; its shims live on.

use serde::{Deserialize, Serialize};

/// The first argument, and the name, of the zygote and of every shim.
pub const PROGRAM: &str = "berth-shim";

/// Room that the zygote's second argument reserves, so that a shim can show its container's id there.
pub const ID_LENGTH: usize = 64;

/// Asks for one shim. Carries one fd: the connection that the shim serves first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnRequest {}

/// A shim that waits for its first request. Carries two fds: the connection that it serves first, and its pidfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The shim's pid in the zygote's pid namespace.
    pub pid: i32,
}

/// The first frame on a connection that was handed to a new shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The shim's pid in the zygote's pid namespace.
    pub hello: i32,
}
