//! What a shim does: it makes the sockets of the resolver in its container's namespace and hands them over.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use base::error::{Kind, Kinded};
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketAddrV4, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;
use serde::Serialize;
use sys::SyscallError;

use crate::packet::{self, PacketError};

/// Where every container finds its resolver, as with docker.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The resolver's port.
pub const PORT: u16 = 53;
/// TCP connections of a container that may wait to be accepted.
pub const BACKLOG: i32 = 64;
/// How often a port that is in use is tried, and how long is waited between: a tenth of a second in all.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);
/// How long a shim waits for a netd that does not take its connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// The resolver's sockets of one container.
#[derive(Debug)]
pub struct Sockets {
    /// Bound to UDP 127.0.0.11:53.
    pub udp: OwnedFd,
    /// Listens on TCP 127.0.0.11:53.
    pub tcp: OwnedFd,
}

/// Why sockets could not be made or handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Another program in the container has the port already, or the namespace cannot be entered.
    #[error("make the resolver's sockets on {ADDRESS}:{PORT}")]
    Make {
        /// The cause.
        source: SyscallError,
    },
    /// netd is not there.
    #[error("connect to netd at \"{path}\"")]
    Connect {
        /// Its socket.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// netd did not take them.
    #[error("hand the resolver's sockets over to netd")]
    Send {
        /// The cause.
        source: PacketError,
    },
}

impl Kinded for HandoverError {
    fn kind(&self) -> Kind {
        match self {
            Self::Make { source } if source.errno() == Errno::ADDRINUSE => Kind::Conflict,
            Self::Make { source } => source.kind(),
            Self::Connect { .. } | Self::Send { .. } => Kind::Internal,
        }
    }
}

/// Makes the sockets in the network namespace of the calling thread. Its loopback interface need not be up yet.
pub fn sockets() -> Result<Sockets, HandoverError> {
    let udp = bound(SocketType::DGRAM).map_err(|source| HandoverError::Make { source })?;
    let tcp = bound(SocketType::STREAM).map_err(|source| HandoverError::Make { source })?;
    Ok(Sockets { udp, tcp })
}

/// As [`sockets`], in another network namespace: a socket stays in the namespace that it was made in.
pub fn sockets_in(namespace: BorrowedFd<'_>) -> Result<Sockets, HandoverError> {
    // A thread of its own enters the namespace and ends, so no thread that goes on is ever elsewhere.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, || {
            rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).map_err(
                |errno| {
                    let call = format!("setns({}, CLONE_NEWNET)", namespace.as_raw_fd());
                    HandoverError::Make {
                        source: SyscallError::new(call, errno),
                    }
                },
            )?;
            sockets()
        });
        match thread {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(error) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::AGAIN);
                let source = SyscallError::new("clone(CLONE_THREAD)", errno);
                Err(HandoverError::Make { source })
            }
        }
    })
}

/// Gives the sockets of `container` to the netd that listens at `path`. Sockets that it has of the same container are
/// closed. Nothing is answered.
///
/// `life` is a pidfd of the process that the network namespace lives with: when it ends, netd closes the sockets, which
/// would keep the namespace, and with it the container's cables, alive. Without it they are kept until the daemon takes
/// them back.
pub fn hand_over(
    path: &Path,
    container: &str,
    sockets: &Sockets,
    life: Option<BorrowedFd<'_>>,
) -> Result<(), HandoverError> {
    let socket = connect(path).map_err(|errno| HandoverError::Connect {
        path: path.display().to_string(),
        source: errno.into(),
    })?;
    let mut fds = vec![sockets.udp.as_fd(), sockets.tcp.as_fd()];
    fds.extend(life);
    let message = Message {
        handover: Handover { container },
    };
    packet::send(&socket, &message, &fds).map_err(|source| HandoverError::Send { source })
}

/// Connects to the netd that listens at `path`.
pub(crate) fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    let address = SocketAddrUnix::new(path)?;
    rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))?;
    Ok(socket)
}

/// [`crate::message::Message::Handover`], borrowed.
#[derive(Serialize)]
struct Message<'a> {
    handover: Handover<'a>,
}

#[derive(Serialize)]
struct Handover<'a> {
    container: &'a str,
}

fn bound(kind: SocketType) -> Result<OwnedFd, SyscallError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fail = |call: String| move |errno| SyscallError::new(call, errno);
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)
        .map_err(fail(format!("socket(AF_INET, {kind:?})")))?;
    // 127.0.0.0/8 becomes local when the loopback interface is brought up, before or after this.
    sockopt::set_ip_freebind(&socket, true).map_err(fail("setsockopt(IP_FREEBIND)".to_owned()))?;
    if kind == SocketType::STREAM {
        // For sockets made anew: the closed connections of their predecessors must not be in the way.
        sockopt::set_socket_reuseaddr(&socket, true).map_err(fail("setsockopt(SO_REUSEADDR)".to_owned()))?;
    }
    let address = SocketAddrV4::new(ADDRESS, PORT);
    let mut attempts = 1..ATTEMPTS;
    loop {
        match rustix::net::bind(&socket, &address) {
            Ok(()) => break,
            // Those of the netd that was killed, or of the container's former run, may be about to be closed.
            Err(Errno::ADDRINUSE) if attempts.next().is_some() => std::thread::sleep(PAUSE),
            Err(errno) => return Err(SyscallError::new(format!("bind({kind:?}, {address})"), errno)),
        }
    }
    if kind == SocketType::STREAM {
        rustix::net::listen(&socket, BACKLOG).map_err(fail(format!("listen({ADDRESS}:{PORT})")))?;
    }
    Ok(socket)
}
