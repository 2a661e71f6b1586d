//! The loop: one thread, one epoll, and every source of events gets one bounded turn in each round.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sys::mmsg::{Receiver, Sender};

use crate::client::Clients;
use crate::connection::Connections;
use crate::containers::Containers;
use crate::forward::{Asker, Done, Forwards, Order};
use crate::names::Networks;
use crate::poll::{Kind, Poll, Ready};
use crate::ports::Ports;
use crate::proxy::Proxies;
use crate::resolve::{self, Outcome, Transport};
use crate::slab::Key;
use crate::upstream::{self, HostServers, Server};
use crate::wire::{self, Code, Parsed};

/// How long a netd that holds nothing waits for a daemon.
pub const IDLE: Duration = Duration::from_secs(60);
/// How much longer one waits that knows of containers: one of them may be started again by its shim, within a minute.
const RESTART: Duration = Duration::from_secs(90);
/// How often the clocks of slow things are looked at, while there are such things.
const TICK: Duration = Duration::from_secs(1);
/// How often a netd without a daemon looks whether anybody could still find it.
const LONELY_TICK: Duration = Duration::from_secs(10);

/// What a netd is started with.
#[derive(Debug)]
pub struct Options {
    /// A listening `SOCK_SEQPACKET` socket.
    pub listener: OwnedFd,
    /// Where it is bound.
    pub path: PathBuf,
    /// The host's `resolv.conf`.
    pub resolv_conf: PathBuf,
    /// How long it waits for a daemon when it holds nothing: [`IDLE`].
    pub idle: Duration,
}

/// Everything that netd has.
#[derive(Debug)]
pub(crate) struct Netd {
    pub(crate) poll: Poll,
    pub(crate) connections: Connections,
    pub(crate) networks: Networks,
    pub(crate) containers: Containers,
    pub(crate) clients: Clients,
    pub(crate) forwards: Forwards,
    pub(crate) ports: Ports,
    pub(crate) proxies: Proxies,
    pub(crate) host: HostServers,
    /// For one message of any kind.
    pub(crate) space: Box<[u8]>,
    /// Queries that were answered from memory.
    pub(crate) answered: u64,
    pub(crate) is_ending: bool,
    /// Queries that had to make room for another container's, to be answered in the next round.
    pub(crate) evicted: Vec<Done>,
    path: PathBuf,
    /// What was at that path at the start.
    file: Option<(u64, u64)>,
    idle: Duration,
    receiver: Receiver,
    sender: Sender,
    /// When the last daemon left.
    alone_since: Option<Instant>,
    next_tick: Instant,
}

/// Serves until netd is asked to end or of no use. Expects to be the only thread, in the host's network namespace.
pub fn serve(options: Options) -> io::Result<()> {
    let poll = Poll::new()?;
    let now = Instant::now();
    let mut netd = Netd {
        connections: Connections::new(&poll, options.listener)?,
        networks: Networks::default(),
        containers: Containers::default(),
        clients: Clients::default(),
        forwards: Forwards::new()?,
        ports: Ports::default(),
        proxies: Proxies::default(),
        host: HostServers::new(options.resolv_conf),
        space: vec![0; 1 << 16].into_boxed_slice(),
        answered: 0,
        is_ending: false,
        evicted: Vec::new(),
        file: identity(&options.path),
        path: options.path,
        idle: options.idle,
        receiver: Receiver::default(),
        sender: Sender::default(),
        alone_since: Some(now),
        next_tick: now + TICK,
        poll,
    };
    let mut events = Vec::new();
    while !netd.is_ending {
        let timeout = netd.timeout(Instant::now());
        netd.poll.wait(timeout, &mut events)?;
        let now = Instant::now();
        for &event in &events {
            netd.handle(event, now);
        }
        for done in std::mem::take(&mut netd.evicted) {
            netd.deliver(Some(done), now);
        }
        netd.expire(now);
        if netd.forwards.is_lost() {
            return Err(io::Error::other(
                "the way back from a container's namespace is barred",
            ));
        }
    }
    Ok(())
}

impl Netd {
    fn handle(&mut self, event: Ready, now: Instant) {
        match event.kind {
            Kind::Listener => self.connections.accept(&self.poll),
            Kind::Connection => self.connection_ready(event),
            Kind::Udp => self.udp_ready(event.key, now),
            Kind::Tcp => self.accept_client(event.key, now),
            Kind::Life => self.life_ended(event.key),
            Kind::Client => self.client_ready(event.key, now),
            Kind::Forward => {
                let (poll, containers) = (&self.poll, &self.containers);
                let done = self
                    .forwards
                    .ready(poll, containers, event.key, now, &mut self.space);
                self.deliver(done, now);
            }
            Kind::Proxy => self
                .proxies
                .proxy_ready(&self.poll, event.key, &mut self.space, now),
            Kind::Near | Kind::Far => self.proxies.stream_ready(&self.poll, event.key, &mut self.space),
            Kind::Flow => self.proxies.flow_ready(event.key, &mut self.space, now),
        }
    }

    /// Answers a batch of a container's queries, and no more, however many wait.
    fn udp_ready(&mut self, key: Key, now: Instant) {
        let Self {
            containers,
            networks,
            receiver,
            sender,
            forwards,
            poll,
            host,
            evicted,
            ..
        } = self;
        let Some(container) = containers.get(key) else {
            return;
        };
        let Some(sockets) = &container.sockets else {
            return;
        };
        if receiver.receive(&sockets.udp).is_err() {
            // No error that a client could cause; one that stays must not keep this loop busy.
            containers.pause(poll, key, Kind::Udp);
            return;
        }
        let directory = container.directory.as_ref();
        for (packet, peer) in receiver.packets() {
            if sender.room(wire::UDP_LIMIT).is_none() {
                sender.send(&sockets.udp);
            }
            let Some(out) = sender.room(wire::UDP_LIMIT) else {
                break;
            };
            match resolve::answer(packet, Transport::Udp, directory, networks, out) {
                Outcome::Answer(length) => {
                    self.answered += 1;
                    sender.push(length, peer);
                }
                Outcome::Forward(question) => {
                    let order = Order {
                        container: key,
                        asker: Asker::Udp(peer),
                        packet,
                        question_end: question.end,
                        udp_limit: question.udp_limit,
                        servers: &servers(directory, host, now),
                    };
                    match forwards.start(poll, containers, &order, now) {
                        Ok(done) => evicted.extend(done),
                        Err(_) => {
                            let length = failure(packet, out);
                            sender.push(length, peer);
                        }
                    }
                }
                Outcome::Silence => {}
            }
        }
        sender.send(&sockets.udp);
    }

    /// Gives an answer that came from elsewhere, and is at the beginning of the space, to its asker.
    pub(crate) fn deliver(&mut self, done: Option<Done>, now: Instant) {
        let Some(done) = done else {
            return;
        };
        let mut length = match done.answer {
            Some(length) => length,
            None => failure(&done.query, &mut self.space),
        };
        match done.asker {
            Asker::Tcp(client) => self.answer_client(client, length, now),
            Asker::Udp(peer) => {
                if length > done.udp_limit
                    && let Parsed::Query(query) = wire::parse(&done.query)
                {
                    length = query.cut_answer(&mut self.space);
                }
                let container = self.containers.get(done.container);
                let Some(sockets) = container.and_then(|container| container.sockets.as_ref()) else {
                    return;
                };
                let answer = self.space.get(..length).unwrap_or_default();
                let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
                // A client that takes no more asks again.
                rustix::net::sendto(&sockets.udp, answer, flags, &peer).ok();
            }
        }
    }

    fn life_ended(&mut self, key: Key) {
        self.containers.detach(key);
        self.forget(key);
    }

    /// Ends what is under way for a container's sockets, which are closed.
    pub(crate) fn forget(&mut self, key: Key) {
        self.forwards.drop_of(key);
        self.clients.drop_of(key);
    }

    /// Returns how long nothing is to be done.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.evicted.is_empty() {
            return Some(Duration::ZERO);
        }
        let has_slow = !self.clients.is_empty()
            || self.proxies.has_clocks()
            || self.connections.is_paused()
            || self.containers.has_paused();
        let tick = has_slow.then_some(self.next_tick);
        let lonely = self.alone_since.map(|_| now + LONELY_TICK.min(self.idle));
        let deadlines = [self.forwards.deadline(), tick, lonely];
        let earliest = deadlines.into_iter().flatten().min()?;
        Some(earliest.saturating_duration_since(now))
    }

    fn expire(&mut self, now: Instant) {
        while let Some(done) = self.forwards.expire(&self.poll, &self.containers, now) {
            self.deliver(done, now);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.clients.expire(now);
            self.proxies.expire(&self.poll, now);
            self.connections.resume(&self.poll);
            self.containers.resume(&self.poll);
        }
        if self.connections.has_daemon() {
            self.alone_since = None;
            return;
        }
        let since = *self.alone_since.get_or_insert(now);
        let alone = now.saturating_duration_since(since);
        let is_empty = self
            .containers
            .iter()
            .all(|container| container.sockets.is_none())
            && self.ports.is_empty()
            && self.proxies.is_empty();
        let patience = if self.containers.is_empty() {
            self.idle
        } else {
            self.idle + RESTART
        };
        // Without its socket file, or with another netd's in its place, no daemon and no shim can ever find it again.
        let is_lost = alone >= LONELY_TICK.min(self.idle) && identity(&self.path) != self.file;
        if is_lost || is_empty && alone >= patience && self.connections.is_quiet() {
            self.is_ending = true;
        }
    }
}

/// Returns what tells one file from another at the same path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Returns who is asked for names that a container's networks do not have.
pub(crate) fn servers(
    directory: Option<&crate::names::Directory>,
    host: &mut HostServers,
    now: Instant,
) -> Vec<Server> {
    match directory.map(|directory| &directory.upstreams) {
        Some(Some(addresses)) => upstream::chosen(addresses),
        Some(None) => host.get(now).to_vec(),
        None => Vec::new(),
    }
}

/// Writes "nobody could say" as the answer to `packet`, which was a query; returns its length.
pub(crate) fn failure(packet: &[u8], out: &mut [u8]) -> usize {
    match wire::parse(packet) {
        Parsed::Query(query) | Parsed::Refuse(query, _) => query.short_answer(Code::Failure, out),
        Parsed::Ignore => 0,
    }
}
