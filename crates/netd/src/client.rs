//! Clients that ask by TCP: two bytes of length before each message (RFC 1035, 4.2.2), one query after the other.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use netd_api::handover;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

use crate::forward::{Asker, Order};
use crate::poll::{Interest, Kind, Poll};
use crate::resolve::{self, Outcome, Transport};
use crate::server::{self, Netd};
use crate::slab::{Key, Slab};
use crate::wire;

/// Connections of all containers.
const MOST: usize = 1024;
/// Connections of one container.
const MOST_OF_ONE: usize = 32;
/// How long a connection may say nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much is read in one turn.
const CHUNK: usize = 16 << 10;

/// All TCP clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    all: Slab<Client>,
}

#[derive(Debug)]
struct Client {
    container: Key,
    stream: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Whether its query was passed on; nothing more is read until it is answered.
    is_waiting: bool,
    /// Whether it will send no more.
    has_ended: bool,
    deadline: Instant,
}

impl Clients {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Closes what says nothing.
    pub(crate) fn expire(&mut self, now: Instant) {
        for key in self
            .all
            .keys(|client| client.deadline <= now && !client.is_waiting)
        {
            self.all.remove(key);
        }
    }

    /// Closes the connections of a container.
    pub(crate) fn drop_of(&mut self, container: Key) {
        for key in self.all.keys(|client| client.container == container) {
            self.all.remove(key);
        }
    }

    fn settle(&mut self, poll: &Poll, key: Key) {
        let Some(client) = self.all.get(key) else {
            return;
        };
        let is_done = client.has_ended && !client.is_waiting && client.output.is_empty();
        let interest = Interest {
            read: !client.is_waiting && !client.has_ended && client.output.is_empty(),
            write: !client.output.is_empty(),
        };
        if is_done || poll.modify(&client.stream, Kind::Client, key, interest).is_err() {
            self.all.remove(key);
        }
    }
}

impl Client {
    /// Reads once; `false` when the connection is broken.
    fn read(&mut self, space: &mut [u8]) -> bool {
        let space = space.get_mut(..CHUNK).unwrap_or_default();
        match rustix::net::recv(&self.stream, &mut *space, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => self.has_ended = true,
            Ok((_, length)) => self
                .input
                .extend_from_slice(space.get(..length).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        true
    }

    /// Writes what it can; `false` when the connection is broken.
    fn write(&mut self) -> bool {
        if self.output.is_empty() {
            return true;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&self.stream, &self.output, flags) {
            Ok(sent) if sent == self.output.len() => self.output = Vec::new(),
            Ok(sent) => drop(self.output.drain(..sent)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return false,
        }
        true
    }

    /// Takes the next whole message.
    fn next_message(&mut self) -> Option<Vec<u8>> {
        let (head, rest) = self.input.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*head));
        let message = rest.get(..length)?.to_vec();
        self.input.drain(..length + 2);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Some(message)
    }

    fn push(&mut self, answer: &[u8]) {
        let length = u16::try_from(answer.len()).unwrap_or(0);
        self.output.extend_from_slice(&length.to_be_bytes());
        self.output
            .extend_from_slice(answer.get(..usize::from(length)).unwrap_or_default());
    }
}

/// Revives a listener that was destroyed, as whoever has CAP_NET_ADMIN in the container may do (sock_diag(7)). It has its
/// address still; without the disconnect every connection that it takes would be born closed.
fn listen_again(socket: &OwnedFd) -> Result<(), Errno> {
    rustix::net::connect_unspec(socket)?;
    rustix::net::listen(socket, handover::BACKLOG)
}

impl Netd {
    /// Takes one connection of a container.
    pub(crate) fn accept_client(&mut self, container: Key, now: Instant) {
        let Some(sockets) = self.containers.get(container).and_then(|it| it.sockets.as_ref()) else {
            return;
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stream = match rustix::net::accept_with(&sockets.tcp, flags) {
            Ok(stream) => stream,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return,
            Err(Errno::INVAL) if listen_again(&sockets.tcp).is_ok() => return,
            // No descriptor, no memory.
            Err(_) => {
                self.containers.pause(&self.poll, container, Kind::Tcp);
                return;
            }
        };
        let of_container = self.clients.all.keys(|client| client.container == container);
        if of_container.len() >= MOST_OF_ONE || self.clients.all.len() >= MOST {
            // The one that has been quiet for longest makes room, if it is this container's own.
            let oldest = of_container
                .into_iter()
                .filter_map(|key| Some((self.clients.all.get(key)?.deadline, key)))
                .min_by_key(|&(deadline, _)| deadline);
            match oldest {
                Some((_, key)) => drop(self.clients.all.remove(key)),
                None => return,
            }
        }
        let key = self.clients.all.insert(Client {
            container,
            stream,
            input: Vec::new(),
            output: Vec::new(),
            is_waiting: false,
            has_ended: false,
            deadline: now + PATIENCE,
        });
        let added = self
            .clients
            .all
            .get(key)
            .map(|client| self.poll.add(&client.stream, Kind::Client, key, Interest::READ));
        if !matches!(added, Some(Ok(()))) {
            self.clients.all.remove(key);
        }
    }

    /// Goes on with a connection.
    pub(crate) fn client_ready(&mut self, key: Key, now: Instant) {
        let Some(client) = self.clients.all.get_mut(key) else {
            return;
        };
        client.deadline = now + PATIENCE;
        let can_read = !client.is_waiting && client.output.is_empty() && !client.has_ended;
        let is_well = client.write() && (!can_read || client.read(&mut self.space));
        // A waiting client is woken only by its end.
        if !is_well || client.is_waiting {
            self.clients.all.remove(key);
            return;
        }
        self.answer_queries(key, now);
    }

    /// Gives a client the answer that is at the beginning of the space.
    pub(crate) fn answer_client(&mut self, key: Key, length: usize, now: Instant) {
        let Some(client) = self.clients.all.get_mut(key) else {
            return;
        };
        client.is_waiting = false;
        client.deadline = now + PATIENCE;
        client.push(self.space.get(..length).unwrap_or_default());
        if !client.write() {
            self.clients.all.remove(key);
            return;
        }
        self.answer_queries(key, now);
    }

    /// Answers the queries that have arrived whole, as long as the client takes the answers.
    fn answer_queries(&mut self, key: Key, now: Instant) {
        // One turn has read so much at most, see `CHUNK`.
        loop {
            let Some(client) = self.clients.all.get_mut(key) else {
                return;
            };
            if client.is_waiting || !client.output.is_empty() {
                break;
            }
            let Some(message) = client.next_message() else {
                break;
            };
            let container = client.container;
            let Some(length) = self.answer_query(key, container, &message, now) else {
                continue;
            };
            let Some(client) = self.clients.all.get_mut(key) else {
                return;
            };
            client.push(self.space.get(..length).unwrap_or_default());
            if !client.write() {
                self.clients.all.remove(key);
                return;
            }
        }
        self.clients.settle(&self.poll, key);
    }

    /// Returns the length of the answer in the space; `None` when the query was passed on, or is none.
    fn answer_query(&mut self, key: Key, container: Key, message: &[u8], now: Instant) -> Option<usize> {
        let known = self.containers.get(container)?;
        let directory = known.directory.as_ref();
        let space = &mut self.space;
        let question = match resolve::answer(message, Transport::Tcp, directory, &self.networks, space) {
            Outcome::Answer(length) => {
                self.answered += 1;
                return Some(length);
            }
            Outcome::Forward(question) => question,
            Outcome::Silence => return None,
        };
        let order = Order {
            container,
            asker: Asker::Tcp(key),
            packet: message,
            question_end: question.end,
            udp_limit: wire::TCP_LIMIT,
            servers: &server::servers(directory, &mut self.host, now),
        };
        match self.forwards.start(&self.poll, &self.containers, &order, now) {
            Ok(done) => {
                if let Some(client) = self.clients.all.get_mut(key) {
                    client.is_waiting = true;
                }
                self.evicted.extend(done);
                None
            }
            Err(_) => Some(server::failure(message, &mut self.space)),
        }
    }
}
