//! The kernel's side: bridges and the packet filter. Made when they are first needed, so that a daemon without containers
//! touches neither.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use netlink::nft::Ear;
use netlink::route::{MacAddress, Target};
use netlink::{Message, NetlinkError, Socket};
use network::bridge;
use network::budget::Budgets;
use network::firewall::{self, EndpointFacts, Firewall, NetworkFacts, State};
use sys::netlink::Family;

use super::endpoint::{Attach, Endpoint, Publication};
use super::error::NetworkError;
use super::extension;
use super::ports::unspecified;
use super::record::NetworkRecord;
use super::table::Table;
use super::vlan;
use crate::config::Protocol;

/// What the daemon holds of the kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    route: Option<Socket>,
    filter: Option<Socket>,
    firewall: Firewall,
    /// The budgets of containers, in a table of their own.
    pub(super) budgets: Budgets,
    masquerade: bool,
    /// Whether the tables hold what the table of networks says.
    is_in_place: bool,
    /// The extensions that the tables know, by network.
    extensions: BTreeMap<String, BTreeSet<u8>>,
    /// Whether the machine was no router before this daemon, or one before it in this boot, made it one: for IPv4 and IPv6.
    /// `None`: nobody has looked.
    pub(super) closed: Option<(bool, bool)>,
    /// The packet filter's generation and this daemon's own transactions, when they were compared last.
    compared: Option<(u32, u32)>,
    /// The ear of the watch over the packet filter, once there is one.
    ear: Option<Ear>,
}

/// From how many bytes of changes on the watch over the packet filter is not to hear of them: a thousand elements.
const LOUD: usize = 64 << 10;

impl Kernel {
    pub(crate) fn new(firewall: &str, masquerade: bool) -> Self {
        Self {
            route: None,
            filter: None,
            firewall: Firewall::new(firewall),
            budgets: Budgets::new(firewall),
            masquerade,
            is_in_place: false,
            extensions: BTreeMap::new(),
            closed: None,
            compared: None,
            ear: None,
        }
    }

    /// Makes the bridge of a network, or the link that it is on, unless it is there.
    pub(crate) fn make_bridge(&mut self, record: &NetworkRecord) -> Result<(), NetworkError> {
        if record.driver != "bridge" {
            return vlan::make(self, record);
        }
        let failed = |error: NetlinkError| NetworkError::step("look for the bridge of", &record.name, error);
        let socket = self.route().map_err(failed)?;
        match socket.link(Target::Name(&record.bridge)) {
            Ok(link) if is_ours(&link, record) => return Ok(()),
            // As with docker, a bridge that was asked for by its name may be the machine's.
            Ok(link) if record.settings().bridge.is_some() && link.kind.as_deref() == Some("bridge") => {
                return Ok(());
            }
            Ok(_) => {
                return Err(NetworkError::Conflict {
                    text: format!(
                        "network {} cannot be made: there is an interface \"{}\" that is not Berth's",
                        record.name, record.bridge
                    ),
                });
            }
            Err(error) if error.is_absent() => {}
            Err(error) => return Err(failed(error)),
        }
        let settings = bridge::Settings {
            name: record.bridge.clone(),
            gateways: gateways(record),
            mac: mac(&record.mac),
            mtu: record.settings().mtu,
        };
        match bridge::create(socket, &settings) {
            Ok(_index) => Ok(()),
            Err(error) => Err(NetworkError::step("make", &record.name, error)),
        }
    }

    /// Removes the bridge of a network with its extensions, or the link that it is on, if it is Berth's.
    pub(crate) fn remove_bridge(&mut self, record: &NetworkRecord) -> Result<(), NetworkError> {
        if record.driver != "bridge" {
            return vlan::remove(self, record);
        }
        let failed = |error: NetlinkError| NetworkError::step("remove the bridge of", &record.name, error);
        extension::remove_all(self, record).map_err(failed)?;
        let socket = self.route().map_err(failed)?;
        match socket.link(Target::Name(&record.bridge)) {
            Ok(link) if is_ours(&link, record) => bridge::remove(socket, &record.bridge)
                .map_err(|error| NetworkError::step("remove the bridge of", &record.name, error)),
            Ok(_) => Ok(()),
            Err(error) if error.is_absent() => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Returns the networks that the machine has routes to, but not those that reach everything.
    pub(crate) fn routes(&mut self) -> Result<Vec<IpNet>, NetlinkError> {
        let routes = self.route()?.routes()?;
        Ok(routes
            .iter()
            .filter(|route| route.prefix > 0)
            .filter_map(|route| IpNet::new(route.destination, route.prefix).ok())
            .collect())
    }

    /// Lets the packet filter know a network.
    pub(crate) fn add_network(
        &mut self,
        table: &mut Table,
        record: &NetworkRecord,
    ) -> Result<(), NetlinkError> {
        let Some(facts) = self.facts(record) else {
            return Ok(());
        };
        let messages = self.firewall.add_network(&facts);
        self.change(table, messages)
    }

    /// Lets the packet filter forget a network; what it was is given, the table has it no more.
    pub(crate) fn remove_network(
        &mut self,
        table: &mut Table,
        record: &NetworkRecord,
    ) -> Result<(), NetlinkError> {
        if !self.is_in_place {
            return Ok(());
        }
        let Some(facts) = self.facts(record) else {
            return Ok(());
        };
        let mut messages = self.firewall.remove_network(&facts);
        for extension in self.extensions.remove(&record.id).unwrap_or_default() {
            let facts = extension::facts(&record.id, extension);
            messages.extend(self.firewall.remove_extension(&facts));
        }
        self.change(table, messages)
    }

    /// Lets the packet filter know endpoints and ports, which the table has already.
    pub(crate) fn add(
        &mut self,
        table: &mut Table,
        endpoints: &[Endpoint],
        publications: &[Publication],
    ) -> Result<(), NetlinkError> {
        let mut messages = self.new_extensions(endpoints);
        messages.extend(self.messages(endpoints, publications, true));
        self.change(table, messages)
    }

    /// Lets the packet filter know that a container has other endpoints than before, which the table says already, and that
    /// its ports may be another endpoint's now. What others have costs nothing.
    pub(crate) fn exchange(
        &mut self,
        table: &mut Table,
        before: &[Endpoint],
        after: &[Endpoint],
        publications: &[Publication],
    ) -> Result<(), NetlinkError> {
        let only_in = |these: &[Endpoint], others: &[Endpoint]| -> Vec<Endpoint> {
            let is_new = |endpoint: &&Endpoint| others.iter().all(|other| other.id != endpoint.id);
            these.iter().filter(is_new).cloned().collect()
        };
        let published = [before, after].map(|endpoints| publication_facts(endpoints, publications));
        let moves = published[0] != published[1];
        let mut messages = self.messages(&only_in(before, after), &[], false);
        if moves {
            messages.extend(self.firewall.unpublish(&published[0]));
        }
        let new = only_in(after, before);
        messages.extend(self.new_extensions(&new));
        messages.extend(self.messages(&new, &[], true));
        if moves {
            messages.extend(self.firewall.publish(&published[1]));
        }
        self.change(table, messages)
    }

    /// Lets the packet filter know extensions that it does not know.
    fn new_extensions(&mut self, endpoints: &[Endpoint]) -> Vec<Message> {
        let mut messages = Vec::new();
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.extension > 0) {
            let known = self.extensions.entry(endpoint.network.clone()).or_default();
            if known.insert(endpoint.extension) {
                let facts = extension::facts(&endpoint.network, endpoint.extension);
                messages.extend(self.firewall.add_extension(&facts));
            }
        }
        messages
    }

    /// Lets the packet filter forget what has left the table.
    pub(crate) fn forget_gone(&mut self, table: &mut Table) -> Result<(), NetlinkError> {
        if table.gone.is_empty() {
            return Ok(());
        }
        self.change(table, Vec::new())
    }

    /// Puts the packet filter in place as the table says, whatever it was.
    pub(crate) fn replace(&mut self, table: &mut Table) -> Result<(), NetlinkError> {
        table.gone.clear();
        self.extensions = extension::in_use(table);
        let state = self.state(table);
        let messages = self.firewall.replace(&state);
        self.filter()?.request(&messages)?;
        self.is_in_place = true;
        Ok(())
    }

    /// Returns whether the packet filter is in place.
    pub(crate) fn is_in_place(&self) -> bool {
        self.is_in_place
    }

    /// Removes the packet filter.
    pub(crate) fn clear(&mut self) -> Result<(), NetlinkError> {
        let messages = self.firewall.remove();
        self.is_in_place = false;
        self.filter()?.request(&messages)
    }

    /// Returns the number of the socket that changes the packet filter.
    pub(crate) fn filter_port(&mut self) -> Result<u32, NetlinkError> {
        self.filter()?.port()
    }

    /// Returns the socket for links, addresses and routes.
    pub(crate) fn route(&mut self) -> Result<&mut Socket, NetlinkError> {
        open(&mut self.route, Family::Route)
    }

    /// Returns whether anybody else may have changed the packet filter since this was asked last. The kernel numbers all
    /// transactions; when there were no more of them than this daemon's own, nobody has.
    pub(crate) fn is_others_too(&mut self) -> bool {
        let now = self.counts().ok();
        let before = std::mem::replace(&mut self.compared, now);
        before
            .zip(now)
            .is_none_or(|(before, now)| are_others_in(before, now))
    }

    /// Returns how many transactions there were, and how many of them were this daemon's.
    fn counts(&mut self) -> Result<(u32, u32), NetlinkError> {
        let socket = self.filter()?;
        Ok((socket.generation()?, socket.transactions()))
    }

    /// Sets the ear of the watch over the packet filter, which need not hear of large changes.
    pub(super) fn set_ear(&mut self, ear: Ear) {
        self.ear = Some(ear);
    }

    /// Changes the packet filter while its watch hears nothing. Returns whether somebody else has changed it meanwhile, which
    /// nobody heard.
    fn request_unheard(&mut self, ear: &Ear, messages: &[Message]) -> Result<bool, NetlinkError> {
        let before = self.counts()?;
        ear.cover()?;
        let done = self.filter()?.request(messages);
        ear.uncover()?;
        done?;
        Ok(are_others_in(before, self.counts()?))
    }

    /// Returns the socket for the packet filter.
    pub(super) fn filter(&mut self) -> Result<&mut Socket, NetlinkError> {
        open(&mut self.filter, Family::Netfilter)
    }

    /// Changes the tables, what is gone first: a port that is given up and taken again is one and the same element. When
    /// they are not as they were left, because somebody flushed them or because they were never made, they are made whole:
    /// the table of networks says what belongs there.
    fn change(&mut self, table: &mut Table, added: Vec<Message>) -> Result<(), NetlinkError> {
        let gone = std::mem::take(&mut table.gone);
        if !self.is_in_place {
            return if added.is_empty() {
                Ok(())
            } else {
                self.replace(table)
            };
        }
        let removed = gone
            .iter()
            .flat_map(|(endpoints, publications)| self.messages(endpoints, publications, false));
        let messages: Vec<Message> = removed.chain(added).collect();
        if messages.is_empty() {
            return Ok(());
        }
        let size: usize = messages.iter().map(Message::size).sum();
        let changed = match self.ear.take_if(|_ear| size > LOUD) {
            Some(ear) => {
                let changed = self.request_unheard(&ear, &messages);
                self.ear = Some(ear);
                changed
            }
            None => self.filter()?.request(&messages).map(|()| false),
        };
        match changed {
            Ok(false) => Ok(()),
            Ok(true) => self.replace(table),
            Err(error) => {
                tracing::warn!(error = %base::error::chain(&error), "the packet filter is not as it was left and is made again");
                self.replace(table)
            }
        }
    }

    fn messages(&self, endpoints: &[Endpoint], publications: &[Publication], add: bool) -> Vec<Message> {
        let mut messages: Vec<Message> = endpoints
            .iter()
            .filter_map(endpoint_facts)
            .flat_map(|facts| match add {
                true => self.firewall.add_endpoint(&facts),
                false => self.firewall.remove_endpoint(&facts),
            })
            .collect();
        let published = publication_facts(endpoints, publications);
        messages.extend(match add {
            true => self.firewall.publish(&published),
            false => self.firewall.unpublish(&published),
        });
        messages
    }

    /// Returns what the packet filter is to hold.
    pub(crate) fn state(&self, table: &Table) -> State {
        let (closed4, closed6) = self.closed.unwrap_or_default();
        let mut state = State {
            closed4,
            closed6,
            ..State::default()
        };
        for network in table.all() {
            state.networks.extend(self.facts(&network.record));
            state
                .endpoints
                .extend(network.members().values().filter_map(endpoint_facts));
        }
        for (network, numbers) in extension::in_use(table) {
            let facts = numbers.iter().map(|&number| extension::facts(&network, number));
            state.extensions.extend(facts);
        }
        for (endpoints, publications) in table.published() {
            state
                .publications
                .extend(publication_facts(&endpoints, publications));
        }
        state
    }

    fn facts(&self, record: &NetworkRecord) -> Option<NetworkFacts> {
        let settings = record.settings();
        let masquerade = settings.masquerade && (self.masquerade || !record.is_default());
        (record.driver == "bridge").then(|| NetworkFacts {
            bridge: record.bridge.clone(),
            internal: record.internal,
            talking: settings.talking,
            nat4: masquerade,
            nat6: masquerade,
        })
    }
}

/// Returns whether there were more transactions than this daemon's own between two counts of all and of its own.
fn are_others_in((all_before, own_before): (u32, u32), (all, own): (u32, u32)) -> bool {
    all.wrapping_sub(all_before) != own.wrapping_sub(own_before)
}

fn open(slot: &mut Option<Socket>, family: Family) -> Result<&mut Socket, NetlinkError> {
    match slot {
        Some(socket) => Ok(socket),
        None => Ok(slot.insert(Socket::open(family)?)),
    }
}

/// A bridge is known by its hardware address, which was drawn for it.
fn is_ours(link: &netlink::route::Link, record: &NetworkRecord) -> bool {
    link.kind.as_deref() == Some("bridge") && link.mac == Some(mac(&record.mac))
}

/// Returns the gateways that are the bridge's own addresses.
fn gateways(record: &NetworkRecord) -> Vec<(IpAddr, u8)> {
    let own = |subnet: &super::record::Subnet| (subnet.gateway, subnet.subnet.prefix_len());
    record.subnets.iter().map(own).collect()
}

fn endpoint_facts(endpoint: &Endpoint) -> Option<EndpointFacts> {
    let Attach::Bridge { bridge, port, .. } = &endpoint.attachment else {
        return None;
    };
    Some(EndpointFacts {
        bridge: bridge.clone(),
        port: port.clone(),
        mac: mac(&endpoint.mac),
        addresses: endpoint.addresses().collect(),
    })
}

/// Returns what the packet filter translates: a container's port is that of its default endpoint. Ports of a family that
/// the container does not have are not the packet filter's.
fn publication_facts(endpoints: &[Endpoint], publications: &[Publication]) -> Vec<firewall::Publication> {
    let Some(endpoint) = publishing(endpoints) else {
        return Vec::new();
    };
    let translate = |one: &Publication| {
        let container = match one.host_ip {
            IpAddr::V4(_) => IpAddr::V4(endpoint.ipv4?.addr()),
            IpAddr::V6(_) => IpAddr::V6(endpoint.ipv6?.addr()),
        };
        Some(firewall::Publication {
            protocol: match one.protocol {
                Protocol::Tcp => firewall::Protocol::Tcp,
                Protocol::Udp => firewall::Protocol::Udp,
                Protocol::Sctp => firewall::Protocol::Sctp,
            },
            host: (one.host_ip != unspecified(one.host_ip)).then_some(one.host_ip),
            first: one.host_port,
            last: one.host_port.saturating_add(one.count - 1),
            container,
            port: one.port,
        })
    };
    publications.iter().filter_map(translate).collect()
}

/// Returns the endpoint by which a container's ports are reached.
pub(crate) fn publishing(endpoints: &[Endpoint]) -> Option<&Endpoint> {
    let can = |endpoint: &&Endpoint| {
        endpoint.port().is_some() && (endpoint.gateway4.is_some() || endpoint.gateway6.is_some())
    };
    let default = endpoints.iter().filter(can).find(|endpoint| endpoint.is_default);
    default.or_else(|| endpoints.iter().find(can))
}

/// Reads a hardware address that was checked before it was recorded.
pub(crate) fn mac(text: &str) -> MacAddress {
    parse_mac(text).unwrap_or(MacAddress([2, 0, 0, 0, 0, 0]))
}

/// Reads a hardware address: six bytes in hex with colons or dashes.
pub(crate) fn parse_mac(text: &str) -> Option<MacAddress> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(MacAddress(bytes))
}
