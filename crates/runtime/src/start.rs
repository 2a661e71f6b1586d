//! Letting a held container go.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::channel::decode_error;
use crate::error::{CreateError, Result, Step};

/// Lets the container run that was created with [`crate::Gate::Held`] on this socket.
///
/// Returns when its `execve` has succeeded or failed. A container that was started before, or that is gone, is an
/// error with ECONNREFUSED or ENOENT.
pub fn start(socket: &Path) -> Result<()> {
    let io = |error: std::io::Error| {
        CreateError::new(
            Step::Sync,
            error.raw_os_error().unwrap_or(0),
            format!("connect to the container at {socket:?}: {error}"),
        )
    };
    let stream = UnixStream::connect(socket).map_err(io)?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).map_err(io)?;
    // Nothing: the socket was closed by `execve`.
    let Some((&b'E', content)) = answer.split_first() else {
        return Ok(());
    };
    Err(decode_error(content)
        .unwrap_or_else(|| CreateError::new(Step::Sync, 0, "the container's answer makes no sense")))
}
