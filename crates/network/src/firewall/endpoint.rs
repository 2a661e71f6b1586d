//! What the packet filter knows of an endpoint: which addresses are its own.

use std::net::IpAddr;

use netlink::Message;
use netlink::nft::{self, Element, ElementData, Table};
use netlink::route::{MacAddress, octets};

use super::Firewall;
use super::layout::{HARDWARE, PORTS, RESIDENTS4, RESIDENTS6, SENDERS4, SENDERS6};

/// Which addresses are an endpoint's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFacts {
    /// The name of the bridge.
    pub bridge: String,
    /// The bridge's port that it is at: the host's end of its cable.
    pub port: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl Firewall {
    /// Lets an endpoint send with its own addresses, and no others.
    pub fn add_endpoint(&self, endpoint: &EndpointFacts) -> Vec<Message> {
        self.facts(endpoint)
            .into_iter()
            .flat_map(|(table, set, element)| nft::add_elements(table, set, &[element]))
            .collect()
    }

    /// Forgets an endpoint, which must be given as it was when it was added.
    pub fn remove_endpoint(&self, endpoint: &EndpointFacts) -> Vec<Message> {
        self.facts(endpoint)
            .into_iter()
            .flat_map(|(table, set, element)| nft::remove_elements(table, set, &[element]))
            .collect()
    }

    fn facts(&self, endpoint: &EndpointFacts) -> Vec<(Table<'_>, &'static str, Element)> {
        let element = |link: &str, rest: Option<Vec<u8>>| Element {
            key: std::iter::once(nft::text_key(link)).chain(rest).collect(),
            last: None,
            data: ElementData::None,
        };
        let (routed, bridged) = (self.routed(), self.bridged());
        let port = endpoint.port.as_str();
        let mut all = vec![
            (bridged, HARDWARE, element(port, Some(endpoint.mac.0.to_vec()))),
            (bridged, PORTS, element(port, None)),
        ];
        for address in &endpoint.addresses {
            let (senders, residents) = match address {
                IpAddr::V4(_) => (SENDERS4, RESIDENTS4),
                IpAddr::V6(_) => (SENDERS6, RESIDENTS6),
            };
            all.push((bridged, senders, element(port, Some(octets(*address)))));
            all.push((
                routed,
                residents,
                element(&endpoint.bridge, Some(octets(*address))),
            ));
        }
        all
    }
}
