//! Listening sockets: a unix socket that only root and one group may use, or the loopback address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket.
    Unix(UnixListener),
    /// A TCP socket.
    Tcp(std::net::TcpListener),
}

/// Listening failed.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// A daemon answers there.
    #[error("socket \"{}\" is in use by another daemon", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// There is something that is not a socket.
    #[error("\"{}\" exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The address can be reached from other machines.
    #[error(
        "tcp address \"{address}\" is not a loopback address: anyone who reaches it would be root here, and tls is not supported yet"
    )]
    NotLoopback {
        /// The address.
        address: String,
    },
    /// A system call failed.
    #[error("{doing} \"{address}\"")]
    Socket {
        /// What was being done.
        doing: &'static str,
        /// The path or address.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl base::error::Kinded for ListenError {
    fn kind(&self) -> base::error::Kind {
        match self {
            Self::InUse { .. } | Self::NotASocket { .. } => base::error::Kind::Conflict,
            Self::NotLoopback { .. } => base::error::Kind::Denied,
            Self::Socket { source, .. } => base::error::kind_of_io(source),
        }
    }
}

/// How long somebody may hold the socket: a daemon that was killed while it started a process leaves that one with a copy,
/// until it executes its program.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(10);
/// How many clients may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on a unix socket that root and `group` may use, mode 0660 whatever the umask. A socket that nobody listens on
/// any more is replaced.
pub fn listen_unix(path: &Path, group: Option<u32>) -> Result<Listener, ListenError> {
    let failed = |doing: &'static str| {
        let address = path.display().to_string();
        move |source: io::Error| ListenError::Socket {
            doing,
            address,
            source,
        }
    };
    remove_stale(path)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|errno| failed("make a socket for")(errno.into()))?;
    // The mode of the fd is the mode that bind gives the file, so there is no moment in which others may connect.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| failed("set the mode of")(errno.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|errno| failed("name the socket")(errno.into()))?;
    rustix::net::bind(&socket, &address).map_err(|errno| failed("bind to")(errno.into()))?;
    std::os::unix::fs::chown(path, None, group.or(Some(0))).map_err(failed("set the group of"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .map_err(failed("set the mode of"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(|errno| failed("listen on")(errno.into()))?;
    Ok(Listener::Unix(socket.into()))
}

fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |doing| {
        let address = path.display().to_string();
        move |source: io::Error| ListenError::Socket {
            doing,
            address,
            source,
        }
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(ListenError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let deadline = Instant::now() + PATIENCE;
    let mut connected = UnixStream::connect(path);
    while connected.is_ok() && Instant::now() < deadline {
        std::thread::sleep(PAUSE);
        connected = UnixStream::connect(path);
    }
    match connected {
        Ok(_stream) => Err(ListenError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove stale socket")(error))
            }
            _ => Ok(()),
        },
        // Most of all EAGAIN: a daemon that has no time to accept.
        Err(_) => Err(ListenError::InUse {
            path: path.to_owned(),
        }),
    }
}

/// Listens on a loopback address, `host:port`.
pub fn listen_tcp(address: &str) -> Result<Listener, ListenError> {
    let failed = |doing| {
        let address = address.to_owned();
        move |source: io::Error| ListenError::Socket {
            doing,
            address,
            source,
        }
    };
    // No resolver is asked: a name other than `localhost` is no loopback address.
    let numeric = match address.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => address.to_owned(),
    };
    let not_loopback = || ListenError::NotLoopback {
        address: address.to_owned(),
    };
    let resolved: SocketAddr = numeric
        .parse()
        .map_err(|_other: std::net::AddrParseError| not_loopback())?;
    let is_loopback = match resolved.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback(),
    };
    if !is_loopback {
        return Err(not_loopback());
    }
    let listener = std::net::TcpListener::bind(resolved).map_err(failed("bind to"))?;
    listener.set_nonblocking(true).map_err(failed("prepare"))?;
    Ok(Listener::Tcp(listener))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("berth-listener-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn sockets_are_for_root_and_the_group() {
        let directory = directory("mode");
        let path = directory.join("s");
        let listener = listen_unix(&path, Some(0)).unwrap();
        let file = std::fs::metadata(&path).unwrap();
        assert_eq!(file.mode() & 0o7777, 0o660);
        assert_eq!((file.uid(), file.gid()), (0, 0));
        assert!(matches!(listen_unix(&path, None), Err(ListenError::InUse { .. })));
        drop(listener);
        // Nobody listens any more.
        drop(listen_unix(&path, None).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(
            listen_unix(&path, None),
            Err(ListenError::NotASocket { .. })
        ));
        std::fs::remove_dir(&path).unwrap();
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn only_loopback_addresses() {
        for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:0", "example.com:0", "nonsense"] {
            assert!(
                matches!(listen_tcp(address), Err(ListenError::NotLoopback { .. })),
                "{address}"
            );
        }
        assert!(listen_tcp("127.0.0.1:0").is_ok());
        assert!(listen_tcp("localhost:0").is_ok());
    }
}
