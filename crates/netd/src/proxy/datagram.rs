//! UDP through a proxy.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Full;
use crate::poll::{Interest, Kind, Poll};
use crate::slab::{Key, Slab};

/// How long a client may be silent, as with docker's proxy.
const PATIENCE: Duration = Duration::from_secs(90);
/// Clients of all proxies.
const MOST: usize = 4096;
/// Clients of one proxy.
const MOST_OF_ONE: usize = 1024;
/// How many packets are passed on in one turn.
const PACKETS: usize = 32;

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Flows {
    all: Slab<Flow>,
    by_client: HashMap<(Key, SocketAddr), Key>,
}

/// One client of one proxy.
#[derive(Debug)]
struct Flow {
    proxy: Key,
    client: SocketAddr,
    /// Connected to the container.
    socket: OwnedFd,
    used: Instant,
}

impl Flows {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn drop_of(&mut self, proxy: Key) {
        for key in self.all.keys(|flow| flow.proxy == proxy) {
            self.remove(key);
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let is_idle = |flow: &Flow| now.saturating_duration_since(flow.used) >= PATIENCE;
        for key in self.all.keys(is_idle) {
            self.remove(key);
        }
    }

    /// Passes clients' packets on to the container.
    pub(super) fn receive(
        &mut self,
        poll: &Poll,
        proxy: Key,
        socket: &OwnedFd,
        to: SocketAddr,
        space: &mut [u8],
        now: Instant,
    ) -> Result<(), Full> {
        for _ in 0..PACKETS {
            let (length, client) = match rustix::net::recvfrom(socket, &mut *space, RecvFlags::DONTWAIT) {
                Ok((_, length, Some(client))) => (length, SocketAddr::try_from(client)),
                Err(Errno::AGAIN) => return Ok(()),
                // A failure of an earlier packet's is told once.
                _ => continue,
            };
            let Ok(client) = client else {
                continue;
            };
            let key = match self.by_client.get(&(proxy, client)) {
                Some(&key) => key,
                None => self.add(poll, proxy, client, to, now)?,
            };
            if let Some(flow) = self.all.get_mut(key) {
                flow.used = now;
                let data = space.get(..length).unwrap_or_default();
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                // As any packet, it may be lost on its way.
                rustix::net::send(&flow.socket, data, flags).ok();
            }
        }
        Ok(())
    }

    /// Passes the container's packets on to a client.
    pub(super) fn ready<'a>(
        &mut self,
        key: Key,
        socket_of: impl Fn(Key) -> Option<&'a OwnedFd>,
        space: &mut [u8],
        now: Instant,
    ) {
        let Some(flow) = self.all.get_mut(key) else {
            return;
        };
        let Some(socket) = socket_of(flow.proxy) else {
            return;
        };
        for _ in 0..PACKETS {
            match rustix::net::recv(&flow.socket, &mut *space, RecvFlags::DONTWAIT) {
                Ok((_, length)) => {
                    flow.used = now;
                    let data = space.get(..length).unwrap_or_default();
                    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                    rustix::net::sendto(socket, data, flags, &flow.client).ok();
                }
                Err(Errno::AGAIN) => return,
                // Nobody listens in the container now; that may change.
                Err(_) => {}
            }
        }
    }

    fn add(
        &mut self,
        poll: &Poll,
        proxy: Key,
        client: SocketAddr,
        to: SocketAddr,
        now: Instant,
    ) -> Result<Key, Full> {
        let of_proxy = self.all.iter().filter(|(_, flow)| flow.proxy == proxy);
        let (count, oldest) = of_proxy.fold((0, None), |(count, oldest), (key, flow)| {
            let oldest: Option<(Instant, Key)> = match oldest {
                Some((used, _)) if used <= flow.used => oldest,
                _ => Some((flow.used, key)),
            };
            (count + 1, oldest)
        });
        if count >= MOST_OF_ONE || self.all.len() >= MOST {
            // The one that has been silent for longest makes room, if it is this proxy's own.
            match oldest {
                Some((_, key)) => self.remove(key),
                None => return Err(Full),
            }
        }
        let family = match to {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let full = |_errno: Errno| Full;
        let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None).map_err(full)?;
        rustix::net::connect(&socket, &to).map_err(full)?;
        let key = self.all.insert(Flow {
            proxy,
            client,
            socket,
            used: now,
        });
        let added = self
            .all
            .get(key)
            .map(|flow| poll.add(&flow.socket, Kind::Flow, key, Interest::READ));
        if !matches!(added, Some(Ok(()))) {
            self.all.remove(key);
            return Err(Full);
        }
        self.by_client.insert((proxy, client), key);
        Ok(key)
    }

    fn remove(&mut self, key: Key) {
        if let Some(flow) = self.all.remove(key) {
            self.by_client.remove(&(flow.proxy, flow.client));
        }
    }
}
