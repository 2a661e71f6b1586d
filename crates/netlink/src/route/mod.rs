//! rtnetlink(7): links, addresses, routes and neighbours of one network namespace.
//!
//! `add_…`, `change_…` and `remove_…` return messages for [`crate::Socket::request`]; what exists is asked of the socket.

mod address;
mod link;
mod neighbour;
mod path;

pub use address::{Address, add_address, remove_address};
pub use link::{
    BridgePort, IpvlanIsolation, IpvlanMode, Link, LinkChange, LinkKind, MacAddress, MacvlanMode, NewLink,
    Statistics, Target, add_link, change_bridge_port, change_link, remove_link, remove_link_group,
};
pub use neighbour::{Neighbour, add_neighbour, bind_to_port, remove_neighbour};
pub use path::{Route, add_route, remove_route};

use std::net::IpAddr;

/// `AF_INET`.
const INET: u8 = 2;
/// `AF_INET6`.
const INET6: u8 = 10;

/// Returns the address family of an address.
fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => INET,
        IpAddr::V6(_) => INET6,
    }
}

/// Returns an address in network byte order: 4 or 16 bytes.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Returns the address that these bytes are.
fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        16 => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}
