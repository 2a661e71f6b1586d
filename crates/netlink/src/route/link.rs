//! Links: network devices (`struct ifinfomsg`, linux/if_link.h).

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::error::NetlinkError;
use crate::message::{CREATE, DUMP, EXCLUSIVE, Message};
use crate::reply::{Attributes, Reply, text, u32_of};
use crate::socket::Socket;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_GUARD: u16 = 5;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
/// `IFF_UP`.
const UP: u32 = 1;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        <[u8; 6]>::try_from(bytes).ok().map(Self)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// A link to be.
#[derive(Clone, Debug)]
pub struct NewLink<'a> {
    /// Its name: 1 to 15 bytes.
    pub name: &'a str,
    /// What it is.
    pub kind: LinkKind<'a>,
    /// The rest.
    pub settings: LinkChange<'a>,
}

/// What a link is.
#[derive(Clone, Debug)]
pub enum LinkKind<'a> {
    /// A switch. Its ports forward at once: no spanning tree runs, so there is nothing to wait for.
    Bridge {
        /// Whether it looks into multicast traffic to learn who wants it.
        multicast_snooping: bool,
    },
    /// Two ends of a cable. This link is one, `peer` the other.
    Veth {
        /// The other end; its kind is not looked at.
        peer: Box<NewLink<'a>>,
    },
    /// More hardware addresses on a link.
    Macvlan {
        /// The link below.
        parent: u32,
        /// Who may talk to whom.
        mode: MacvlanMode,
    },
    /// More protocol addresses on a link, with its one hardware address.
    Ipvlan {
        /// The link below.
        parent: u32,
        /// At which layer.
        mode: IpvlanMode,
        /// Who may talk to whom.
        isolation: IpvlanIsolation,
    },
    /// One virtual network of a trunk (802.1Q).
    Vlan {
        /// The trunk.
        parent: u32,
        /// Its number, 1 to 4094.
        id: u16,
    },
    /// A link through which incoming traffic of others is sent to be shaped.
    Ifb,
}

/// Who on a macvlan may talk to whom (`MACVLAN_MODE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Nobody on this machine.
    Private = 1,
    /// Only by way of the switch outside.
    Vepa = 2,
    /// Everybody on the same parent.
    Bridge = 4,
    /// The one owner of the parent.
    Passthru = 8,
}

/// At which layer an ipvlan works (`IPVLAN_MODE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpvlanMode {
    /// As a switch.
    L2 = 0,
    /// As a router.
    L3 = 1,
    /// As a router whose traffic passes the host's packet filter.
    L3s = 2,
}

/// Who on an ipvlan may talk to whom (`IPVLAN_F_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpvlanIsolation {
    /// Everybody on the same parent.
    Bridge = 0,
    /// Nobody on this machine.
    Private = 1,
    /// Only by way of the switch outside.
    Vepa = 2,
}

/// What is to be changed about a link; what is `None` stays.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinkChange<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Whether it is up.
    pub up: Option<bool>,
    /// The largest packet in bytes.
    pub mtu: Option<u32>,
    /// Its hardware address.
    pub mac: Option<MacAddress>,
    /// The bridge that it is a port of; 0 for none.
    pub master: Option<u32>,
    /// The network namespace that it is in.
    pub namespace: Option<BorrowedFd<'a>>,
    /// A number by which many links are removed at once.
    pub group: Option<u32>,
}

/// A link as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, which no other link of the namespace has or had lately.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is, in the kernel's words (`bridge`, `veth`…); nothing for hardware and the loopback.
    pub kind: Option<String>,
    /// Whether it is up.
    pub up: bool,
    /// The largest packet in bytes.
    pub mtu: u32,
    /// Its hardware address, if it is of six bytes.
    pub mac: Option<MacAddress>,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
    /// The link below it, or the other end of a veth.
    pub parent: Option<u32>,
    /// What passed.
    pub statistics: Statistics,
}

/// What passed a link since it was made (`struct rtnl_link_stats64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets received.
    pub received_packets: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Broken packets received.
    pub receive_errors: u64,
    /// Packets that could not be sent.
    pub send_errors: u64,
    /// Packets received and dropped.
    pub receive_dropped: u64,
    /// Packets dropped instead of sent.
    pub send_dropped: u64,
}

/// How a port of a bridge treats traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgePort {
    /// Whether a packet may leave by the port it came from, which a container needs to reach its own published port.
    pub hairpin: bool,
    /// Whether it may only talk to ports that are not isolated.
    pub isolated: bool,
    /// Whether the bridge learns addresses from it.
    pub learning: bool,
    /// Whether it gets packets for addresses that nobody is known to have.
    pub flood: bool,
}

/// Which link.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// The one with this index.
    Index(u32),
    /// The one with this name.
    Name(&'a str),
}

/// Makes a link. A name that is taken is an error.
pub fn add_link(link: &NewLink<'_>) -> Message {
    let doing = format!("add link \"{}\"", link.name);
    let mut message = Message::new(RTM_NEWLINK, CREATE | EXCLUSIVE, doing, &header(0, &link.settings));
    describe(&mut message, link);
    message
}

/// Changes a link.
pub fn change_link(target: Target<'_>, change: &LinkChange<'_>) -> Message {
    let mut message = to(RTM_SETLINK, "change", target, change);
    if let Some(name) = change.name {
        message.text(IFLA_IFNAME, name);
    }
    settings(&mut message, change);
    message
}

/// Changes how a bridge treats a link that is a port of it already, and then the link. One message does both, so that a
/// port is up only when it is treated as it shall be.
pub fn change_bridge_port(target: Target<'_>, port: &BridgePort, change: &LinkChange<'_>) -> Message {
    // Without `CREATE` it makes no link; only this kind of message has attributes of the bridge beside those of the link.
    let mut message = to(RTM_NEWLINK, "change bridge port", target, change);
    settings(&mut message, change);
    message.nested(IFLA_LINKINFO, |message| {
        message.text(IFLA_INFO_SLAVE_KIND, "bridge");
        message.nested(IFLA_INFO_SLAVE_DATA, |message| {
            message
                .u8(IFLA_BRPORT_MODE, port.hairpin.into())
                .u8(IFLA_BRPORT_GUARD, 1)
                .u8(IFLA_BRPORT_LEARNING, port.learning.into())
                .u8(IFLA_BRPORT_UNICAST_FLOOD, port.flood.into())
                .u8(IFLA_BRPORT_ISOLATED, port.isolated.into());
        });
    });
    message
}

/// Removes a link. It waits for the kernel to forget it, which takes milliseconds: dropping its namespace does not.
pub fn remove_link(target: Target<'_>) -> Message {
    to(RTM_DELLINK, "remove", target, &LinkChange::default())
}

/// Removes all links of a group.
pub fn remove_link_group(group: u32) -> Message {
    let fixed = header(0, &LinkChange::default());
    let mut message = Message::new(RTM_DELLINK, 0, format!("remove links of group {group}"), &fixed);
    message.u32(IFLA_GROUP, group);
    message
}

impl Socket {
    /// Returns all links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let fixed = header(0, &LinkChange::default());
        let request = Message::new(RTM_GETLINK, DUMP, "list links", &fixed);
        self.dump(&request, read)
    }

    /// Returns one link of the namespace; an error with [`NetlinkError::is_absent`] if it is not there.
    pub fn link(&mut self, target: Target<'_>) -> Result<Link, NetlinkError> {
        let request = to(RTM_GETLINK, "look up", target, &LinkChange::default());
        self.get(&request, read)?.ok_or_else(|| NetlinkError::Malformed {
            doing: request.doing().to_owned(),
        })
    }
}

fn read(reply: &Reply<'_>) -> Option<Link> {
    let (fixed, attributes) = reply.split::<16>()?;
    let kind = attributes
        .get(IFLA_LINKINFO)
        .and_then(|info| Attributes::of(info).get(IFLA_INFO_KIND).map(text));
    Some(Link {
        index: u32_of(&fixed[4..])?,
        name: attributes.get(IFLA_IFNAME).map(text)?,
        kind,
        up: u32_of(&fixed[8..]).is_some_and(|flags| flags & UP != 0),
        mtu: attributes.get(IFLA_MTU).and_then(u32_of).unwrap_or_default(),
        mac: attributes.get(IFLA_ADDRESS).and_then(MacAddress::of),
        master: attributes.get(IFLA_MASTER).and_then(u32_of),
        parent: attributes.get(IFLA_LINK).and_then(u32_of),
        statistics: attributes.get(IFLA_STATS64).map(statistics).unwrap_or_default(),
    })
}

/// `struct ifinfomsg`: family u8, padding u8, type u16, index i32, flags u32, change u32.
fn header(index: u32, change: &LinkChange<'_>) -> [u8; 16] {
    let mut fixed = [0; 16];
    fixed[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = change.up {
        fixed[8..12].copy_from_slice(&u32::from(up).to_ne_bytes());
        fixed[12..].copy_from_slice(&UP.to_ne_bytes());
    }
    fixed
}

fn to(kind: u16, verb: &str, target: Target<'_>, change: &LinkChange<'_>) -> Message {
    match target {
        Target::Index(index) => Message::new(kind, 0, format!("{verb} link {index}"), &header(index, change)),
        Target::Name(name) => {
            let mut message = Message::new(kind, 0, format!("{verb} link \"{name}\""), &header(0, change));
            message.text(IFLA_IFNAME, name);
            message
        }
    }
}

fn describe(message: &mut Message, link: &NewLink<'_>) {
    message.text(IFLA_IFNAME, link.name);
    settings(message, &link.settings);
    if let LinkKind::Macvlan { parent, .. }
    | LinkKind::Ipvlan { parent, .. }
    | LinkKind::Vlan { parent, .. } = &link.kind
    {
        message.u32(IFLA_LINK, *parent);
    }
    if let LinkKind::Veth { .. } = &link.kind {
        one_queue(message);
    }
    message.nested(IFLA_LINKINFO, |message| {
        message.text(IFLA_INFO_KIND, kind_name(&link.kind));
        message.nested(IFLA_INFO_DATA, |message| data(message, &link.kind));
    });
}

/// What an end of a veth uses anyway. Unasked the kernel makes one for each processor, takes all but one away again, and waits
/// for a grace period of RCU for each end, while it holds the lock of all links (`veth_init_queues`).
fn one_queue(message: &mut Message) {
    message.u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1);
}

fn kind_name(kind: &LinkKind<'_>) -> &'static str {
    match kind {
        LinkKind::Bridge { .. } => "bridge",
        LinkKind::Veth { .. } => "veth",
        LinkKind::Macvlan { .. } => "macvlan",
        LinkKind::Ipvlan { .. } => "ipvlan",
        LinkKind::Vlan { .. } => "vlan",
        LinkKind::Ifb => "ifb",
    }
}

fn data(message: &mut Message, kind: &LinkKind<'_>) {
    match kind {
        LinkKind::Bridge { multicast_snooping } => {
            message
                .u32(IFLA_BR_FORWARD_DELAY, 0)
                .u8(IFLA_BR_MCAST_SNOOPING, (*multicast_snooping).into());
        }
        LinkKind::Veth { peer } => {
            // The peer is described as a link message without its netlink header.
            message.nested(VETH_INFO_PEER, |message| {
                message.raw(&header(0, &peer.settings));
                message.text(IFLA_IFNAME, peer.name);
                settings(message, &peer.settings);
                one_queue(message);
            });
        }
        LinkKind::Macvlan { mode, .. } => {
            message.u32(IFLA_MACVLAN_MODE, *mode as u32);
        }
        LinkKind::Ipvlan { mode, isolation, .. } => {
            message
                .u16(IFLA_IPVLAN_MODE, *mode as u16)
                .u16(IFLA_IPVLAN_FLAGS, *isolation as u16);
        }
        LinkKind::Vlan { id, .. } => {
            message.u16(IFLA_VLAN_ID, *id);
        }
        LinkKind::Ifb => {}
    }
}

fn settings(message: &mut Message, change: &LinkChange<'_>) {
    if let Some(mtu) = change.mtu {
        message.u32(IFLA_MTU, mtu);
    }
    if let Some(mac) = change.mac {
        message.bytes(IFLA_ADDRESS, &mac.0);
    }
    if let Some(master) = change.master {
        message.u32(IFLA_MASTER, master);
    }
    if let Some(group) = change.group {
        message.u32(IFLA_GROUP, group);
    }
    if let Some(namespace) = change.namespace {
        message.bytes(IFLA_NET_NS_FD, &namespace.as_raw_fd().to_ne_bytes());
    }
}

fn statistics(bytes: &[u8]) -> Statistics {
    let counter = |index: usize| {
        let bytes = bytes.get(index * 8..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    Statistics {
        received_packets: counter(0),
        sent_packets: counter(1),
        received_bytes: counter(2),
        sent_bytes: counter(3),
        receive_errors: counter(4),
        send_errors: counter(5),
        receive_dropped: counter(6),
        send_dropped: counter(7),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by hand from linux/if_link.h: not every kernel has ipvlan.
    #[test]
    fn an_ipvlan_is_described_as_the_kernel_reads_it() {
        let link = NewLink {
            name: "x",
            kind: LinkKind::Ipvlan {
                parent: 5,
                mode: IpvlanMode::L3,
                isolation: IpvlanIsolation::Private,
            },
            settings: LinkChange::default(),
        };
        let mut bytes = Vec::new();
        add_link(&link).append_to(&mut bytes, 1, true);
        let attributes = [
            &[6, 0, 3, 0, b'x', 0, 0, 0][..],
            &[8, 0, 5, 0, 5, 0, 0, 0],
            &[36, 0, 18, 0x80],
            &[11, 0, 1, 0, b'i', b'p', b'v', b'l', b'a', b'n', 0, 0],
            &[20, 0, 2, 0x80],
            &[6, 0, 1, 0, 1, 0, 0, 0],
            &[6, 0, 2, 0, 1, 0, 0, 0],
        ];
        if cfg!(target_endian = "little") {
            assert_eq!(bytes[32..], attributes.concat());
        }
    }
}
