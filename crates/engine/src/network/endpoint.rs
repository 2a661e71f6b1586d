//! What a running container has of a network: durable with its state, and what faces show.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
pub use oci::endpoint::Attach;
use serde::{Deserialize, Serialize};

use crate::config::Protocol;

/// A container's place in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The network's id.
    pub network: String,
    /// The network's name.
    pub network_name: String,
    /// The endpoint's own id, 64 hex digits, drawn at each start.
    pub id: String,
    /// How it is connected: to the network's bridge, also when its port is at an extension of that.
    pub attachment: Attach,
    /// The extension of the network's bridge that its port is at; 0 is the bridge itself.
    #[serde(default)]
    pub extension: u8,
    /// The interface inside.
    pub interface: String,
    /// Its hardware address, six bytes in hex with colons.
    pub mac: String,
    /// Its IPv4 address with the length of the network's prefix.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 address with the length of the network's prefix.
    pub ipv6: Option<Ipv6Net>,
    /// Further addresses of its own.
    #[serde(default)]
    pub link_local: Vec<IpAddr>,
    /// Addresses that were moved to it.
    #[serde(default)]
    pub floating: Vec<IpAddr>,
    /// The network's IPv4 gateway; none of an internal network.
    pub gateway4: Option<Ipv4Addr>,
    /// The network's IPv6 gateway.
    pub gateway6: Option<Ipv6Addr>,
    /// Whether the container's default routes go by it.
    pub is_default: bool,
    /// The largest packet in bytes; the kernel's default if `None`.
    pub mtu: Option<u32>,
    /// The names that others on the network know it by.
    pub names: Vec<String>,
    /// `sysctl` parameters of its interface.
    #[serde(default)]
    pub sysctls: std::collections::BTreeMap<String, String>,
}

impl Endpoint {
    /// Returns the host's end of its cable, if it has one.
    pub fn port(&self) -> Option<&str> {
        match &self.attachment {
            Attach::Bridge { port, .. } => Some(port),
            _ => None,
        }
    }

    /// Returns whether it is known by names: on every network but the default one.
    pub fn has_names(&self) -> bool {
        self.network_name != super::DEFAULT
    }

    /// Returns its addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.ipv4.map(|net| IpAddr::V4(net.addr()));
        let v6 = self.ipv6.map(|net| IpAddr::V6(net.addr()));
        let more = self.link_local.iter().chain(&self.floating);
        v4.into_iter().chain(v6).chain(more.copied())
    }
}

/// Consecutive ports of a container that are reached by consecutive ports of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The container's first port.
    pub port: u16,
    /// How many there are.
    pub count: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address; the unspecified one for all of its family.
    pub host_ip: IpAddr,
    /// The first port of the host.
    pub host_port: u16,
}

impl Publication {
    /// Returns the first and the last port of the host.
    pub fn host_ports(&self) -> Option<(u16, u16)> {
        let behind = self.count.checked_sub(1)?;
        Some((self.host_port, self.host_port.saturating_add(behind)))
    }

    /// Returns each port: the container's, and the host's.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> + use<> {
        let (port, host) = (self.port, self.host_port);
        (0..self.count).map(move |number| (port.saturating_add(number), host.saturating_add(number)))
    }
}
