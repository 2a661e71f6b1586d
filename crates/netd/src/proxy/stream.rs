//! TCP through a proxy.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};

use super::Full;
use crate::poll::{Interest, Kind, Poll};
use crate::slab::{Key, Slab};

/// Connections of all proxies.
const MOST: usize = 4096;
/// How often one connection is read in one turn, in each direction.
const TURNS: usize = 4;

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    all: Slab<Pair>,
}

/// A client and its container.
#[derive(Debug)]
struct Pair {
    proxy: Key,
    near: Side,
    far: Side,
    /// Whether the container has taken the connection.
    is_connected: bool,
}

#[derive(Debug)]
struct Side {
    socket: OwnedFd,
    /// What this side has not taken yet.
    pending: Vec<u8>,
    /// Whether it will send no more.
    has_ended: bool,
    /// Whether it was told that no more comes.
    is_told: bool,
    /// What is waited for; `None` is nothing, not even its end, which would be told again and again.
    interest: Option<Interest>,
}

/// The connection is broken.
struct Broken;

impl Pairs {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn drop_of(&mut self, proxy: Key) {
        for key in self.all.keys(|pair| pair.proxy == proxy) {
            self.all.remove(key);
        }
    }

    /// Takes one connection and connects to the container.
    pub(super) fn accept(
        &mut self,
        poll: &Poll,
        proxy: Key,
        listener: &OwnedFd,
        to: SocketAddr,
    ) -> Result<(), Full> {
        if self.all.len() >= MOST {
            return Err(Full);
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let near = match rustix::net::accept_with(listener, flags) {
            Ok(near) => near,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => return Err(Full),
            // It has left again.
            Err(_) => return Ok(()),
        };
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let Ok(far) = rustix::net::socket_with(family, SocketType::STREAM, flags, None) else {
            refuse(&near);
            return Err(Full);
        };
        match rustix::net::connect(&far, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(_) => {
                refuse(&near);
                return Ok(());
            }
        }
        for socket in [&near, &far] {
            // Comforts: what comes in small pieces goes on in small pieces, and a dead peer is noticed.
            sockopt::set_tcp_nodelay(socket, true).ok();
            sockopt::set_socket_keepalive(socket, true).ok();
        }
        let key = self.all.insert(Pair {
            proxy,
            near: Side::new(near),
            far: Side::new(far),
            is_connected: false,
        });
        if let Some(pair) = self.all.get_mut(key)
            && pair.watch(poll, key).is_err()
        {
            self.all.remove(key);
        }
        Ok(())
    }

    /// Goes on with a connection.
    pub(super) fn ready(&mut self, poll: &Poll, key: Key, space: &mut [u8]) {
        let Some(pair) = self.all.get_mut(key) else {
            return;
        };
        let result = pair.go_on(space).and_then(|()| pair.watch(poll, key));
        let is_over = pair.near.is_told && pair.far.is_told;
        if result.is_err() {
            refuse(&pair.near.socket);
            refuse(&pair.far.socket);
        }
        if result.is_err() || is_over {
            self.all.remove(key);
        }
    }
}

impl Pair {
    fn go_on(&mut self, space: &mut [u8]) -> Result<(), Broken> {
        if !self.is_connected {
            match sockopt::socket_error(&self.far.socket) {
                Ok(Ok(())) => {}
                _ => return Err(Broken),
            }
            // A peer's address tells that the connection is there.
            if rustix::net::getpeername(&self.far.socket).is_err() {
                return Ok(());
            }
            self.is_connected = true;
        }
        copy(&mut self.near, &mut self.far, space)?;
        copy(&mut self.far, &mut self.near, space)
    }

    /// Waits for what the next step needs.
    fn watch(&mut self, poll: &Poll, key: Key) -> Result<(), Broken> {
        let near = Interest {
            read: self.is_connected && !self.near.has_ended && self.far.pending.is_empty(),
            write: !self.near.pending.is_empty(),
        };
        let far = Interest {
            read: self.is_connected && !self.far.has_ended && self.near.pending.is_empty(),
            write: !self.is_connected || !self.far.pending.is_empty(),
        };
        self.near.watch(poll, Kind::Near, key, near)?;
        self.far.watch(poll, Kind::Far, key, far)
    }
}

impl Side {
    fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            pending: Vec::new(),
            has_ended: false,
            is_told: false,
            interest: None,
        }
    }

    fn watch(&mut self, poll: &Poll, kind: Kind, key: Key, wanted: Interest) -> Result<(), Broken> {
        let wanted = (wanted.read || wanted.write).then_some(wanted);
        if wanted == self.interest {
            return Ok(());
        }
        let result = match (self.interest, wanted) {
            (None, Some(wanted)) => poll.add(&self.socket, kind, key, wanted),
            (Some(_), Some(wanted)) => poll.modify(&self.socket, kind, key, wanted),
            (_, None) => poll.remove(&self.socket),
        };
        self.interest = wanted;
        result.map_err(|_errno| Broken)
    }

    /// Writes what is pending; returns whether all is written.
    fn flush(&mut self) -> Result<bool, Broken> {
        while !self.pending.is_empty() {
            match send(&self.socket, &self.pending)? {
                0 => return Ok(false),
                sent if sent == self.pending.len() => self.pending = Vec::new(),
                sent => drop(self.pending.drain(..sent)),
            }
        }
        Ok(true)
    }
}

/// Copies what there is, but not for ever.
fn copy(from: &mut Side, to: &mut Side, space: &mut [u8]) -> Result<(), Broken> {
    for _ in 0..TURNS {
        if !to.flush()? {
            return Ok(());
        }
        if from.has_ended {
            if !to.is_told {
                to.is_told = true;
                // The peer may be gone altogether, which its next event says.
                rustix::net::shutdown(&to.socket, Shutdown::Write).ok();
            }
            return Ok(());
        }
        let length = match rustix::net::recv(&from.socket, &mut *space, RecvFlags::DONTWAIT) {
            Ok((_, length)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => return Err(Broken),
        };
        if length == 0 {
            from.has_ended = true;
            continue;
        }
        let data = space.get(..length).unwrap_or_default();
        let sent = send(&to.socket, data)?;
        to.pending.extend_from_slice(data.get(sent..).unwrap_or_default());
    }
    Ok(())
}

/// Sends what the other side takes now; returns how much that was.
fn send(socket: &OwnedFd, data: &[u8]) -> Result<usize, Broken> {
    match rustix::net::send(socket, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(sent) => Ok(sent),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(_) => Err(Broken),
    }
}

/// Has the close of a socket tell its peer that something is wrong, as the container itself would have.
fn refuse(socket: &OwnedFd) {
    sockopt::set_socket_linger(socket, Some(std::time::Duration::ZERO)).ok();
}
