//! What the outside can reach on this machine, why, and which rule of somebody else stops it.
//!
//! [`audit`] is pure: it looks at what was read of the packet filter, of the sockets and of Berth's own state. A packet from
//! outside is led through the chains of others ([`packet`]) as far as their rules can be told: what depends on who sends it,
//! or on something that is not known here, is said to be so and stops nothing. Rules of iptables-legacy and of address
//! translation are not looked at.

mod packet;
mod sockets;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use netlink::nft::{ListedChain, ListedRule, ListedSet, Step};
use netlink::{NetlinkError, Socket};

use crate::firewall::{Protocol, Publication, State};

pub use sockets::{Listener, listeners};

use packet::{Outcome, Packet};

/// `NF_INET_PRE_ROUTING` and its followers.
const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const POSTROUTING: u32 = 4;
/// The turn of address translation before routing.
const TRANSLATION: i32 = -100;

/// The packet filter, as far as an audit needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    chains: Vec<ListedChain>,
    rules: Vec<ListedRule>,
    /// By family, table and name.
    sets: BTreeMap<(u8, String, String), ListedSet>,
}

/// A port of this machine that something answers on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The machine's address; the unspecified one of a family for all.
    pub address: IpAddr,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The container's address; `None`: a process of the machine.
    pub container: Option<IpAddr>,
    /// What makes it reachable, and what may depend on the sender.
    pub because: Vec<String>,
    /// The rule that stops it; `None`: nothing does.
    pub blocked_by: Option<String>,
}

impl Ruleset {
    /// Reads the packet filter of the namespace of `socket`, which talks to the packet filter.
    pub fn read(socket: &mut Socket) -> Result<Self, NetlinkError> {
        let mut ruleset = Self {
            chains: socket.chains()?,
            rules: socket.rules()?,
            sets: BTreeMap::new(),
        };
        for rule in &ruleset.rules {
            for step in &rule.steps {
                let Step::Lookup { set, .. } = step else { continue };
                let key = (rule.family, rule.table.clone(), set.clone());
                if ruleset.sets.contains_key(&key) {
                    continue;
                }
                match socket.set(rule.family, &rule.table, set) {
                    Ok(elements) => {
                        ruleset.sets.insert(key, elements);
                    }
                    // Removed meanwhile: what it has is not known.
                    Err(error) if error.is_absent() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(ruleset)
    }
}

/// Returns what answers to the outside: published ports, and what the machine's processes listen on. What is bound to a
/// loopback address is left out. `own` is the name of Berth's tables.
pub fn audit(ruleset: &Ruleset, own: &str, listeners: &[Listener], state: &State) -> Vec<Exposure> {
    let audit = Audit { ruleset, own, state };
    let published = state
        .publications
        .iter()
        .filter_map(|published| audit.published(published));
    let own_sockets = listeners.iter().filter_map(|listener| audit.listener(listener));
    let mut exposures: Vec<Exposure> = published.chain(own_sockets).collect();
    exposures.sort_by_key(|exposure| (exposure.first, exposure.protocol, exposure.address));
    exposures
}

struct Audit<'a> {
    ruleset: &'a Ruleset,
    own: &'a str,
    state: &'a State,
}

impl Audit<'_> {
    fn published(&self, published: &Publication) -> Option<Exposure> {
        let address = published.host.unwrap_or_else(|| anywhere(published.container));
        if address.is_loopback() {
            return None;
        }
        let endpoint = self
            .state
            .endpoints
            .iter()
            .find(|endpoint| endpoint.addresses.contains(&published.container));
        let network = endpoint.and_then(|endpoint| {
            self.state
                .networks
                .iter()
                .find(|network| network.bridge == endpoint.bridge)
        });
        let is_one = published.first == published.last;
        let arriving = Packet {
            ipv6: published.container.is_ipv6(),
            protocol: published.protocol,
            destination: published.host,
            port: is_one.then_some(published.first),
            output: None,
            translated: false,
            bridges: self.bridges(),
        };
        let onward = Packet {
            destination: Some(published.container),
            port: is_one.then_some(published.port),
            output: network.map(|network| network.bridge.clone()),
            translated: true,
            ..arriving.clone()
        };
        let mut because = vec![format!("published to {}:{}", published.container, published.port)];
        let mut blocked_by = network
            .filter(|network| network.internal)
            .map(|network| format!("the network of bridge {} is internal", network.bridge));
        if network.is_none() {
            blocked_by = Some("no container has the address".to_owned());
        }
        for (hook, before) in [
            (PREROUTING, true),
            (PREROUTING, false),
            (FORWARD, false),
            (POSTROUTING, false),
        ] {
            let packet = if before { &arriving } else { &onward };
            self.pass(packet, hook, Some(before), &mut because, &mut blocked_by);
        }
        Some(Exposure {
            address,
            first: published.first,
            last: published.last,
            protocol: published.protocol,
            container: Some(published.container),
            because,
            blocked_by,
        })
    }

    fn listener(&self, listener: &Listener) -> Option<Exposure> {
        let is_reserved = |published: &Publication| {
            published.protocol == listener.protocol
                && (published.first..=published.last).contains(&listener.port)
                && published
                    .host
                    .is_none_or(|host| listener.address.is_unspecified() || host == listener.address)
                && published.container.is_ipv4() == listener.address.is_ipv4()
        };
        if listener.address.is_loopback() || self.state.publications.iter().any(is_reserved) {
            return None;
        }
        let mut because = vec![match listener.passes_to {
            Some(to) => format!("passed on to {to} by a process of Berth's"),
            None => "a process of this machine listens".to_owned(),
        }];
        let mut blocked_by = None;
        let packet = Packet {
            ipv6: listener.address.is_ipv6(),
            protocol: listener.protocol,
            destination: Some(listener.address).filter(|address| !address.is_unspecified()),
            port: Some(listener.port),
            output: None,
            translated: false,
            bridges: self.bridges(),
        };
        for hook in [PREROUTING, INPUT] {
            self.pass(&packet, hook, None, &mut because, &mut blocked_by);
        }
        Some(Exposure {
            address: listener.address,
            first: listener.port,
            last: listener.port,
            protocol: listener.protocol,
            container: listener.passes_to.map(|to| to.ip()),
            because,
            blocked_by,
        })
    }

    /// Leads a packet through the chains of others at a hook: those before address translation, those after it, or all.
    fn pass(
        &self,
        packet: &Packet,
        hook: u32,
        before: Option<bool>,
        because: &mut Vec<String>,
        blocked_by: &mut Option<String>,
    ) {
        let mut chains: Vec<(i32, &ListedChain)> = self
            .ruleset
            .chains
            .iter()
            .filter(|chain| chain.table != self.own && chain.kind != "nat" && packet.is_seen_by(chain.family))
            .filter_map(|chain| match chain.hook {
                Some((at, priority)) if at == hook => Some((priority, chain)),
                _ => None,
            })
            .filter(|(priority, _)| {
                hook != PREROUTING || before.is_none_or(|before| (*priority < TRANSLATION) == before)
            })
            .collect();
        chains.sort_by_key(|(priority, _)| *priority);
        for (_, chain) in chains {
            match packet::lead(packet, self.ruleset, chain) {
                Outcome::Passes => {}
                Outcome::MayPass(rule) => because.push(format!("{rule} lets some of it pass")),
                Outcome::Stopped(rule) => {
                    blocked_by.get_or_insert(rule);
                }
            }
        }
    }

    fn bridges(&self) -> Vec<String> {
        let extensions = self.state.extensions.iter();
        self.state
            .networks
            .iter()
            .map(|network| network.bridge.clone())
            .chain(extensions.map(|extension| extension.extension.clone()))
            .collect()
    }
}

fn anywhere(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}
