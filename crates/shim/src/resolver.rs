//! The sockets of the container's name server: made inside its network namespace, served outside of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use serde::Serialize;

/// Where a container asks for names.
const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 11), 53);
/// Questions by TCP that wait to be taken.
const BACKLOG: i32 = 64;
/// How long the server may take to take the sockets.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a container has no name server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolverError {
    /// The container's network namespace could not be entered.
    #[error("enter the container's network namespace")]
    Namespace(#[source] sys::SyscallError),
    /// There is no socket at the address of the name server.
    #[error("make the socket of the container's name server, {ADDRESS} ({protocol})")]
    Bind {
        protocol: &'static str,
        source: io::Error,
    },
    /// The server did not take the sockets.
    #[error("hand the sockets of the container's name server to {server:?}")]
    HandOver { server: PathBuf, source: io::Error },
}

impl ResolverError {
    /// Returns the errno, 0 if there was none.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Namespace(error) => error.raw_errno(),
            Self::Bind { source, .. } | Self::HandOver { source, .. } => source.raw_os_error().unwrap_or(0),
        }
    }
}

/// Makes the sockets in `namespace` and gives them to the server that listens at `server`. In a namespace that was kept,
/// the server may have those of the run before still.
pub(crate) fn hand_over(
    server: &Path,
    container: &str,
    namespace: BorrowedFd<'_>,
    is_kept: bool,
) -> Result<(), ResolverError> {
    let made = sys::namespace::visit_network(namespace, || {
        let make = |protocol, kind| make(kind).map_err(|source| ResolverError::Bind { protocol, source });
        Ok((make("udp", SocketType::DGRAM)?, make("tcp", SocketType::STREAM)?))
    });
    let (udp, tcp) = match made.map_err(ResolverError::Namespace)? {
        Err(ResolverError::Bind { source, .. }) if is_kept && source.kind() == io::ErrorKind::AddrInUse => {
            return Ok(());
        }
        made => made?,
    };
    give(server, container, [udp.as_fd(), tcp.as_fd()]).map_err(|source| ResolverError::HandOver {
        server: server.to_owned(),
        source,
    })
}

fn make(kind: SocketType) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
    if kind == SocketType::STREAM {
        // What is left of connections of an earlier run is in nobody's way.
        set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &ADDRESS)?;
    if kind == SocketType::STREAM {
        listen(&socket, BACKLOG)?;
    }
    Ok(socket)
}

#[derive(Serialize)]
struct Message<'a> {
    handover: Handover<'a>,
}

#[derive(Serialize)]
struct Handover<'a> {
    container: &'a str,
}

fn give(server: &Path, container: &str, sockets: [BorrowedFd<'_>; 2]) -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Also for the time that connecting takes (unix(7)).
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &SocketAddrUnix::new(server)?)?;
    let message = Message {
        handover: Handover { container },
    };
    let message = serde_json::to_vec(&message)?;
    sys::socket::send_with_fds(&socket, &message, &sockets)
        .map(drop)
        .map_err(|error| io::Error::from(error.errno()))
}
