//! Handing a terminal over: its master goes as a descriptor through the socket that the caller listens on.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{CommandError, Context};

/// Connects to the console socket; done before anything is made, so that a wrong path costs nothing.
pub(crate) fn connect(path: &Path) -> Result<OwnedFd, CommandError> {
    let doing = || format!("connect to the console socket \"{}\"", path.display());
    let address = SocketAddrUnix::new(path).context(doing)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .context(doing)?;
    rustix::net::connect(&socket, &address).context(doing)?;
    Ok(socket)
}

/// Sends the master with the name of the terminal, as runc does.
pub(crate) fn send(socket: OwnedFd, master: OwnedFd) -> Result<(), CommandError> {
    sys::socket::send_with_fds(&socket, b"/dev/ptmx", &[master.as_fd()])
        .context(|| "send the terminal to the console socket".to_owned())
        .map(drop)
}
