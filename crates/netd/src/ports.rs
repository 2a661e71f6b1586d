//! Host ports that are kept: a bound socket each, so that no other program takes what is published.
//!
//! A published port is served by the packet filter; without a socket on it the kernel would give it to anybody else, who
//! would then wonder why nothing arrives. TCP sockets do not listen, so what comes to them is refused as before.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use netd_api::message::{Held, Holder, Protocol, Reservation, Reserved};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::holder::{self, Tables};
use crate::proxy::Proxies;

/// The largest range whose ports are all bound.
const LARGEST_HELD: u16 = 256;

/// All reservations by container.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    by_container: HashMap<Box<str>, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    reservation: Reservation,
    /// A socket for each port, without those that a proxy uses.
    held: Vec<(u16, OwnedFd)>,
}

impl Ports {
    /// Keeps all of `reservations`, or none of those that are new.
    pub(crate) fn reserve(
        &mut self,
        container: &str,
        reservations: &[Reservation],
        proxies: &Proxies,
    ) -> Result<(), Held> {
        let mut added: Vec<Entry> = Vec::new();
        for &reservation in reservations {
            let present = self.by_container.get(container).into_iter().flatten();
            if present
                .chain(&added)
                .any(|entry| entry.reservation == reservation)
            {
                continue;
            }
            let held = self.hold(container, reservation, proxies)?;
            added.push(Entry { reservation, held });
        }
        if !added.is_empty() {
            self.by_container
                .entry(container.into())
                .or_default()
                .extend(added);
        }
        Ok(())
    }

    /// Gives a container's ports back.
    pub(crate) fn release(&mut self, container: &str) {
        self.by_container.remove(container);
    }

    /// Gives back what is not in `kept`.
    pub(crate) fn retain(&mut self, kept: &[Reserved]) {
        self.by_container.retain(|container, entries| {
            let wanted = |reservation: &Reservation| {
                kept.iter().any(|reserved| {
                    *reserved.container == **container && reserved.reservations.contains(reservation)
                })
            };
            entries.retain(|entry| wanted(&entry.reservation));
            !entries.is_empty()
        });
    }

    /// Takes the socket of a container's own reservation for a proxy on it.
    pub(crate) fn take(
        &mut self,
        container: &str,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Option<OwnedFd> {
        let entries = self.by_container.get_mut(container)?;
        let mut fitting = entries
            .iter_mut()
            .filter(|entry| entry.reservation.address == address && entry.reservation.protocol == protocol);
        fitting.find_map(|entry| {
            let index = entry.held.iter().position(|&(held, _)| held == port)?;
            Some(entry.held.swap_remove(index).1)
        })
    }

    /// Binds one port; its holder is named when it is another's.
    pub(crate) fn bind(
        &self,
        container: &str,
        address: IpAddr,
        protocol: Protocol,
        port: u16,
        proxies: &Proxies,
    ) -> Result<OwnedFd, Held> {
        let holder = match bind(SocketAddr::new(address, port), protocol, Reuse::No) {
            Ok(socket) => return Ok(socket),
            Err(Errno::ADDRINUSE) => {
                let wanted = Reservation {
                    address,
                    protocol,
                    first: port,
                    last: port,
                };
                match self.other(wanted, proxies) {
                    Some((id, _)) => Holder::Container { id },
                    None => match self.free_of_remains(address, protocol, port) {
                        Ok(socket) => return Ok(socket),
                        Err(holder) => holder,
                    },
                }
            }
            Err(errno) => Holder::Refused {
                reason: errno.to_string(),
            },
        };
        Err(Held {
            container: container.to_owned(),
            address,
            protocol,
            port,
            holder,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_container.is_empty()
    }

    pub(crate) fn state(&self) -> Vec<Reserved> {
        let mut all: Vec<Reserved> = self
            .by_container
            .iter()
            .map(|(container, entries)| Reserved {
                container: container.to_string(),
                reservations: entries.iter().map(|entry| entry.reservation).collect(),
            })
            .collect();
        all.sort_by(|one, other| one.container.cmp(&other.container));
        all
    }

    fn hold(
        &self,
        container: &str,
        wanted: Reservation,
        proxies: &Proxies,
    ) -> Result<Vec<(u16, OwnedFd)>, Held> {
        let Reservation {
            address,
            protocol,
            first,
            last,
        } = wanted;
        let held = |port, holder| Held {
            container: container.to_owned(),
            address,
            protocol,
            port,
            holder,
        };
        if first == 0 || last < first {
            let reason = format!("{first}-{last} is no range of ports");
            return Err(held(first, Holder::Refused { reason }));
        }
        if let Some((id, port)) = self.other(wanted, proxies) {
            return Err(held(port, Holder::Container { id }));
        }
        if protocol == Protocol::Sctp {
            return Ok(Vec::new());
        }
        if last - first < LARGEST_HELD {
            let mut sockets = Vec::with_capacity(usize::from(last - first) + 1);
            for port in first..=last {
                sockets.push((port, self.bind(container, address, protocol, port, proxies)?));
            }
            return Ok(sockets);
        }
        // The tables say which ports are worth a try; whether one is in the way, only a try says.
        for port in Tables::read().ports_in_use(protocol, first, last) {
            drop(self.bind(container, address, protocol, port, proxies)?);
        }
        Ok(Vec::new())
    }

    /// Returns the container that has some of the ports already, and the first of them.
    fn other(&self, wanted: Reservation, proxies: &Proxies) -> Option<(String, u16)> {
        let entries = self.by_container.iter();
        let mut reserved = entries.flat_map(|(id, entries)| entries.iter().map(move |entry| (id, entry)));
        let found = reserved.find(|(_, entry)| overlap(&entry.reservation, &wanted));
        if let Some((id, entry)) = found {
            return Some((id.to_string(), entry.reservation.first.max(wanted.first)));
        }
        proxies.all().find_map(|proxy| {
            let port = proxy.listen.port();
            let own = Reservation {
                address: proxy.listen.ip(),
                protocol: proxy.protocol,
                first: port,
                last: port,
            };
            overlap(&own, &wanted).then(|| (proxy.container.clone(), port))
        })
    }

    /// Binds a port that nobody has, but connections that have ended some seconds ago; otherwise says who has it.
    fn free_of_remains(&self, address: IpAddr, protocol: Protocol, port: u16) -> Result<OwnedFd, Holder> {
        let tables = Tables::read_whole();
        if let Some(holder) = holder::find(&tables, address, protocol, port) {
            return Err(holder);
        }
        if protocol == Protocol::Tcp && tables.has_remains(port) {
            let socket = bind(SocketAddr::new(address, port), protocol, Reuse::Yes);
            return socket.map_err(|_errno| Holder::Unknown);
        }
        Err(Holder::Unknown)
    }
}

/// Whether a port may be shared with connections that have ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reuse {
    /// No: others who would share it are kept off too.
    No,
    Yes,
}

fn bind(address: SocketAddr, protocol: Protocol, reuse: Reuse) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
        Protocol::Sctp => return Err(Errno::PROTONOSUPPORT),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if family == AddressFamily::INET6 {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if reuse == Reuse::Yes {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if protocol == Protocol::Udp {
        // What is not for the container is not kept for anybody; a proxy wants more, and says so.
        sockopt::set_socket_recv_buffer_size(&socket, 0)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn overlap(one: &Reservation, other: &Reservation) -> bool {
    let same_address = one.address == other.address
        || one.address.is_ipv4() == other.address.is_ipv4()
            && (one.address.is_unspecified() || other.address.is_unspecified());
    same_address && one.protocol == other.protocol && one.first <= other.last && other.first <= one.last
}
