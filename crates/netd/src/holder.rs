//! Who has a port: the kernel's tables of sockets (proc(5): `/proc/net/tcp` and its kin), and the processes' descriptors.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netd_api::message::{Holder, Protocol};

/// States of TCP sockets: listening, and closed but remembered.
const LISTEN: u8 = 0x0a;
const TIME_WAIT: u8 = 0x06;

/// Sockets of this network namespace.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    sockets: Vec<Socket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    protocol: Protocol,
    address: IpAddr,
    port: u16,
    state: u8,
    inode: u64,
}

impl Socket {
    /// Returns whether it is what is left of a connection that its program has closed.
    fn is_remains(&self) -> bool {
        self.protocol == Protocol::Tcp && (self.state == TIME_WAIT || self.inode == 0)
    }
}

/// What is read of the tables of TCP.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// Listeners, which come first.
    Listeners,
    Whole,
}

impl Tables {
    /// Reads listeners and UDP sockets.
    pub(crate) fn read() -> Self {
        Self::of(Extent::Listeners)
    }

    /// Reads all.
    pub(crate) fn read_whole() -> Self {
        Self::of(Extent::Whole)
    }

    /// Returns the ports of a range that somebody uses, sorted.
    pub(crate) fn ports_in_use(&self, protocol: Protocol, first: u16, last: u16) -> Vec<u16> {
        let mut ports: Vec<u16> = self
            .sockets
            .iter()
            .filter(|socket| socket.protocol == protocol && (first..=last).contains(&socket.port))
            .map(|socket| socket.port)
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Returns whether there are connections of this port that are nobody's any more.
    pub(crate) fn has_remains(&self, port: u16) -> bool {
        let mut sockets = self.sockets.iter();
        sockets.any(|socket| socket.port == port && socket.is_remains())
    }

    fn of(extent: Extent) -> Self {
        let mut tables = Self::default();
        for (file, protocol) in [
            ("/proc/self/net/tcp", Protocol::Tcp),
            ("/proc/self/net/tcp6", Protocol::Tcp),
            ("/proc/self/net/udp", Protocol::Udp),
            ("/proc/self/net/udp6", Protocol::Udp),
        ] {
            // Without IPv6 there is no such file.
            let Ok(file) = std::fs::File::open(file) else {
                continue;
            };
            let lines = BufReader::new(file).lines().map_while(Result::ok).skip(1);
            let sockets = lines.filter_map(|line| parse(&line, protocol));
            let ends_early = extent == Extent::Listeners && protocol == Protocol::Tcp;
            tables
                .sockets
                .extend(sockets.take_while(|socket| !ends_early || socket.state == LISTEN));
        }
        tables
    }
}

/// Returns the process that has a port, of all those whose descriptors can be seen.
pub(crate) fn find(tables: &Tables, address: IpAddr, protocol: Protocol, port: u16) -> Option<Holder> {
    let is_near = |socket: &&Socket| {
        // A socket of all IPv6 addresses may be one of all IPv4 addresses too.
        socket.address == address || socket.address.is_unspecified() || address.is_unspecified()
    };
    let candidates: Vec<&Socket> = tables
        .sockets
        .iter()
        .filter(|socket| socket.protocol == protocol && socket.port == port && !socket.is_remains())
        .filter(is_near)
        .collect();
    let listeners = candidates.iter().filter(|socket| socket.state == LISTEN);
    let inodes = listeners.chain(&candidates).map(|socket| socket.inode);
    let mut found = None;
    for inode in inodes.filter(|&inode| inode != 0) {
        found = owner(inode);
        if found.is_some() {
            break;
        }
    }
    found.or_else(|| (!candidates.is_empty()).then_some(Holder::Unknown))
}

/// Reads a line: number, local and remote address, state, queues, timer, retries, uid, timeout, inode.
fn parse(line: &str, protocol: Protocol) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    // Words as the machine has them in memory.
    let word = |at: usize| {
        let digits = address.get(8 * at..8 * at + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let address = if address.len() == 8 {
        IpAddr::V4(Ipv4Addr::from(word(0)?))
    } else {
        let mut bytes = [0; 16];
        for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
            place.copy_from_slice(&word(at)?);
        }
        IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some(Socket {
        protocol,
        address,
        port: u16::from_str_radix(port, 16).ok()?,
        state: u8::from_str_radix(state, 16).ok()?,
        inode: inode.parse().ok()?,
    })
}

/// Returns the process that has the socket with this inode.
fn owner(inode: u64) -> Option<Holder> {
    let wanted = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Gone, or not ours to look into.
        let Ok(descriptors) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let mut links = descriptors
            .flatten()
            .filter_map(|entry| std::fs::read_link(entry.path()).ok());
        if links.any(|link| link.as_os_str() == wanted.as_str()) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            let name = name.trim_end().to_owned();
            return Some(Holder::Process { pid, name });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_tables_are_read() {
        let line = "   4: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 31337 1 0 100 0";
        let socket = parse(line, Protocol::Tcp).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(socket.address, IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        assert_eq!((socket.port, socket.state, socket.inode), (8080, LISTEN, 31337));
        let line = " 3: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0 00:0 0 0 0 7 2 0 0";
        let socket = parse(line, Protocol::Udp).unwrap();
        if cfg!(target_endian = "little") {
            assert_eq!(socket.address, IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        for line in [
            "",
            "sl local_address",
            "1: 0:0 0:0 0A",
            "1: 010000:0 x 0A 0 0 0 0 0 0 7",
        ] {
            assert_eq!(parse(line, Protocol::Tcp), None, "{line}");
        }
    }

    #[test]
    fn a_socket_s_process_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = i32::try_from(std::process::id()).unwrap();
        for tables in [Tables::read(), Tables::read_whole()] {
            let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
            let holder = find(&tables, address, Protocol::Tcp, port);
            assert!(
                matches!(holder, Some(Holder::Process { pid, .. }) if pid == own),
                "{holder:?}"
            );
            assert_eq!(tables.ports_in_use(Protocol::Tcp, port, port), [port]);
        }
    }
}
