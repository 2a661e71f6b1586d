//! Neighbours: who on a link has which address (`struct ndmsg`, linux/neighbour.h), and which port of a bridge.

use std::net::IpAddr;

use super::{MacAddress, address_of, family, octets};
use crate::error::NetlinkError;
use crate::message::{CREATE, DUMP, Message, REPLACE};
use crate::reply::u32_of;
use crate::socket::Socket;

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// `NUD_PERMANENT`.
const PERMANENT: u16 = 128;
/// `NUD_NOARP`: an address that a bridge does not forget.
const STATIC: u16 = 64;
/// `NTF_MASTER`: what is meant is the bridge that the link is a port of.
const OF_BRIDGE: u8 = 4;
/// `NTF_STICKY`: it stays at its port, also when packets of it come by another.
const STICKY: u8 = 64;
/// `AF_BRIDGE`.
const BRIDGE: u8 = 7;

/// A neighbour that is known for good and never asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link's index.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address.
    pub mac: MacAddress,
}

/// Makes a neighbour known, or corrects what was known.
pub fn add_neighbour(neighbour: &Neighbour) -> Message {
    let doing = format!("add neighbour {} of link {}", neighbour.address, neighbour.link);
    let mut message = message(RTM_NEWNEIGH, CREATE | REPLACE, doing, neighbour);
    message.bytes(NDA_LLADDR, &neighbour.mac.0);
    message
}

/// Forgets a neighbour.
pub fn remove_neighbour(neighbour: &Neighbour) -> Message {
    let doing = format!(
        "remove neighbour {} of link {}",
        neighbour.address, neighbour.link
    );
    message(RTM_DELNEIGH, 0, doing, neighbour)
}

/// Lets a bridge know that a hardware address is behind a port, for as long as the port is there: it is not forgotten, and
/// not looked for behind another port when packets of it come by that. `port` is the index of a link.
pub fn bind_to_port(port: u32, mac: MacAddress) -> Message {
    let mut fixed = [0; 12];
    fixed[0] = BRIDGE;
    fixed[4..8].copy_from_slice(&port.to_ne_bytes());
    fixed[8..10].copy_from_slice(&STATIC.to_ne_bytes());
    fixed[10] = OF_BRIDGE | STICKY;
    let doing = format!("bind {mac} to bridge port {port}");
    let mut message = Message::new(RTM_NEWNEIGH, CREATE | REPLACE, doing, &fixed);
    message.bytes(NDA_LLADDR, &mac.0);
    message
}

impl Socket {
    /// Returns the neighbours that are known for good.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        let request = Message::new(RTM_GETNEIGH, DUMP, "list neighbours", &[0; 12]);
        self.dump(&request, |reply| {
            let (fixed, attributes) = reply.split::<12>()?;
            let state = u16::from_ne_bytes([fixed[8], fixed[9]]);
            if state & PERMANENT == 0 {
                return None;
            }
            Some(Neighbour {
                link: u32_of(&fixed[4..])?,
                address: attributes.get(NDA_DST).and_then(address_of)?,
                mac: attributes.get(NDA_LLADDR).and_then(MacAddress::of)?,
            })
        })
    }
}

fn message(kind: u16, flags: u16, doing: String, neighbour: &Neighbour) -> Message {
    let mut fixed = [0; 12];
    fixed[0] = family(neighbour.address);
    fixed[4..8].copy_from_slice(&neighbour.link.to_ne_bytes());
    fixed[8..10].copy_from_slice(&PERMANENT.to_ne_bytes());
    let mut message = Message::new(kind, flags, doing, &fixed);
    message.bytes(NDA_DST, &octets(neighbour.address));
    message
}
