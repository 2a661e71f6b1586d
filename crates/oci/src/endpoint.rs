//! The recipe of an endpoint: by what a container is plugged into one network, and what it has there.
//!
//! Like that of a root file system it is plain data: the daemon writes it, the shim reads it again for each run, and what
//! makes the endpoint takes it as it is.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// An endpoint to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// By what.
    pub attach: Attach,
    /// The name of its interface, 1 to 15 bytes.
    pub interface: String,
    /// The interface's hardware address; the kernel's choice if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<[u8; 6]>,
    /// The largest packet in bytes; the kernel's default if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Its addresses, with the lengths of their networks' prefixes. Without one of IPv6 there is no IPv6 on it.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The gateways of everything that is not on a network of the container, at most one of a family in all endpoints.
    /// One that is outside of the addresses' networks is looked for on the link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// More routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Parameters of the interface by their names as sysctl(8) has them, with `IFNAME` in place of the interface's
    /// (`net.ipv4.conf.IFNAME.forwarding`); no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// How much it may receive and send; only where it is plugged into a bridge.
    #[serde(default, skip_serializing_if = "Rates::is_unlimited")]
    pub rates: Rates,
}

/// By what a container is plugged into a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Attach {
    /// A cable to a bridge of the host.
    Bridge {
        /// The bridge's name.
        bridge: String,
        /// The name of the cable's end at the bridge, 1 to 15 bytes.
        port: String,
        /// Whether it may talk to other containers on the bridge.
        talking: bool,
    },
    /// More hardware addresses on a link of the host.
    Macvlan {
        /// The link.
        parent: String,
        /// `bridge`, `private`, `vepa` or `passthru`.
        mode: String,
    },
    /// More protocol addresses on a link of the host, with its hardware address.
    Ipvlan {
        /// The link.
        parent: String,
        /// `l2`, `l3` or `l3s`.
        mode: String,
        /// `bridge`, `private` or `vepa`.
        flag: String,
    },
    /// A link of the host, which the container has for itself until it ends.
    Phys {
        /// The link.
        link: String,
    },
}

/// Bytes in a second; `None` is as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    /// What a container may receive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// What it may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
}

impl Rates {
    /// Returns whether everything may pass.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The network, and the length of its prefix.
    pub destination: (IpAddr, u8),
    /// The next host on the way; `None` when the network is on the link itself.
    pub gateway: Option<IpAddr>,
}
