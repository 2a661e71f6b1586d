//! What the process that answers for names is told: who is on which network, and what each container may ask.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netd_api::message::{self, Name, NameChange};

use super::endpoint::Endpoint;
use super::links;
use super::table::Table;
use crate::Engine;
use crate::container::Container;

/// Decides whether Berth answers a container's questions for names: on every network but the default one, where the
/// machine's own resolvers are asked directly, unless only the machine itself can reach those.
pub(crate) fn are_needed(engine: &Engine, container: &Container, endpoints: &[Endpoint]) -> bool {
    if endpoints.is_empty() {
        return false;
    }
    let own = &container.record().host.dns;
    endpoints.iter().any(Endpoint::has_names)
        || (own.is_empty() && engine.config.network.dns.is_empty() && is_local_only())
}

/// Returns whether the machine's resolvers are reached from the machine alone.
fn is_local_only() -> bool {
    let text = base::file::read_optional(std::path::Path::new("/etc/resolv.conf"), 64 << 10);
    let text = text.ok().flatten().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut servers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"));
    let address = |server: &str| server.trim().parse::<IpAddr>().ok();
    let is_local = |server: &str| address(server).is_none_or(|address| address.is_loopback());
    servers.clone().next().is_some() && servers.all(is_local)
}

/// Returns a network with all its names.
pub(crate) fn network(table: &Table, id: &str) -> Option<message::Network> {
    let network = table.get(id)?;
    let mut names: BTreeMap<String, Name> = BTreeMap::new();
    for change in network.members().values().flat_map(changes) {
        let name = names.entry(change.name.clone()).or_insert_with(|| Name {
            name: change.name,
            addresses: Vec::new(),
            reverse: change.reverse,
        });
        name.addresses.push(change.address);
    }
    Some(message::Network {
        id: id.to_owned(),
        name: network.record.name.clone(),
        internal: network.record.internal,
        names: names.into_values().collect(),
    })
}

/// Returns the names of one endpoint; none on the default network, which netd does not know.
pub(crate) fn changes(endpoint: &Endpoint) -> Vec<NameChange> {
    let mut all = Vec::new();
    if !endpoint.has_names() {
        return all;
    }
    for (at, name) in endpoint.names.iter().enumerate() {
        let addresses = [
            endpoint.ipv4.map(|net| IpAddr::V4(net.addr())),
            endpoint.ipv6.map(|net| IpAddr::V6(net.addr())),
        ];
        all.extend(addresses.into_iter().flatten().map(|address| NameChange {
            network: endpoint.network.clone(),
            name: name.clone(),
            address,
            reverse: at == 0,
        }));
    }
    all
}

/// Returns what one container's questions are answered from.
pub(crate) fn container(
    engine: &Engine,
    container: &Container,
    endpoints: &[Endpoint],
) -> message::Container {
    let record = container.record();
    let config = &engine.config.network;
    let named = endpoints.iter().filter(|endpoint| endpoint.has_names());
    let servers = if record.host.dns.is_empty() {
        &config.dns
    } else {
        &record.host.dns
    };
    let upstreams: Vec<IpAddr> = servers
        .iter()
        .filter_map(|server| server.parse().ok())
        .take(3)
        .collect();
    let options = if record.host.dns_options.is_empty() {
        &config.dns_options
    } else {
        &record.host.dns_options
    };
    let is_internal = |endpoint: &Endpoint| endpoint.gateway4.is_none() && endpoint.gateway6.is_none();
    message::Container {
        id: container.id.to_string(),
        networks: named.map(|endpoint| endpoint.network.clone()).collect(),
        names: linked(engine, container, endpoints),
        upstreams: (!upstreams.is_empty()).then_some(upstreams),
        forwards: !endpoints.iter().all(is_internal),
        keeps_single_labels: options.iter().any(|option| option.starts_with("ndots:")),
    }
}

/// Returns the names that only this container knows: of those it links to, their addresses on networks of both.
fn linked(engine: &Engine, container: &Container, endpoints: &[Endpoint]) -> Vec<Name> {
    let shared = |other: &&Endpoint| endpoints.iter().any(|own| own.network == other.network);
    links::of_others(engine, container)
        .into_iter()
        .map(|(name, view)| Name {
            name,
            addresses: view
                .endpoints
                .iter()
                .filter(shared)
                .flat_map(Endpoint::addresses)
                .collect(),
            reverse: false,
        })
        .filter(|name| !name.addresses.is_empty())
        .collect()
}
