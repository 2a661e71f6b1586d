//! Who is asked for names of others.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use netd_api::handover;

/// How many servers are asked, as by docker and by libc.
const MOST: usize = 3;
/// How often the host's file is looked at while queries come.
const LOOK: Duration = Duration::from_secs(1);
/// More than any `resolv.conf`.
const LARGEST_FILE: u64 = 64 << 10;

/// A server and from where it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) side: Side,
}

/// Which network namespace a server is asked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The host's: it is one of the host's loopback addresses.
    Host,
    /// The container's, so that what the container may reach is what its resolver may reach.
    Container,
    /// The container's, or the host's if the container has no route for this family of addresses.
    Either,
}

/// The servers that the host's `resolv.conf` names.
#[derive(Debug)]
pub(crate) struct HostServers {
    path: PathBuf,
    looked: Option<Instant>,
    stamp: Option<Stamp>,
    servers: Vec<Server>,
}

/// What tells one version of a file from the next: device, inode, time of change, size.
type Stamp = (u64, u64, i64, i64, u64);

impl HostServers {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            looked: None,
            stamp: None,
            servers: Vec::new(),
        }
    }

    /// Returns the servers that are named now, or were a second ago.
    pub(crate) fn get(&mut self, now: Instant) -> &[Server] {
        let is_fresh = self
            .looked
            .is_some_and(|looked| now.saturating_duration_since(looked) < LOOK);
        if !is_fresh {
            self.looked = Some(now);
            self.look();
        }
        &self.servers
    }

    fn look(&mut self) {
        let stamp = std::fs::metadata(&self.path).ok().map(|metadata| {
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            (
                metadata.dev(),
                metadata.ino(),
                changed.0,
                changed.1,
                metadata.len(),
            )
        });
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        let content = base::file::read_optional(&self.path, LARGEST_FILE);
        let text = content.ok().flatten().unwrap_or_default();
        self.servers = parse(&String::from_utf8_lossy(&text));
    }
}

/// Returns the servers that a container was given.
pub(crate) fn chosen(addresses: &[IpAddr]) -> Vec<Server> {
    let usable = addresses
        .iter()
        .map(|address| address.to_canonical())
        .filter(is_usable);
    usable
        .map(|address| Server {
            address: SocketAddr::new(address, handover::PORT),
            side: Side::Container,
        })
        .take(MOST)
        .collect()
}

/// Reads a `resolv.conf` (resolv.conf(5)).
fn parse(text: &str) -> Vec<Server> {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"))
        .filter(|rest| rest.starts_with([' ', '\t']));
    lines
        .filter_map(|rest| server(rest.split_whitespace().next()?))
        .take(MOST)
        .collect()
}

fn server(word: &str) -> Option<Server> {
    let (address, zone) = match word.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (word, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let address = address.to_canonical();
    if !is_usable(&address) {
        return None;
    }
    if let (IpAddr::V6(address), Some(zone)) = (address, zone) {
        // A zone is an interface of the host's.
        let index = match zone.parse() {
            Ok(index) => index,
            Err(_) => interface(zone)?,
        };
        let address = SocketAddrV6::new(address, handover::PORT, 0, index);
        return Some(Server {
            address: address.into(),
            side: Side::Host,
        });
    }
    let side = if address.is_loopback() {
        Side::Host
    } else {
        Side::Either
    };
    Some(Server {
        address: SocketAddr::new(address, handover::PORT),
        side,
    })
}

/// Returns whether a query that is sent there does not come back to netd.
fn is_usable(address: &IpAddr) -> bool {
    *address != IpAddr::V4(handover::ADDRESS) && !address.is_unspecified() && !address.is_multicast()
}

/// Returns the number of an interface by its name.
fn interface(name: &str) -> Option<u32> {
    let is_name = !name.is_empty() && name.len() < 16 && name != ".." && name != "." && !name.contains('/');
    if !is_name {
        return None;
    }
    let path = PathBuf::from(format!("/sys/class/net/{name}/ifindex"));
    let text = base::file::read_optional(&path, 64).ok().flatten()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_libc_reads_it() {
        let text = "# nameserver 9.9.9.9\nsearch x\nnameserver 10.0.0.1 # one\n nameserver 8.8.8.8\nnameserver\t::1\n\
                    nameservers 8.8.4.4\nnameserver 127.0.0.11\nnameserver ::ffff:127.0.0.11\nnameserver 0.0.0.0\n\
                    nameserver x\nnameserver\nnameserver fe80::1%7\nnameserver 10.0.0.4\n";
        let found: Vec<(String, Side)> = parse(text)
            .iter()
            .map(|server| (server.address.to_string(), server.side))
            .collect();
        let expected = [
            ("10.0.0.1:53", Side::Either),
            ("[::1]:53", Side::Host),
            ("[fe80::1%7]:53", Side::Host),
        ];
        assert_eq!(found, expected.map(|(address, side)| (address.to_owned(), side)));
    }

    #[test]
    fn a_container_s_servers_are_asked_from_inside() {
        let addresses = ["127.0.0.11", "127.0.0.1", "10.0.0.1"].map(|address| address.parse().unwrap());
        let servers = chosen(&addresses);
        assert_eq!(servers.len(), 2);
        assert!(servers.iter().all(|server| server.side == Side::Container));
    }

    #[test]
    fn a_changed_file_is_seen() {
        let path = std::env::temp_dir().join(format!("berth-resolv-{}", std::process::id()));
        let write = |text: &str| {
            base::file::write_atomic(&path, text.as_bytes(), 0o600, base::file::Durability::Crash).unwrap();
        };
        write("nameserver 10.0.0.1\n");
        let mut servers = HostServers::new(path.clone());
        let begin = Instant::now();
        assert_eq!(servers.get(begin).len(), 1);
        write("nameserver 10.0.0.1\nnameserver 10.0.0.2\n");
        assert_eq!(servers.get(begin).len(), 1);
        assert_eq!(servers.get(begin + LOOK).len(), 2);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(servers.get(begin + 2 * LOOK).len(), 0);
    }
}
