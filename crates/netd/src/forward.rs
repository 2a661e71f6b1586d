//! Queries that are passed on: to up to three servers in turn, each with its time, from the container's namespace.
//!
//! ```text
//! start ─▶ asked ──(answer of this server to this query)──▶ done
//!            ▲ │ nothing in time, nobody there, cannot say
//!            └─┘ next server; none left: failure
//! ```
//!
//! Each query has a socket of its own, connected to the server, so that its port is as random as the kernel makes it and
//! the kernel drops what others send; its id is random too. The answer is passed on as it is. Nothing is kept.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sys::clone::CloneFlags;

use crate::containers::Containers;
use crate::poll::{Interest, Kind, Poll};
use crate::resolve::Transport;
use crate::slab::{Key, Slab};
use crate::upstream::{Server, Side};
use crate::wire::{self, Verdict};

/// How long a server has for its answer, as with docker.
const PATIENCE: Duration = Duration::from_secs(4);
/// How many queries are under way at most, as with docker, but of all containers together.
const MOST: usize = 1024;
/// How many of them are of one container at most.
const MOST_OF_ONE: usize = 512;
/// How many packets of a server are looked at in one round.
const PACKETS: usize = 8;

/// Who gets the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    /// A UDP client of the container.
    Udp(std::net::SocketAddrV4),
    /// A TCP client, by its key.
    Tcp(Key),
}

/// A query to be passed on.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) container: Key,
    pub(crate) asker: Asker,
    pub(crate) packet: &'a [u8],
    /// Where the question ends in the packet.
    pub(crate) question_end: usize,
    pub(crate) udp_limit: usize,
    pub(crate) servers: &'a [Server],
}

/// A query that has come to its end.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) container: Key,
    pub(crate) asker: Asker,
    pub(crate) udp_limit: usize,
    /// The query as it came.
    pub(crate) query: Box<[u8]>,
    /// How long the answer is, at the beginning of the space that was given; `None`: nobody could say.
    pub(crate) answer: Option<usize>,
}

/// It cannot be passed on: nobody to ask, or too many are under way.
#[derive(Debug)]
pub(crate) struct Refused;

/// All queries under way.
#[derive(Debug)]
pub(crate) struct Forwards {
    all: Slab<Forward>,
    of_container: HashMap<Key, usize>,
    /// When each attempt is over, in order, as all have the same time.
    deadlines: VecDeque<(Instant, Key, usize)>,
    outside: Outside,
    random: Random,
    /// How many were passed on, ever.
    pub(crate) count: u64,
}

struct Forward {
    container: Key,
    asker: Asker,
    /// Connected to the server that is asked now.
    socket: Option<OwnedFd>,
    /// The query with the id that is used for it.
    query: Box<[u8]>,
    own_id: [u8; 2],
    id: u16,
    question_end: usize,
    udp_limit: usize,
    servers: Box<[Server]>,
    /// How many servers were asked.
    asked: usize,
    stream: Option<Stream>,
}

impl fmt::Debug for Forward {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Forward")
            .field("container", &self.container)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

/// A query over TCP.
#[derive(Debug, Default)]
struct Stream {
    sent: usize,
    received: Vec<u8>,
}

impl Forwards {
    /// Expects to be called in the host's network namespace.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            all: Slab::default(),
            of_container: HashMap::new(),
            deadlines: VecDeque::new(),
            outside: Outside::new()?,
            random: Random::default(),
            count: 0,
        })
    }

    /// Asks the first server. When too many queries are under way, one of the container with the most fails for it, and is
    /// returned.
    pub(crate) fn start(
        &mut self,
        poll: &Poll,
        containers: &Containers,
        order: &Order<'_>,
        now: Instant,
    ) -> Result<Option<Done>, Refused> {
        let own = self.of_container.get(&order.container).copied().unwrap_or(0);
        if own >= MOST_OF_ONE {
            return Err(Refused);
        }
        let victim = if self.all.len() >= MOST {
            Some(self.victim(own).ok_or(Refused)?)
        } else {
            None
        };
        let own_id = [0, 1].map(|at| order.packet.get(at).copied().unwrap_or(0));
        let mut forward = Forward {
            container: order.container,
            asker: order.asker,
            socket: None,
            query: order.packet.into(),
            own_id,
            id: 0,
            question_end: order.question_end,
            udp_limit: order.udp_limit,
            servers: order.servers.into(),
            asked: 0,
            stream: None,
        };
        forward.ask_next(&self.outside, &mut self.random, containers)?;
        let asked = forward.asked;
        let key = self.all.insert(forward);
        if !self.all.get(key).is_some_and(|forward| forward.watch(poll, key)) {
            self.all.remove(key);
            return Err(Refused);
        }
        self.await_until(now + PATIENCE, key, asked);
        *self.of_container.entry(order.container).or_default() += 1;
        self.count += 1;
        Ok(victim.and_then(|victim| self.end(victim, None)))
    }

    /// Takes what a server has sent; `space` is where an answer is put.
    pub(crate) fn ready(
        &mut self,
        poll: &Poll,
        containers: &Containers,
        key: Key,
        now: Instant,
        space: &mut [u8],
    ) -> Option<Done> {
        let forward = self.all.get_mut(key)?;
        match forward.receive(poll, key, space) {
            Progress::Waiting => None,
            Progress::Answer(length) => self.end(key, Some((length, space))),
            Progress::NextServer => self.next(poll, containers, key, now),
        }
    }

    /// Returns when [`Self::expire`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|&(deadline, _, _)| deadline)
    }

    /// Goes on with one query whose server has not answered in time; returns `None` when there is no such query, and the
    /// query if it was its last server.
    pub(crate) fn expire(
        &mut self,
        poll: &Poll,
        containers: &Containers,
        now: Instant,
    ) -> Option<Option<Done>> {
        let &(deadline, key, asked) = self.deadlines.front()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_front();
        let is_waiting = self.all.get(key).is_some_and(|forward| forward.asked == asked);
        Some(if is_waiting {
            self.next(poll, containers, key, now)
        } else {
            None
        })
    }

    /// Forgets the queries of a container.
    pub(crate) fn drop_of(&mut self, container: Key) {
        if self.of_container.remove(&container).is_some() {
            for key in self.all.keys(|forward| forward.container == container) {
                self.all.remove(key);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Returns whether this process is in a network namespace that is not its own, and cannot leave it.
    pub(crate) fn is_lost(&self) -> bool {
        self.outside.is_lost.get()
    }

    /// Asks the next server, if there is one; otherwise ends the query.
    fn next(&mut self, poll: &Poll, containers: &Containers, key: Key, now: Instant) -> Option<Done> {
        let forward = self.all.get_mut(key)?;
        if forward
            .ask_next(&self.outside, &mut self.random, containers)
            .is_ok()
        {
            let asked = forward.asked;
            if forward.watch(poll, key) {
                self.await_until(now + PATIENCE, key, asked);
                return None;
            }
        }
        self.end(key, None)
    }

    fn await_until(&mut self, deadline: Instant, key: Key, asked: usize) {
        self.deadlines.push_back((deadline, key, asked));
        if self.deadlines.len() > 2 * self.all.len() + 64 {
            // Most were answered long before.
            let Self { deadlines, all, .. } = self;
            deadlines.retain(|&(_, key, asked)| all.get(key).is_some_and(|forward| forward.asked == asked));
        }
    }

    /// Takes a query out. An answer gets the client's own id back.
    fn end(&mut self, key: Key, answer: Option<(usize, &mut [u8])>) -> Option<Done> {
        let mut forward = self.all.remove(key)?;
        if let Some(count) = self.of_container.get_mut(&forward.container) {
            *count -= 1;
            if *count == 0 {
                self.of_container.remove(&forward.container);
            }
        }
        if let Some(id) = forward.query.get_mut(..2) {
            id.copy_from_slice(&forward.own_id);
        }
        let answer = answer.map(|(length, space)| {
            if let Some(id) = space.get_mut(..2) {
                id.copy_from_slice(&forward.own_id);
            }
            length
        });
        Some(Done {
            container: forward.container,
            asker: forward.asker,
            udp_limit: forward.udp_limit,
            query: forward.query,
            answer,
        })
    }

    /// Returns the oldest query of the container with the most, which must be more than `own`.
    fn victim(&self, own: usize) -> Option<Key> {
        let (&container, &count) = self.of_container.iter().max_by_key(|&(_, &count)| count)?;
        if count <= own + 1 {
            return None;
        }
        let of_container = |key: Key| {
            self.all
                .get(key)
                .is_some_and(|forward| forward.container == container)
        };
        self.deadlines
            .iter()
            .map(|&(_, key, _)| key)
            .find(|&key| of_container(key))
    }
}

/// What a server's packets have come to.
enum Progress {
    Waiting,
    Answer(usize),
    NextServer,
}

impl Forward {
    /// Sends the query to the next server that can be reached; [`Refused`] when there is none.
    fn ask_next(
        &mut self,
        outside: &Outside,
        random: &mut Random,
        containers: &Containers,
    ) -> Result<(), Refused> {
        let inside = containers.get(self.container);
        let inside = inside
            .and_then(|container| container.sockets.as_ref())
            .ok_or(Refused)?;
        let transport = match self.asker {
            Asker::Udp(_) => Transport::Udp,
            Asker::Tcp(_) => Transport::Tcp,
        };
        while let Some(&server) = self.servers.get(self.asked) {
            self.asked += 1;
            self.id = random.number().ok_or(Refused)?;
            if let Some(id) = self.query.get_mut(..2) {
                id.copy_from_slice(&self.id.to_be_bytes());
            }
            let Ok(socket) = outside.connect(inside.udp.as_fd(), server, transport) else {
                continue;
            };
            self.stream = (transport == Transport::Tcp).then(Stream::default);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let is_asked = self.stream.is_some() || rustix::net::send(&socket, &self.query, flags).is_ok();
            if is_asked {
                // The former socket is closed, and with it all that was waited for.
                self.socket = Some(socket);
                return Ok(());
            }
        }
        Err(Refused)
    }

    /// Waits for the server; returns whether that could be.
    fn watch(&self, poll: &Poll, key: Key) -> bool {
        let interest = match &self.stream {
            Some(stream) if stream.sent < self.query.len() + 2 => Interest::WRITE,
            _ => Interest::READ,
        };
        let added = self
            .socket
            .as_ref()
            .map(|socket| poll.add(socket, Kind::Forward, key, interest));
        matches!(added, Some(Ok(())))
    }

    fn receive(&mut self, poll: &Poll, key: Key, space: &mut [u8]) -> Progress {
        if self.stream.is_some() {
            return self.exchange(poll, key, space);
        }
        let Some(socket) = &self.socket else {
            return Progress::NextServer;
        };
        for _ in 0..PACKETS {
            let length = match rustix::net::recv(socket, &mut *space, RecvFlags::DONTWAIT) {
                Ok((_, length)) => length,
                Err(Errno::AGAIN | Errno::INTR) => return Progress::Waiting,
                // Nobody listens there.
                Err(_) => return Progress::NextServer,
            };
            let reply = space.get(..length).unwrap_or_default();
            match wire::judge(&self.query, self.question_end, self.id, reply) {
                Verdict::Answer => return Progress::Answer(length),
                Verdict::NextServer => return Progress::NextServer,
                Verdict::Stray => {}
            }
        }
        Progress::Waiting
    }

    /// Goes on with a query over TCP.
    fn exchange(&mut self, poll: &Poll, key: Key, space: &mut [u8]) -> Progress {
        let (Some(stream), Some(socket)) = (&mut self.stream, &self.socket) else {
            return Progress::NextServer;
        };
        let total = self.query.len() + 2;
        if stream.sent < total {
            let Ok(length) = u16::try_from(self.query.len()) else {
                return Progress::NextServer;
            };
            let mut message = Vec::with_capacity(total);
            message.extend_from_slice(&length.to_be_bytes());
            message.extend_from_slice(&self.query);
            let rest = message.get(stream.sent..).unwrap_or_default();
            match rustix::net::send(socket, rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => stream.sent += sent,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return Progress::NextServer,
            }
            if stream.sent < total {
                return Progress::Waiting;
            }
            return match poll.modify(socket, Kind::Forward, key, Interest::READ) {
                Ok(()) => Progress::Waiting,
                Err(_) => Progress::NextServer,
            };
        }
        match rustix::net::recv(socket, &mut *space, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Progress::NextServer,
            Ok((_, length)) => stream
                .received
                .extend_from_slice(space.get(..length).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => return Progress::Waiting,
            Err(_) => return Progress::NextServer,
        }
        let Some((head, rest)) = stream.received.split_first_chunk::<2>() else {
            return Progress::Waiting;
        };
        let length = usize::from(u16::from_be_bytes(*head));
        let Some(reply) = rest.get(..length) else {
            return Progress::Waiting;
        };
        match wire::judge(&self.query, self.question_end, self.id, reply) {
            Verdict::Answer => {
                if let Some(place) = space.get_mut(..length) {
                    place.copy_from_slice(reply);
                }
                Progress::Answer(length)
            }
            Verdict::NextServer | Verdict::Stray => Progress::NextServer,
        }
    }
}

/// The way to servers.
#[derive(Debug)]
struct Outside {
    /// The host's network namespace.
    home: OwnedFd,
    /// Whether there was no way back to it.
    is_lost: Cell<bool>,
}

impl Outside {
    fn new() -> io::Result<Self> {
        let home = std::fs::File::open("/proc/self/ns/net")?;
        Ok(Self {
            home: home.into(),
            is_lost: Cell::new(false),
        })
    }

    /// Returns a socket that is connected to `server`, or connects by itself; `inside` is any socket of the container.
    fn connect(&self, inside: BorrowedFd<'_>, server: Server, transport: Transport) -> io::Result<OwnedFd> {
        let family = match server.address {
            std::net::SocketAddr::V4(_) => AddressFamily::INET,
            std::net::SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let kind = match transport {
            Transport::Udp => SocketType::DGRAM,
            Transport::Tcp => SocketType::STREAM,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let make = || rustix::net::socket_with(family, kind, flags, None);
        let connect = |socket: OwnedFd| match rustix::net::connect(&socket, &server.address) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(errno) => Err(errno),
        };
        let socket = match server.side {
            Side::Host => connect(make()?)?,
            Side::Container => connect(self.inside(inside, make)??)?,
            Side::Either => match self.inside(inside, make)?.and_then(connect) {
                Err(Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => {
                    connect(make()?)?
                }
                result => result?,
            },
        };
        Ok(socket)
    }

    /// Calls `work` in the network namespace of a socket. This process has one thread.
    fn inside<T>(&self, socket: BorrowedFd<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
        let namespace = sys::socket_namespace::of(socket)?;
        sys::namespace::setns(namespace.as_fd(), CloneFlags::NEWNET)?;
        let result = work();
        if sys::namespace::setns(self.home.as_fd(), CloneFlags::NEWNET).is_err() {
            // Everything that is done from here on would be done in a container.
            self.is_lost.set(true);
        }
        Ok(result)
    }
}

/// Random numbers, many with one system call.
#[derive(Debug, Default)]
struct Random {
    bytes: Vec<u8>,
}

impl Random {
    /// Returns the next one; `None` if the kernel has none.
    fn number(&mut self) -> Option<u16> {
        if self.bytes.len() < 2 {
            let mut bytes = [0; 128];
            rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).ok()?;
            self.bytes = bytes.into();
        }
        let bytes = [self.bytes.pop()?, self.bytes.pop()?];
        Some(u16::from_be_bytes(bytes))
    }
}
