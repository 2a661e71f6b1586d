//! An address that is now elsewhere: given to an interface of a container that runs, and told to everybody who knew it, so that
//! nobody goes on sending to where it was.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

use netlink::route::{Address, MacAddress, Target, add_address, remove_address};
use netlink::{NetlinkError, Socket};
use sys::netlink::Family;

use super::EndpointError;

/// Everybody on the link.
const EVERYBODY: [u8; 6] = [0xff; 6];
/// All nodes of a link, ff02::1, and how that is sent (RFC 2464, section 7).
const ALL_NODES: (Ipv6Addr, [u8; 6]) = (
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    [0x33, 0x33, 0, 0, 0, 1],
);
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;

/// Gives an interface in a namespace one more address and tells the others on its link. One that it has is told again.
pub fn add(namespace: BorrowedFd<'_>, interface: &str, address: IpAddr) -> Result<(), EndpointError> {
    let failed = failing(interface);
    let mut inside = Socket::open_in(Family::Route, namespace).map_err(failed)?;
    let link = inside.link(Target::Name(interface)).map_err(failed)?;
    match inside.request(&[add_address(&whole(link.index, address))]) {
        Err(error) if !error.is_present() => return Err(failed(error)),
        _ => {}
    }
    let Some(mac) = link.mac else { return Ok(()) };
    let frame = match address {
        IpAddr::V4(address) => announcement(mac, address),
        IpAddr::V6(address) => advertisement(mac, address),
    };
    sys::namespace::visit_network(namespace, || sys::net::send_frame(link.index, &frame))
        .and_then(|sent| sent)
        .map_err(EndpointError::Namespace)
}

/// Takes an address that was added from an interface; one that it does not have is gone.
pub fn remove(namespace: BorrowedFd<'_>, interface: &str, address: IpAddr) -> Result<(), EndpointError> {
    let failed = failing(interface);
    let mut inside = Socket::open_in(Family::Route, namespace).map_err(failed)?;
    let link = inside.link(Target::Name(interface)).map_err(failed)?.index;
    match inside.request(&[remove_address(&whole(link, address))]) {
        Err(error) if !error.is_absent() => Err(failed(error)),
        _ => Ok(()),
    }
}

fn failing(interface: &str) -> impl Fn(NetlinkError) -> EndpointError + Copy + '_ {
    |source| EndpointError::Container {
        interface: interface.to_owned(),
        source,
    }
}

/// The address alone: its network is reached by the interface's own.
fn whole(link: u32, address: IpAddr) -> Address {
    Address {
        link,
        address,
        prefix: if address.is_ipv4() { 32 } else { 128 },
    }
}

/// An ARP announcement: a question for its own address (RFC 5227, section 3).
fn announcement(mac: MacAddress, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = header(EVERYBODY, mac, ETHERTYPE_ARP);
    // Ethernet, IPv4, lengths of 6 and 4, a request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

/// A neighbour advertisement that nobody asked for (RFC 4861, section 7.2.6).
fn advertisement(mac: MacAddress, address: Ipv6Addr) -> Vec<u8> {
    let (everybody, everybody_mac) = ALL_NODES;
    // Type 136; the flag "override"; the address; option 2: the hardware address, in units of eight bytes.
    let mut body = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    body.extend(address.octets());
    body.extend([2, 1]);
    body.extend(mac.0);
    let length = u8::try_from(body.len()).unwrap_or(u8::MAX);
    let pseudo = [
        &address.octets()[..],
        &everybody.octets(),
        &[0, 0, 0, length, 0, 0, 0, ICMPV6],
        &body,
    ];
    let sum = checksum(&pseudo.concat()).to_be_bytes();
    body[2..4].copy_from_slice(&sum);
    let mut frame = header(everybody_mac, mac, ETHERTYPE_IPV6);
    // Version 6, the length, ICMPv6, and a hop limit that shows that no router has passed it on.
    frame.extend([0x60, 0, 0, 0, 0, length, ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(everybody.octets());
    frame.extend(body);
    frame
}

fn header(to: [u8; 6], from: MacAddress, kind: [u8; 2]) -> Vec<u8> {
    [&to[..], &from.0, &kind].concat()
}

/// The internet checksum of an even number of bytes (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let sum = words.fold(0_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        // The carry comes back in; after it there is none again.
        sum.wrapping_add(u16::from(carry))
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([2, 0x42, 10, 0, 0, 9]);

    #[test]
    fn an_announcement_asks_for_its_own_address() {
        let frame = announcement(MAC, Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(frame.len(), 42);
        assert_eq!((&frame[..6], &frame[6..12]), (&EVERYBODY[..], &MAC.0[..]));
        assert_eq!(
            (&frame[28..32], &frame[38..42]),
            (&[10, 0, 0, 9][..], &[10, 0, 0, 9][..])
        );
    }

    #[test]
    fn an_advertisement_has_a_checksum_that_adds_up() {
        let address: Ipv6Addr = "2001:db8::9".parse().unwrap();
        let frame = advertisement(MAC, address);
        assert_eq!(frame.len(), 14 + 40 + 32);
        let (ip, body) = frame[14..].split_at(40);
        let pseudo = [&ip[8..40], &[0, 0, 0, 32, 0, 0, 0, ICMPV6][..], body].concat();
        assert_eq!(checksum(&pseudo), 0);
        assert_eq!(checksum(&[0xff, 0xff, 0, 1]), 0xfffe);
    }
}
