//! Berth's own calls: a whole `run` or `exec` in one request.
//!
//! Docker's API needs four requests on three connections for a `run`. `POST /berth/run` (body: [`RunRequest`]) and
//! `POST /berth/containers/{id}/exec` (body: [`ExecCreateRequest`](crate::exec::ExecCreateRequest)) do the same with one.
//! What fails before there is a container or a process is an ordinary HTTP error. Otherwise the reply is `200` with the
//! content type [`CONTENT_TYPE`], and its body, which ends with the connection, is a sequence of Docker's frames (one byte of
//! kind, three zeros, a big-endian length of four bytes, the content): output with Docker's kinds 1 and 2, and documents
//! with the kinds below. What the client sends after its request is standard input; its half-close ends that.
//!
//! ```text
//! run:   STARTED  output…  ENDED        or  REFUSED        detached: STARTED alone
//! exec:            output…  ENDED
//! ```
//!
//! A daemon that does not have them answers 404, and the client goes Docker's way. Terminals always go that way: their stream has
//! no frames.

use crate::container::CreateRequest;

/// The content type of the reply.
pub const CONTENT_TYPE: &str = "application/vnd.berth.session";

/// The path of a run.
pub const RUN_PATH: &str = "/berth/run";

/// The kind of a frame with a [`RunStarted`]: the container runs.
pub const STARTED: u8 = 16;
/// The kind of a frame with a [`RunRefused`], the only one of its reply: the container was made but not started.
pub const REFUSED: u8 = 17;
/// The kind of a frame with a [`WaitReply`](crate::container::WaitReply), the last of its reply.
pub const ENDED: u8 = 18;

/// The largest document in a frame.
pub const LARGEST_DOCUMENT: usize = 1 << 20;

wire! {
    /// The body of a run.
    pub struct RunRequest {
        /// Empty: a random one.
        pub name: String,
        /// Empty: the image's.
        pub platform: String,
        /// What `POST /containers/create` takes.
        pub container: CreateRequest,
        /// Whether nobody attaches or waits.
        pub detach: bool,
        /// Whether the client's bytes go to standard input.
        pub stdin: bool,
        /// Whether standard output is wanted.
        pub stdout: bool,
        /// Whether standard error is wanted.
        pub stderr: bool,
        /// Docker's spelling; empty: the default.
        pub detach_keys: String,
    }

    /// A container was created and started.
    pub struct RunStarted {
        /// Its id.
        pub id: String,
        /// What the caller should know.
        pub warnings: Vec<String>,
    }

    /// A container was created and could not be started. One that is removed at its end is gone by now.
    pub struct RunRefused {
        /// Its id.
        pub id: String,
        /// What the caller should know.
        pub warnings: Vec<String>,
        /// The HTTP status that a start would have had.
        pub status: u16,
        /// The error's text.
        pub message: String,
    }
}
