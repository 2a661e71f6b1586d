//! What the packet filter knows of a network.

use netlink::Message;
use netlink::nft::{self, Element, ElementData};

use super::Firewall;
use super::layout::{BRIDGES, INTERNAL, NAT4, NAT6, TALKING};

/// What the packet filter knows of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The name of its bridge.
    pub bridge: String,
    /// Whether its containers reach nothing outside of it, and nothing outside reaches them.
    pub internal: bool,
    /// Whether its containers may talk to each other (docker's `icc`). Between ports of one bridge it is the bridge that
    /// keeps them apart; here it is about what takes the way over the machine.
    pub talking: bool,
    /// Whether IPv4 leaves it with the machine's address.
    pub nat4: bool,
    /// Whether IPv6 leaves it with the machine's address.
    pub nat6: bool,
}

impl Firewall {
    /// Lets the packet filter know a network.
    pub fn add_network(&self, network: &NetworkFacts) -> Vec<Message> {
        self.memberships(network)
            .into_iter()
            .flat_map(|(set, element)| nft::add_elements(self.routed(), set, &[element]))
            .collect()
    }

    /// Lets it forget a network, which must be given as it was when it was added.
    pub fn remove_network(&self, network: &NetworkFacts) -> Vec<Message> {
        self.memberships(network)
            .into_iter()
            .flat_map(|(set, element)| nft::remove_elements(self.routed(), set, &[element]))
            .collect()
    }

    fn memberships(&self, network: &NetworkFacts) -> Vec<(&'static str, Element)> {
        let bridge = nft::text_key(&network.bridge);
        let element = |key| Element {
            key,
            last: None,
            data: ElementData::None,
        };
        let sets = [
            (BRIDGES, true),
            (INTERNAL, network.internal),
            (NAT4, network.nat4 && !network.internal),
            (NAT6, network.nat6 && !network.internal),
        ];
        let mut all: Vec<_> = sets
            .into_iter()
            .filter(|(_, is_member)| *is_member)
            .map(|(set, _)| (set, element(vec![bridge.clone()])))
            .collect();
        if network.talking {
            all.push((TALKING, element(vec![bridge.clone(), bridge])));
        }
        all
    }
}
