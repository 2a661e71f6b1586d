//! The daemon's side: a connection to netd, and netd's start when there is none.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::error::{Kind, Kinded};
use rustix::io::Errno;
use serde::Serialize;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::handover::{self, Sockets};
use crate::message::{
    Answer, Container, Everything, Held, Holder, Message, NameChange, Network, Protocol, Proxy, Reply,
    Request, Reservation, State, VERSION,
};
use crate::packet::{self, Decoder, PACKET, PacketError};
use crate::start::{self, Options, StartError};

/// How long netd may take for a reply. It does each request at once.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a netd is started, or another one's end awaited, before it is given up.
const ATTEMPTS: usize = 3;

/// Why there is no connection to netd.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error("connect to netd at \"{}\"", path.display())]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Something does, but no netd.
    #[error("greet netd")]
    Greet {
        /// The cause.
        source: CallError,
    },
    /// There was none, and none could be started.
    #[error("there is no netd")]
    Start {
        /// The cause.
        source: StartError,
    },
    /// Each that was started is gone again, or an old one does not go.
    #[error("no netd of this version stays at \"{}\"", path.display())]
    Restless {
        /// Its socket.
        path: PathBuf,
    },
}

impl Kinded for ConnectError {
    fn kind(&self) -> Kind {
        Kind::Internal
    }
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// netd has ended, or was killed: [`Client::start_or_connect`] makes a new one, which is to be told
    /// [`Client::replace`].
    #[error("netd is gone")]
    Gone,
    /// It says nothing.
    #[error("netd does not reply")]
    TimedOut,
    /// What was sent or received makes no sense.
    #[error("talk to netd")]
    Protocol {
        /// The cause.
        source: PacketError,
    },
    /// It cannot be done.
    #[error("netd refused: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// A port is another's.
    #[error("{held}")]
    Held {
        /// Whose.
        held: Box<Held>,
    },
}

impl Kinded for CallError {
    fn kind(&self) -> Kind {
        match self {
            Self::Held { .. } => Kind::Conflict,
            Self::Gone | Self::TimedOut => Kind::Busy,
            Self::Protocol { .. } | Self::Refused { .. } => Kind::Internal,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            protocol,
            port,
            ..
        } = self;
        let address = std::net::SocketAddr::new(*address, *port);
        match &self.holder {
            Holder::Container { id } => {
                let id = id.get(..12).unwrap_or(id);
                write!(formatter, "{address}/{protocol} is held by container {id}")
            }
            Holder::Process { pid, name } => {
                write!(
                    formatter,
                    "{address}/{protocol} is held by process {pid} (\"{name}\")"
                )
            }
            Holder::Unknown => write!(formatter, "{address}/{protocol} is in use"),
            Holder::Refused { reason } => write!(formatter, "{address}/{protocol} cannot be had: {reason}"),
        }
    }
}

/// A connection to netd. Calls are done one after the other.
#[derive(Debug)]
pub struct Client {
    connection: Mutex<Connection>,
    /// A second connection on which nothing is ever said: it only ends.
    watch: UnixStream,
    path: PathBuf,
    pid: i32,
}

#[derive(Debug)]
struct Connection {
    /// A socket of packets, of which tokio knows only when it is ready.
    socket: UnixStream,
    decoder: Decoder,
    number: u64,
}

/// [`Message::Call`], borrowed.
#[derive(Serialize)]
struct Call<'a> {
    call: CallBody<'a>,
}

#[derive(Serialize)]
struct CallBody<'a> {
    number: u64,
    request: &'a Request,
}

impl Client {
    /// Connects to the netd that listens at `path`, whatever its version; returns the client and that version.
    pub async fn connect(path: &Path) -> Result<(Self, u32), ConnectError> {
        let failed = |source: io::Error| ConnectError::Connect {
            path: path.to_owned(),
            source,
        };
        let owned = path.to_owned();
        let sockets = tokio::task::spawn_blocking(move || {
            let connected = [handover::connect(&owned)?, handover::connect(&owned)?];
            for socket in &connected {
                rustix::io::ioctl_fionbio(socket, true)?;
            }
            Ok::<_, Errno>(connected)
        });
        let sockets = sockets
            .await
            .map_err(|_cancelled| failed(Errno::CANCELED.into()))?;
        let [socket, watch] = sockets.map_err(|errno| failed(errno.into()))?;
        let mut connection = Connection {
            socket: UnixStream::from_std(socket.into()).map_err(failed)?,
            decoder: Decoder::default(),
            number: 0,
        };
        let watch = UnixStream::from_std(watch.into()).map_err(failed)?;
        let reply = connection.call(&Request::Hello).await;
        let (version, pid) = match reply {
            Ok(Reply::Hello { version, pid }) => (version, pid),
            Ok(other) => {
                let source = unexpected(other);
                return Err(ConnectError::Greet { source });
            }
            Err(source) => return Err(ConnectError::Greet { source }),
        };
        let client = Self {
            connection: Mutex::new(connection),
            watch,
            path: path.to_owned(),
            pid,
        };
        Ok((client, version))
    }

    /// Connects to the netd of this data root, or starts one when there is none or it is another version's. Whether it is
    /// a new one, which knows nothing, is not told: say [`Self::replace`] in any case. One caller at a time for each socket.
    pub async fn start_or_connect(options: &Options) -> Result<Self, ConnectError> {
        for _ in 0..ATTEMPTS {
            match Self::connect(&options.socket).await {
                Ok((client, VERSION)) => return Ok(client),
                Ok((other, _)) => {
                    // It closes its sockets with its end, so that they can be made again.
                    drop(other.call(Request::Quit).await);
                    drop(tokio::time::timeout(PATIENCE, other.closed()).await);
                    continue;
                }
                // One that is there but slow holds what a second one would want.
                Err(
                    error @ ConnectError::Greet {
                        source: CallError::TimedOut,
                    },
                ) => return Err(error),
                // It has ended between the connection and the greeting, or is none.
                Err(ConnectError::Greet { .. }) => {}
                Err(ConnectError::Connect { .. }) => {}
                Err(error) => return Err(error),
            }
            let options = options.clone();
            let started = tokio::task::spawn_blocking(move || start::start(&options)).await;
            if let Ok(Err(source)) = started {
                return Err(ConnectError::Start { source });
            }
        }
        match Self::connect(&options.socket).await {
            Ok((client, VERSION)) => Ok(client),
            _ => Err(ConnectError::Restless {
                path: options.socket.clone(),
            }),
        }
    }

    /// Returns netd's pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns when netd has ended.
    pub async fn closed(&self) {
        let mut byte = [0u8; 1];
        loop {
            if self.watch.readable().await.is_err() {
                return;
            }
            match self.watch.try_read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }

    /// Tells everything: what netd has of it stays, what is not in it is forgotten. Returns the reservations and proxies
    /// that could not be had.
    pub async fn replace(&self, everything: Everything) -> Result<Vec<Held>, CallError> {
        match self.call(Request::Replace(everything)).await? {
            Reply::Done => Ok(Vec::new()),
            Reply::Partly { refused } => Ok(refused),
            other => Err(unexpected(other)),
        }
    }

    /// Adds or replaces a network.
    pub async fn set_network(&self, network: Network) -> Result<(), CallError> {
        self.done(Request::SetNetwork(network)).await
    }

    /// Forgets a network.
    pub async fn remove_network(&self, network: &str) -> Result<(), CallError> {
        let network = network.to_owned();
        self.done(Request::RemoveNetwork { network }).await
    }

    /// Adds an address to a name.
    pub async fn add_name(&self, change: NameChange) -> Result<(), CallError> {
        self.done(Request::AddName(change)).await
    }

    /// Takes an address from a name.
    pub async fn remove_name(&self, change: NameChange) -> Result<(), CallError> {
        self.done(Request::RemoveName(change)).await
    }

    /// Says what a container's queries are answered from.
    pub async fn set_container(&self, container: Container) -> Result<(), CallError> {
        self.done(Request::SetContainer(container)).await
    }

    /// Forgets a container, its sockets, reservations and proxies.
    pub async fn remove_container(&self, container: &str) -> Result<(), CallError> {
        let container = container.to_owned();
        self.done(Request::RemoveContainer { container }).await
    }

    /// Keeps host ports from others; all or none.
    pub async fn reserve(&self, container: &str, reservations: Vec<Reservation>) -> Result<(), CallError> {
        let container = container.to_owned();
        self.done(Request::Reserve {
            container,
            reservations,
        })
        .await
    }

    /// Gives a container's reservations and proxies back.
    pub async fn release(&self, container: &str) -> Result<(), CallError> {
        let container = container.to_owned();
        self.done(Request::Release { container }).await
    }

    /// Passes what comes in at an address on to a container.
    pub async fn proxy(&self, proxy: Proxy) -> Result<(), CallError> {
        self.done(Request::Proxy(proxy)).await
    }

    /// Asks for several things in one packet, and stops at the first that cannot be done.
    pub async fn steps(&self, steps: Vec<Request>) -> Result<(), CallError> {
        if steps.is_empty() {
            return Ok(());
        }
        self.done(Request::Steps(steps)).await
    }

    /// Hands the resolver's sockets of a container over, as a shim does: for a netd that was started anew.
    pub async fn hand_over(
        &self,
        container: &str,
        sockets: Sockets,
        life: Option<OwnedFd>,
    ) -> Result<(), CallError> {
        let message = Message::Handover {
            container: container.to_owned(),
        };
        let mut fds = vec![sockets.udp.as_fd(), sockets.tcp.as_fd()];
        fds.extend(life.as_ref().map(AsFd::as_fd));
        let connection = self.connection.lock().await;
        connection.send(&message, &fds).await
    }

    /// Makes the resolver's sockets of a running container again and hands them over: `directory` is `/proc/PID` of its
    /// first process, opened. For a netd that was started anew (F-30).
    pub async fn attach(&self, container: &str, process: ContainerProcess) -> Result<(), AttachError> {
        let made = tokio::task::spawn_blocking(move || {
            let sockets = handover::sockets_in(process.namespace.as_fd())?;
            Ok::<_, handover::HandoverError>((sockets, process.life))
        });
        let cancelled = |_join| AttachError::Call {
            source: CallError::Gone,
        };
        let (sockets, life) = made
            .await
            .map_err(cancelled)?
            .map_err(|source| AttachError::Make { source })?;
        self.hand_over(container, sockets, life)
            .await
            .map_err(|source| AttachError::Call { source })
    }

    /// Returns what netd holds.
    pub async fn state(&self) -> Result<State, CallError> {
        match self.call(Request::State).await? {
            Reply::State(state) => Ok(state),
            other => Err(unexpected(other)),
        }
    }

    /// Ends netd.
    pub async fn quit(&self) -> Result<(), CallError> {
        self.done(Request::Quit).await
    }

    /// Returns where netd listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn done(&self, request: Request) -> Result<(), CallError> {
        match self.call(request).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        self.connection.lock().await.call(&request).await
    }
}

/// The first process of a container, for [`Client::attach`].
#[derive(Debug)]
pub struct ContainerProcess {
    /// Its network namespace.
    pub namespace: OwnedFd,
    /// Its pidfd.
    pub life: Option<OwnedFd>,
}

impl ContainerProcess {
    /// Opens the namespace and a pidfd of process `pid`. That it is still the process that was meant is to be checked
    /// afterwards, with its start time.
    pub fn open(pid: i32) -> io::Result<Self> {
        let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
        let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        let life = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
        Ok(Self {
            namespace: namespace.into(),
            life: Some(life),
        })
    }
}

/// Why a container's resolver could not be brought back.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Its sockets could not be made.
    #[error("bring the resolver of a container back")]
    Make {
        /// The cause.
        source: handover::HandoverError,
    },
    /// netd did not take them.
    #[error("give netd the resolver of a container")]
    Call {
        /// The cause.
        source: CallError,
    },
}

impl AttachError {
    /// Returns whether somebody has the address of the sockets: netd itself, if it was given them before, or a program of
    /// the container.
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::Make {
                source: handover::HandoverError::Make { source },
            } => source.errno() == Errno::ADDRINUSE,
            Self::Make { .. } | Self::Call { .. } => false,
        }
    }
}

impl Kinded for AttachError {
    fn kind(&self) -> Kind {
        match self {
            Self::Make { source } => source.kind(),
            Self::Call { source } => source.kind(),
        }
    }
}

impl Connection {
    async fn call(&mut self, request: &Request) -> Result<Reply, CallError> {
        self.number += 1;
        let number = self.number;
        let call = Call {
            call: CallBody { number, request },
        };
        let exchange = async {
            self.send(&call, &[]).await?;
            loop {
                let answer = self.receive().await?;
                // Replies to calls that were given up before.
                if answer.number == number {
                    return Ok(answer.reply);
                }
            }
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_elapsed| CallError::TimedOut)?
    }

    async fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<(), CallError> {
        let mut fds = fds;
        for packet in packet::encode(message).map_err(from_packet)? {
            loop {
                let send = || Ok(sys::socket::send_with_fds(&self.socket, &packet, fds)?);
                match self.socket.try_io(Interest::WRITABLE, send) {
                    Ok(_) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.socket.writable().await.map_err(from_io)?;
                    }
                    Err(error) => return Err(from_io(error)),
                }
            }
            fds = &[];
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Answer, CallError> {
        let mut buffer = vec![0; PACKET + 1];
        loop {
            let mut fds = Vec::new();
            let receive = || {
                Ok(sys::socket::receive_with_fds(
                    &self.socket,
                    &mut buffer,
                    &mut fds,
                )?)
            };
            match self.socket.try_io(Interest::READABLE, receive) {
                Ok(0) => return Err(CallError::Gone),
                Ok(length) => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    // Descriptors are nothing that netd sends.
                    let answer = self.decoder.push(packet, Vec::new()).map_err(from_packet)?;
                    if let Some((answer, _)) = answer {
                        return Ok(answer);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.readable().await.map_err(from_io)?;
                }
                Err(error) => return Err(from_io(error)),
            }
        }
    }
}

fn from_io(source: io::Error) -> CallError {
    match source.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => {
            CallError::Gone
        }
        _ => CallError::Protocol {
            source: PacketError::Socket { source },
        },
    }
}

fn from_packet(source: PacketError) -> CallError {
    match source {
        PacketError::Closed => CallError::Gone,
        source => CallError::Protocol { source },
    }
}

fn unexpected(reply: Reply) -> CallError {
    match reply {
        Reply::Held(held) => CallError::Held { held: Box::new(held) },
        Reply::Failed { reason } => CallError::Refused { reason },
        _ => CallError::Refused {
            reason: "it replied to another request".to_owned(),
        },
    }
}
