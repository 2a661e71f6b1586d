//! What the packet filter cannot pass on, a client that speaks IPv6 to a container that does not, goes through here.
//!
//! TCP is copied in both directions with one buffer for all connections; what a side does not take yet is kept for it, at
//! most one buffer's worth, and its other side is not read meanwhile. UDP has one socket for each client. The container sees
//! this host's address instead of the client's.

mod datagram;
mod stream;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use netd_api::message::{self, Protocol};
use rustix::net::sockopt;

use crate::poll::{Interest, Kind, Poll};
use crate::slab::{Key, Slab};
use datagram::Flows;
use stream::Pairs;

/// How many proxies there are at most.
const MOST: usize = 4096;
/// TCP connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The receive buffer of a UDP proxy, in bytes.
const UDP_BUFFER: usize = 212_992;

/// All proxies and what goes through them.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    all: Slab<Proxy>,
    pairs: Pairs,
    flows: Flows,
    /// Whether a proxy was told to wait, for want of descriptors or because too much goes on.
    has_paused: bool,
}

#[derive(Debug)]
struct Proxy {
    order: message::Proxy,
    socket: OwnedFd,
    is_paused: bool,
}

impl Proxies {
    /// Adds a proxy on a socket that is bound to where it listens.
    pub(crate) fn add(&mut self, poll: &Poll, order: message::Proxy, socket: OwnedFd) -> io::Result<()> {
        if self.all.len() >= MOST {
            return Err(io::Error::other(format!("there are {MOST} proxies already")));
        }
        match order.protocol {
            Protocol::Tcp => {
                // Its connections have it from the listener, and do not keep the port when they are all that is left.
                sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::listen(&socket, BACKLOG)?;
            }
            Protocol::Udp => sockopt::set_socket_recv_buffer_size(&socket, UDP_BUFFER)?,
            Protocol::Sctp => return Err(io::Error::other("SCTP cannot be proxied")),
        }
        let key = self.all.insert(Proxy {
            order,
            socket,
            is_paused: false,
        });
        let added = self
            .all
            .get(key)
            .map(|proxy| poll.add(&proxy.socket, Kind::Proxy, key, Interest::READ));
        if let Some(Err(errno)) = added {
            self.all.remove(key);
            return Err(errno.into());
        }
        Ok(())
    }

    /// Returns whether this very proxy is there.
    pub(crate) fn has(&self, order: &message::Proxy) -> bool {
        self.all().any(|other| other == order)
    }

    /// Ends the proxies of a container and what goes through them.
    pub(crate) fn release(&mut self, container: &str) {
        let keys = self.all.keys(|proxy| proxy.order.container == container);
        self.remove(&keys);
    }

    /// Ends the proxies that are not in `kept`.
    pub(crate) fn retain(&mut self, kept: &[message::Proxy]) {
        let keys = self.all.keys(|proxy| !kept.contains(&proxy.order));
        self.remove(&keys);
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &message::Proxy> {
        self.all.iter().map(|(_, proxy)| &proxy.order)
    }

    pub(crate) fn state(&self) -> Vec<message::Proxy> {
        self.all().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Returns how many connections and UDP clients there are.
    pub(crate) fn under_way(&self) -> usize {
        self.pairs.len() + self.flows.len()
    }

    /// Returns whether [`Self::expire`] wants to be called.
    pub(crate) fn has_clocks(&self) -> bool {
        self.has_paused || self.flows.len() > 0
    }

    /// Ends what has been idle for long, and lets proxies that had to wait go on.
    pub(crate) fn expire(&mut self, poll: &Poll, now: Instant) {
        self.flows.expire(now);
        if std::mem::take(&mut self.has_paused) {
            for key in self.all.keys(|proxy| proxy.is_paused) {
                if let Some(proxy) = self.all.get_mut(key) {
                    let added = poll.add(&proxy.socket, Kind::Proxy, key, Interest::READ);
                    proxy.is_paused = added.is_err();
                    self.has_paused |= proxy.is_paused;
                }
            }
        }
    }

    /// Takes a connection, or packets of UDP clients.
    pub(crate) fn proxy_ready(&mut self, poll: &Poll, key: Key, space: &mut [u8], now: Instant) {
        let Some(proxy) = self.all.get_mut(key) else {
            return;
        };
        let to = proxy.order.to;
        let result = match proxy.order.protocol {
            Protocol::Tcp => self.pairs.accept(poll, key, &proxy.socket, to),
            _ => self.flows.receive(poll, key, &proxy.socket, to, space, now),
        };
        if result.is_err() {
            // It would be ready again at once. The next tick tries again.
            proxy.is_paused = poll.remove(&proxy.socket).is_ok();
            self.has_paused |= proxy.is_paused;
        }
    }

    /// Goes on with a TCP connection.
    pub(crate) fn stream_ready(&mut self, poll: &Poll, key: Key, space: &mut [u8]) {
        self.pairs.ready(poll, key, space);
    }

    /// Passes packets on to a UDP client.
    pub(crate) fn flow_ready(&mut self, key: Key, space: &mut [u8], now: Instant) {
        let all = &self.all;
        let socket = |proxy: Key| all.get(proxy).map(|proxy| &proxy.socket);
        self.flows.ready(key, socket, space, now);
    }

    fn remove(&mut self, keys: &[Key]) {
        for &key in keys {
            self.pairs.drop_of(key);
            self.flows.drop_of(key);
            self.all.remove(key);
        }
    }
}

/// There is no room for more; what waits may wait.
struct Full;
