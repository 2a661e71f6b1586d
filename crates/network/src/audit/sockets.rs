//! Which sockets wait for the outside, from the kernel's lists (proc_net_tcp.rst).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::firewall::Protocol;

/// A socket that waits for what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Listener {
    /// Its address; the unspecified one of a family for all.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The container's address and port that it passes everything on to; `None`: it is somebody else's.
    pub passes_to: Option<SocketAddr>,
}

/// `TCP_LISTEN`.
const LISTEN: &str = "0A";
/// `TCP_CLOSE`, the state of a UDP socket that is connected to nobody.
const CLOSE: &str = "07";

/// Returns the sockets in the text of `/proc/net/tcp`, `tcp6`, `udp` or `udp6`. Lines that make no sense are left out.
pub fn listeners(text: &str, protocol: Protocol) -> Vec<Listener> {
    let waits = if protocol == Protocol::Tcp { LISTEN } else { CLOSE };
    let read = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next()?;
        let state = words.nth(1)?;
        let (address, port) = local.split_once(':')?;
        (state == waits).then_some(())?;
        Some(Listener {
            address: read_address(address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            protocol,
            passes_to: None,
        })
    };
    text.lines().filter_map(read).collect()
}

/// Reads words of 32 bits, each a number of the machine's byte order.
fn read_address(text: &str) -> Option<IpAddr> {
    if !text.is_ascii() {
        return None;
    }
    let word = |at: usize| {
        let word = text.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, piece) in bytes.chunks_exact_mut(4).enumerate() {
                piece.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::from(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_sockets_are_read() {
        let tcp = "  sl  local_address rem_address   st tx_queue\n   \
                   0: 0B00007F:0035 00000000:0000 0A 00000000:00000000 00:00000000\n   \
                   1: 00000000:1F90 00000000:0000 0A 00000000:00000000\n   \
                   2: 0100007F:80C4 0B00007F:0035 05 00000000:00000000\n   3: nonsense\n";
        let found = listeners(tcp, Protocol::Tcp);
        let shown: Vec<String> = found
            .iter()
            .map(|one| format!("{}:{}", one.address, one.port))
            .collect();
        if cfg!(target_endian = "little") {
            assert_eq!(shown, ["127.0.0.11:53", "0.0.0.0:8080"]);
        }
        let udp6 =
            " 592: 00000000000000000000000001000000:14E9 00000000000000000000000000000000:0000 07 0:0\n";
        let found = listeners(udp6, Protocol::Udp);
        assert_eq!((found.len(), found[0].port), (1, 5353));
        if cfg!(target_endian = "little") {
            assert_eq!(found[0].address, IpAddr::from(Ipv6Addr::LOCALHOST));
        }
    }
}
