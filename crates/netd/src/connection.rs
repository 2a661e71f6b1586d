//! Daemons and shims: their connections and what they send.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use netd_api::message::{Answer, Message, Reply};
use netd_api::packet::{self, Decoder, PACKET};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags, sockopt};

use crate::containers::Attached;
use crate::poll::{Interest, Kind, Poll, Ready};
use crate::server::Netd;
use crate::slab::{Key, Slab};

/// How many connections there are at most.
const MOST: usize = 256;
/// How many packets of one connection are taken in one round.
const PACKETS: usize = 16;
/// The length of a container's id.
const ID: usize = 64;

/// All connections.
#[derive(Debug)]
pub(crate) struct Connections {
    listener: OwnedFd,
    all: Slab<Connection>,
    /// Whether there was no descriptor for another one.
    is_paused: bool,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    /// Packets that the other side has not taken yet.
    output: VecDeque<Vec<u8>>,
    /// Whether it has asked for something, which shims do not.
    is_daemon: bool,
}

impl Connections {
    pub(crate) fn new(poll: &Poll, listener: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        poll.add(&listener, Kind::Listener, Key::from_bits(0), Interest::READ)?;
        Ok(Self {
            listener,
            all: Slab::default(),
            is_paused: false,
        })
    }

    pub(crate) fn accept(&mut self, poll: &Poll) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = match rustix::net::accept_with(&self.listener, flags) {
            Ok(socket) => socket,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                // It would be ready again at once. The next tick tries again.
                self.is_paused = poll.remove(&self.listener).is_ok();
                return;
            }
            Err(_) => return,
        };
        // The file's mode says the same; an abstract mistake would not.
        let own = rustix::process::geteuid();
        let is_ours = sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid == own);
        if !is_ours || self.all.len() >= MOST {
            return;
        }
        let key = self.all.insert(Connection {
            socket,
            decoder: Decoder::default(),
            output: VecDeque::new(),
            is_daemon: false,
        });
        let added = self
            .all
            .get(key)
            .map(|connection| poll.add(&connection.socket, Kind::Connection, key, Interest::READ));
        if !matches!(added, Some(Ok(()))) {
            self.all.remove(key);
        }
    }

    /// Takes connections again.
    pub(crate) fn resume(&mut self, poll: &Poll) {
        if self.is_paused {
            let key = Key::from_bits(0);
            let added = poll.add(&self.listener, Kind::Listener, key, Interest::READ);
            self.is_paused = added.is_err();
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(crate) fn has_daemon(&self) -> bool {
        self.all.iter().any(|(_, connection)| connection.is_daemon)
    }

    /// Returns whether nobody is connected or waits to be.
    pub(crate) fn is_quiet(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        self.all.is_empty() && poll(&mut listener, Some(&now)) == Ok(0)
    }
}

/// What one receive has come to.
enum Taken {
    One,
    Nothing,
    End,
}

impl Connection {
    /// Sends what the other side takes; `false` when it is gone.
    fn write(&mut self) -> bool {
        while let Some(packet) = self.output.front() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, packet, flags) {
                Ok(_) => drop(self.output.pop_front()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Netd {
    /// Takes what a daemon or a shim has sent. Whoever breaks the protocol is disconnected.
    pub(crate) fn connection_ready(&mut self, event: Ready) {
        if event.write && !self.write_connection(event.key) {
            return;
        }
        for _ in 0..PACKETS {
            match self.take_packet(event.key) {
                Taken::One => {}
                Taken::Nothing => return,
                Taken::End => {
                    self.connections.all.remove(event.key);
                    return;
                }
            }
        }
    }

    fn take_packet(&mut self, key: Key) -> Taken {
        let Some(connection) = self.connections.all.get_mut(key) else {
            return Taken::Nothing;
        };
        let mut fds = Vec::new();
        let space = self.space.get_mut(..=PACKET).unwrap_or_default();
        let length = match sys::socket::receive_with_fds(&connection.socket, space, &mut fds) {
            Ok(length) if length > 0 => length,
            Err(error) if error.errno() == Errno::AGAIN => return Taken::Nothing,
            _ => return Taken::End,
        };
        let packet = self.space.get(..length).unwrap_or_default();
        match connection.decoder.push::<Message>(packet, fds) {
            Ok(None) => Taken::One,
            Ok(Some((message, fds))) => {
                if self.take(key, message, fds) {
                    Taken::One
                } else {
                    Taken::End
                }
            }
            Err(_) => Taken::End,
        }
    }

    /// Takes a message; `false` when it makes no sense.
    fn take(&mut self, key: Key, message: Message, fds: Vec<OwnedFd>) -> bool {
        match message {
            Message::Handover { container } => {
                let is_id = container.len() == ID && container.bytes().all(|byte| byte.is_ascii_hexdigit());
                let mut fds = fds.into_iter();
                let (Some(udp), Some(tcp), life) = (fds.next(), fds.next(), fds.next()) else {
                    return false;
                };
                if !is_id {
                    return false;
                }
                // An accept must not wait; everything else says so itself.
                if rustix::io::ioctl_fionbio(&tcp, true).is_err() {
                    return false;
                }
                let sockets = Attached::new(udp, tcp, life);
                if let Some(former) = self.containers.attach(&self.poll, &container, sockets) {
                    self.forget(former);
                }
                true
            }
            Message::Call { number, request } => {
                if let Some(connection) = self.connections.all.get_mut(key) {
                    connection.is_daemon = true;
                }
                let reply = self.call(request);
                self.reply(key, &Answer { number, reply })
            }
        }
    }

    fn reply(&mut self, key: Key, answer: &Answer) -> bool {
        let packets = packet::encode(answer).or_else(|_too_large| {
            packet::encode(&Answer {
                number: answer.number,
                reply: Reply::Failed {
                    reason: "the reply is too large".to_owned(),
                },
            })
        });
        let (Some(connection), Ok(packets)) = (self.connections.all.get_mut(key), packets) else {
            return false;
        };
        connection.output.extend(packets);
        self.write_connection(key)
    }

    /// Sends what waits, and waits for room if it must; `false` when the connection is gone.
    fn write_connection(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.all.get_mut(key) else {
            return false;
        };
        let is_well = connection.write();
        let interest = Interest {
            read: true,
            write: !connection.output.is_empty(),
        };
        let socket = &connection.socket;
        if is_well && self.poll.modify(socket, Kind::Connection, key, interest).is_ok() {
            return true;
        }
        self.connections.all.remove(key);
        false
    }
}
