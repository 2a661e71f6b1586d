//! The poll loop of one shim.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cgroup::Layout;
use runtime::Sandbox;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use shim_api::frame;
use shim_api::message::{Event, Failure};
use shim_api::task::Task;
use shim_api::zygote::Hello;
use sys::signal::SignalSet;

use crate::client::Client;
use crate::connection::Connection;
use crate::container::{Container, Leftovers, Phase};
use crate::exit::look_for_oom_kills;
use crate::launch::{Ready, io_failure};
use crate::session::{Owner, Part, Session};

/// Everything a shim has.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) layout: Option<Layout>,
    signals: OwnedFd,
    pub(crate) listener: Option<Listener>,
    pub(crate) connections: Vec<Connection>,
    /// The streams of PID 1 and of the execs.
    pub(crate) sessions: Vec<Session>,
    /// Clients of processes that have ended, which have not read everything.
    pub(crate) closing: Vec<Client>,
    pub(crate) container: Option<Container>,
    /// Whether the start failed, so that the shim ends with its reply.
    pub(crate) has_failed: bool,
    /// Whether the daemon has taken the exit record.
    pub(crate) is_released: bool,
    /// Dropped when the container was started: the zygote then has the CPUs for the next shim.
    pub(crate) start: Option<OwnedFd>,
    /// Namespaces that were made ahead; once there is something prepared, for that.
    pub(crate) sandbox: Option<Sandbox>,
    /// What will be started.
    pub(crate) prepared: Option<Prepared>,
}

/// What will be started.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) task: Box<Task>,
    /// Why it is not ready is told by the start.
    pub(crate) ready: Result<Ready, Failure>,
}

/// How long after a start the things that can wait are done.
const SETTLE: Duration = Duration::from_millis(50);

/// Serves one container, beginning with a daemon's connection, until it is over.
pub(crate) fn serve(
    signals: OwnedFd,
    first: OwnedFd,
    layout: Option<Layout>,
    start: Option<OwnedFd>,
    sandbox: Option<Sandbox>,
) -> ExitCode {
    let mut shim = Shim {
        layout,
        signals,
        listener: None,
        connections: vec![Connection::new(first)],
        sessions: Vec::new(),
        closing: Vec::new(),
        container: None,
        has_failed: false,
        is_released: false,
        start,
        sandbox,
        prepared: None,
    };
    let hello = rustix::process::getpid().as_raw_nonzero().get();
    shim.connections[0].send(&Hello { hello });
    while !shim.is_over() {
        shim.turn();
    }
    shim.discard_prepared();
    ExitCode::SUCCESS
}

/// Makes a fork of the zygote a process of its own that reaps whatever its container leaves; returns its signalfd.
pub(crate) fn prepare() -> Result<OwnedFd, sys::SyscallError> {
    let signals = SignalSet::empty().with(libc::SIGCHLD).with(libc::SIGTERM);
    sys::signal::sigprocmask(signals)?;
    sys::signal::set_default(libc::SIGCHLD)?;
    sys::signal::ignore(libc::SIGINT)?;
    sys::process::set_subreaper(true)?;
    // It is a session of its own, or it is not: nothing depends on it.
    rustix::process::setsid().ok();
    sys::signal::signalfd(signals)
}

/// A polled descriptor.
#[derive(Clone, Copy, Debug)]
enum Token {
    Signals,
    Listener,
    Oom,
    Connection(usize),
    Session(usize, Part),
    Closing(usize),
}

impl Shim {
    /// Waits once and serves what was found.
    fn turn(&mut self) {
        let found = self.poll();
        let now = Instant::now();
        for (token, flags) in found {
            self.handle(token, flags);
        }
        self.restart_if_due(now);
        self.settle_if_due(now);
        if let Some(container) = &mut self.container
            && container.log.needs_work().is_some()
        {
            container.log.work();
        }
        self.sweep(now);
    }

    fn poll(&self) -> Vec<(Token, PollFlags)> {
        let mut tokens = Vec::with_capacity(8);
        let mut fds = Vec::with_capacity(8);
        let mut add = |token: Token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        add(Token::Signals, self.signals.as_fd(), PollFlags::IN);
        if let Some(listener) = &self.listener {
            add(Token::Listener, listener.socket.as_fd(), PollFlags::IN);
        }
        if let Some(oom) = self
            .container
            .as_ref()
            .and_then(|container| container.oom.as_ref())
        {
            add(Token::Oom, oom.as_fd(), PollFlags::IN | PollFlags::PRI);
        }
        for (index, connection) in self.connections.iter().enumerate() {
            add(Token::Connection(index), connection.fd(), connection.interest());
        }
        for (index, session) in self.sessions.iter().enumerate() {
            session.poll(|part, fd, flags| add(Token::Session(index, part), fd, flags));
        }
        for (index, client) in self.closing.iter().enumerate() {
            add(Token::Closing(index), client.fd(), PollFlags::OUT);
        }
        let timeout = self
            .timeout()
            .and_then(|timeout| Timespec::try_from(timeout).ok());
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(count) if count > 0 => {}
            // Nothing, or interrupted: the next turn asks again.
            _ => return Vec::new(),
        }
        tokens
            .into_iter()
            .zip(fds)
            .map(|(token, fd)| (token, fd.revents()))
            .filter(|(_, flags)| !flags.is_empty())
            .collect()
    }

    /// Returns how long to wait at most.
    fn timeout(&self) -> Option<Duration> {
        let container = self.container.as_ref();
        let restart = container.and_then(|container| match container.phase {
            Phase::Restarting { at, .. } => Some(at),
            Phase::Running(_) | Phase::Exited(_) => None,
        });
        let settle = container.and_then(|container| container.settle_at);
        let clients = self
            .sessions
            .iter()
            .filter_map(Session::deadline)
            .chain(self.closing.iter().filter_map(Client::deadline));
        let earliest = clients.chain(restart).chain(settle).min();
        let until = earliest.map(|at| at.saturating_duration_since(Instant::now()));
        let work = container.and_then(|container| container.log.needs_work());
        match (until, work) {
            (Some(until), Some(work)) => Some(until.min(work)),
            (until, work) => until.or(work),
        }
    }

    /// Serves one descriptor. Nothing is removed from the lists here, so that positions stay right until the sweep.
    fn handle(&mut self, token: Token, flags: PollFlags) {
        match token {
            Token::Signals => self.take_signals(),
            Token::Listener => self.accept(),
            Token::Oom => {
                let is_news = self.container.as_mut().is_some_and(look_for_oom_kills);
                if is_news {
                    self.broadcast(&Event::OutOfMemory);
                }
            }
            Token::Connection(index) => self.serve_connection(index, flags),
            Token::Session(index, part) => {
                let session = &mut self.sessions[index];
                let log = match (&session.owner, &mut self.container) {
                    (Owner::Container, Some(container)) => Some(&mut container.log),
                    _ => None,
                };
                session.handle(part, flags, log);
            }
            Token::Closing(index) => self.closing[index].flush(),
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(received)) = sys::signal::read_signalfd(self.signals.as_fd()) {
            if received.signal == libc::SIGTERM
                && let Some(container) = &self.container
                && let Phase::Running(run) = &container.phase
            {
                // Somebody ends every process of the host: the container gets its chance.
                sys::signal::pidfd_send_signal(run.pidfd.as_fd(), libc::SIGTERM).ok();
            }
        }
        self.reap();
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(&listener.socket, flags) else {
            return;
        };
        let is_ours = rustix::net::sockopt::socket_peercred(&socket)
            .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
        if is_ours {
            self.connections.push(Connection::new(socket));
        }
    }

    fn serve_connection(&mut self, index: usize, flags: PollFlags) {
        if flags.contains(PollFlags::OUT) {
            self.connections[index].flush();
        }
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        self.connections[index].receive();
        while let Some((request, fds)) = self.connections[index].next_request() {
            self.carry_out(index, request, fds);
        }
    }

    /// Tells every subscriber.
    pub(crate) fn broadcast(&mut self, event: &Event) {
        let mut encoded = None;
        for connection in self
            .connections
            .iter_mut()
            .filter(|connection| connection.is_subscribed)
        {
            if encoded.is_none() {
                encoded = frame::encode(event).ok();
            }
            if let Some(encoded) = &encoded {
                connection.send_frame(encoded);
            }
        }
    }

    /// Has the things that can wait done a little later.
    pub(crate) fn settle_soon(&mut self) {
        if let Some(container) = &mut self.container {
            container.settle_at.get_or_insert_with(|| Instant::now() + SETTLE);
        }
    }

    /// Does what need not be done between a request and its reply, nor before a short container's exit.
    fn settle_if_due(&mut self, now: Instant) {
        let Some(container) = &mut self.container else {
            return;
        };
        if container.settle_at.is_none_or(|at| at > now) {
            return;
        }
        container.settle_at = None;
        container.leftovers = Leftovers::default();
        container.log.open();
        if container.oom.is_none() {
            container.oom = container
                .cgroup
                .as_ref()
                .and_then(|cgroup| cgroup.oom_events().ok());
            sys::process::set_title(&format!("{} {}", shim_api::zygote::PROGRAM, container.id));
        }
        if look_for_oom_kills(container) {
            self.broadcast(&Event::OutOfMemory);
        }
        sys::memory::release_free_memory();
    }

    fn sweep(&mut self, now: Instant) {
        self.connections.retain(|connection| !connection.is_closed);
        for session in &mut self.sessions {
            session.sweep(now);
        }
        self.sessions.retain(|session| !session.is_over());
        for client in &mut self.closing {
            client.check_deadline(now);
        }
        self.closing.retain(Client::has_pending);
    }

    /// Returns whether the shim has nothing left to do.
    fn is_over(&self) -> bool {
        let replies_are_sent = self
            .connections
            .iter()
            .all(|connection| !connection.has_pending());
        match &self.container {
            None if self.has_failed => replies_are_sent,
            None => self.connections.is_empty(),
            Some(container) => {
                matches!(container.phase, Phase::Exited(_))
                    && self.closing.is_empty()
                    && (self.connections.is_empty() || (self.is_released && replies_are_sent))
            }
        }
    }
}

/// The socket on which later daemons find this shim; its file goes away with it.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    inode: u64,
}

impl Listener {
    /// How long the container's last shim may take to end.
    const PATIENCE: Duration = Duration::from_secs(10);

    pub(crate) fn bind(path: &Path) -> Result<Self, Failure> {
        Self::try_bind(path)
            .map_err(|error| io_failure("socket", &format!("listen on \"{}\"", path.display()), &error))
    }

    fn try_bind(path: &Path) -> io::Result<Self> {
        let socket = new_socket()?;
        let address = SocketAddrUnix::new(path)?;
        let deadline = Instant::now() + Self::PATIENCE;
        loop {
            let former = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
            let result = rustix::net::bind(&socket, &address);
            rustix::process::umask(former);
            match result {
                Ok(()) => break,
                Err(Errno::ADDRINUSE) => make_way(path, &address, deadline)?,
                Err(errno) => return Err(errno.into()),
            }
        }
        rustix::net::listen(&socket, 16)?;
        Ok(Self {
            inode: std::fs::symlink_metadata(path)?.ino(),
            socket,
            path: path.to_owned(),
        })
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Waits for the container's last shim, which removes the cgroup before it gives up its socket, or removes the socket
/// of one that was killed.
fn make_way(path: &Path, address: &SocketAddrUnix, deadline: Instant) -> io::Result<()> {
    let connection = new_socket()?;
    match rustix::net::connect(&connection, address) {
        Ok(()) | Err(Errno::AGAIN) => {}
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::CONNREFUSED) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(()),
        },
        Err(errno) => return Err(errno.into()),
    }
    if Instant::now() >= deadline {
        return Err(Errno::ADDRINUSE.into());
    }
    // Its end closes the connection; the connection itself must not keep it alive for long.
    let pause = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    let mut fds = [PollFd::new(&connection, PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&pause)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A file that is not ours belongs to the next shim of the container.
        let is_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if is_ours {
            std::fs::remove_file(&self.path).ok();
        }
    }
}
