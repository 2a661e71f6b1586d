//! What is durable of a network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::clock::Timestamp;
use ipnet::IpNet;
use network::address::{Range, RangeError, RangeSettings};
use serde::{Deserialize, Serialize};

use super::options::Options;

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The subnet.
    pub subnet: IpNet,
    /// The part of it that containers without an address of their own choice get theirs from.
    pub range: Option<IpNet>,
    /// The gateway.
    pub gateway: IpAddr,
    /// Addresses that others on the network have, by name.
    pub auxiliary: BTreeMap<String, IpAddr>,
    /// Whether the subnet was asked for, which addresses of one's own choice need.
    pub asked: bool,
    /// Whether the gateway was asked for.
    #[serde(default)]
    pub gateway_asked: bool,
}

impl Subnet {
    /// Returns its addresses, with the gateway and the auxiliary ones taken.
    pub(crate) fn range(&self) -> Result<Range, RangeError> {
        Range::new(&RangeSettings {
            subnet: self.subnet,
            range: self.range,
            gateway: Some(self.gateway),
            auxiliary: self.auxiliary.clone(),
        })
    }
}

/// What a network is; never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NetworkRecord {
    /// Its id.
    #[serde(skip)]
    pub(crate) id: String,
    /// Its name.
    #[serde(skip)]
    pub(crate) name: String,
    /// When it was created.
    pub(crate) created: Timestamp,
    /// `bridge`, `macvlan`, `ipvlan` or `phys`.
    pub(crate) driver: String,
    /// Whether it has IPv4.
    pub(crate) ipv4: bool,
    /// Whether it has IPv6.
    pub(crate) ipv6: bool,
    /// Whether nothing leaves it and nothing comes in.
    pub(crate) internal: bool,
    /// Kept for inspect: there is no swarm whose services could attach.
    pub(crate) attachable: bool,
    /// Its subnets, IPv4 first.
    pub(crate) subnets: Vec<Subnet>,
    /// Options of the address management, as given.
    pub(crate) ipam_options: BTreeMap<String, String>,
    /// Options of the driver, as given.
    pub(crate) options: BTreeMap<String, String>,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The name of its bridge, or empty.
    pub(crate) bridge: String,
    /// Its bridge's hardware address, six bytes in hex with colons.
    pub(crate) mac: String,
    /// Whether its parent is a VLAN that was made for it.
    #[serde(default)]
    pub(crate) makes_parent: bool,
}

impl NetworkRecord {
    /// Returns its options, which were checked when it was made.
    pub(crate) fn settings(&self) -> Options {
        Options::parse(&self.driver, &self.options).unwrap_or_default()
    }

    /// Returns whether it is the default network.
    pub(crate) fn is_default(&self) -> bool {
        self.name == super::DEFAULT
    }
}
