//! Addresses of links (`struct ifaddrmsg`, linux/if_addr.h).

use std::net::IpAddr;

use super::{address_of, family, octets};
use crate::error::NetlinkError;
use crate::message::{CREATE, DUMP, EXCLUSIVE, Message};
use crate::reply::u32_of;
use crate::socket::Socket;

const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// `IFA_F_NODAD`: an address that nobody else can have is usable at once, not after a second of asking around.
const NO_DUPLICATE_DETECTION: u32 = 2;

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// The length of its network's prefix in bits.
    pub prefix: u8,
}

/// Gives a link an address; IPv4 networks wider than /31 get their broadcast address too, and IPv6 addresses are not
/// checked for duplicates.
pub fn add_address(address: &Address) -> Message {
    let flags = CREATE | EXCLUSIVE;
    let mut message = message(RTM_NEWADDR, flags, format!("add {}", describe(address)), address);
    match address.address {
        IpAddr::V4(own) if address.prefix < 31 => {
            let hosts = u32::MAX.checked_shr(u32::from(address.prefix)).unwrap_or(0);
            let broadcast = own.to_bits() | hosts;
            message.bytes(IFA_BROADCAST, &broadcast.to_be_bytes());
        }
        IpAddr::V4(_) => {}
        IpAddr::V6(_) => {
            message.u32(IFA_FLAGS, NO_DUPLICATE_DETECTION);
        }
    }
    message
}

/// Takes an address from a link.
pub fn remove_address(address: &Address) -> Message {
    message(RTM_DELADDR, 0, format!("remove {}", describe(address)), address)
}

impl Socket {
    /// Returns all addresses of the namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let request = Message::new(RTM_GETADDR, DUMP, "list addresses", &[0; 8]);
        self.dump(&request, |reply| {
            let (fixed, attributes) = reply.split::<8>()?;
            // Of a point-to-point link the local address is the link's own.
            let bytes = attributes
                .get(IFA_LOCAL)
                .or_else(|| attributes.get(IFA_ADDRESS))?;
            Some(Address {
                link: u32_of(&fixed[4..])?,
                address: address_of(bytes)?,
                prefix: fixed[1],
            })
        })
    }
}

fn describe(address: &Address) -> String {
    format!(
        "address {}/{} of link {}",
        address.address, address.prefix, address.link
    )
}

fn message(kind: u16, flags: u16, doing: String, address: &Address) -> Message {
    let mut fixed = [0; 8];
    fixed[0] = family(address.address);
    fixed[1] = address.prefix;
    fixed[4..].copy_from_slice(&address.link.to_ne_bytes());
    let mut message = Message::new(kind, flags, doing, &fixed);
    let octets = octets(address.address);
    message.bytes(IFA_LOCAL, &octets).bytes(IFA_ADDRESS, &octets);
    message
}
