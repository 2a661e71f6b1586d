//! What a container asks of networks: which ones, and what of each; and whether that can be given at all.

use std::collections::BTreeMap;
use std::net::IpAddr;

use oci::endpoint::Rates;

use super::DEFAULT;
use super::error::NetworkError;
use super::kernel::parse_mac;
use super::options::link_name;
use super::record::NetworkRecord;
use super::table::Table;
use crate::Engine;
use crate::config::{Config, EndpointRequest, HostConfig};
use crate::container::{Record, View};

/// A network that a container asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The network as the caller wrote it; the default one by its name.
    pub name: String,
    /// What it asks of it.
    pub request: EndpointRequest,
}

/// Returns the networks that a container asks for, the one of its network mode first; none if it has the network of others.
pub fn asked(engine: &Engine, view: &View) -> Vec<Asked> {
    match engine.registry.get(view.id.as_str()) {
        Some(container) => wanted(engine, &container.record()),
        None => Vec::new(),
    }
}

/// Returns the network mode of a container with the default filled in.
pub fn mode_of<'a>(engine: &Engine, view: &'a View) -> &'a str {
    mode(engine, &view.config, &view.host)
}

/// As [`mode_of`].
pub(crate) fn mode<'a>(engine: &Engine, config: &Config, host: &'a HostConfig) -> &'a str {
    match host.network_mode.as_str() {
        _ if config.network_disabled => "none",
        "" | "default" if engine.config.network.bridge == "none" => "none",
        "" | "default" => DEFAULT,
        mode => mode,
    }
}

/// Returns whether a network mode is one in which a container joins networks.
pub(crate) fn joins(mode: &str) -> bool {
    !matches!(mode, "none" | "host") && !mode.starts_with("container:") && !mode.starts_with("ns:")
}

/// As [`asked`].
pub(crate) fn wanted(engine: &Engine, record: &Record) -> Vec<Asked> {
    let (config, host) = (&record.config, &record.host);
    let mode = mode(engine, config, host);
    if !joins(mode) {
        return Vec::new();
    }
    let table = engine.networks.table();
    let own = id_of(&table, mode);
    let mut first = Asked {
        name: mode.to_owned(),
        request: EndpointRequest::default(),
    };
    let mut rest = Vec::new();
    for (name, request) in &host.endpoints {
        if name == mode || *name == host.network_mode || (own.is_some() && id_of(&table, name) == own) {
            first.request = request.clone();
        } else {
            rest.push(Asked {
                name: name.clone(),
                request: request.clone(),
            });
        }
    }
    if first.request.mac.is_empty() {
        first.request.mac.clone_from(&config.mac_address);
    }
    let first = (!record.left_network).then_some(first);
    first.into_iter().chain(rest).collect()
}

/// Returns whether a network is that of a container's network mode.
pub(crate) fn is_of_mode(engine: &Engine, record: &Record, network: &NetworkRecord) -> bool {
    let mode = mode(engine, &record.config, &record.host);
    joins(mode) && id_of(&engine.networks.table(), mode).as_deref() == Some(network.id.as_str())
}

/// Returns what a container calls a network among its endpoints.
pub(crate) fn key_of(engine: &Engine, record: &Record, network: &NetworkRecord) -> Option<String> {
    let table = engine.networks.table();
    let fits = |name: &&String| {
        id_of(&table, name).as_deref() == Some(network.id.as_str())
            || (matches!(name.as_str(), "" | "default") && network.is_default())
    };
    record.host.endpoints.keys().find(fits).cloned()
}

/// Returns whether any container asks for a network, also one that is stopped.
pub(crate) fn is_named(engine: &Engine, network: &NetworkRecord) -> bool {
    engine.registry.all().iter().any(|container| {
        let record = container.record();
        let left = record.left_network && is_of_mode(engine, &record, network);
        !left && (is_of_mode(engine, &record, network) || key_of(engine, &record, network).is_some())
    })
}

fn id_of(table: &Table, name: &str) -> Option<String> {
    table.find(name).map(|network| network.record.id.clone()).ok()
}

/// Checks what a new container asks for, as far as it does not depend on which networks there are; docker's texts.
pub(crate) fn check(engine: &Engine, config: &Config, host: &HostConfig) -> Result<(), String> {
    let mode = mode(engine, config, host);
    let others = host
        .endpoints
        .keys()
        .filter(|name| **name != host.network_mode && *name != mode)
        .count();
    if !joins(mode) {
        if mode.starts_with("container:") {
            if !host.ports.is_empty() || host.publish_all_ports {
                return Err(
                    "conflicting options: port publishing and the container type network mode".to_owned(),
                );
            }
            if !config.mac_address.is_empty() {
                return Err("conflicting options: mac-address and the network mode".to_owned());
            }
            if !host.links.is_empty() {
                return Err("conflicting options: container type network can't be used with links. This would result in undefined behavior".to_owned());
            }
        }
        if mode != "none" && (!rates(host).is_unlimited() || super::budget::has(host)) {
            return Err(format!(
                "{}: network mode {mode} has none",
                super::shaping::NEEDS_BRIDGE
            ));
        }
        if mode == "host" && !host.links.is_empty() {
            return Err("conflicting options: host type networking can't be used with links. This would result in undefined behavior".to_owned());
        }
        if others > 0 {
            return Err(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                    .to_owned(),
            );
        }
    }
    for request in host.endpoints.values() {
        check_endpoint(request)?;
    }
    for link in &host.links {
        let (name, _) = super::links::parse(link);
        super::links::find(engine, name)?;
    }
    if !config.mac_address.is_empty() && parse_mac(&config.mac_address).is_none() {
        return Err(format!(
            "{} is not a valid mac address",
            config.mac_address.escape_default()
        ));
    }
    Ok(())
}

/// Checks what is asked of one network.
pub(crate) fn check_endpoint(request: &EndpointRequest) -> Result<(), String> {
    if !request.mac.is_empty() && parse_mac(&request.mac).is_none_or(|mac| mac.0[0] & 1 != 0) {
        return Err(format!(
            "{} is not a valid mac address",
            request.mac.escape_default()
        ));
    }
    for address in &request.link_local {
        let good = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if !good {
            return Err(format!("invalid link local IP address: {address}"));
        }
    }
    for alias in &request.aliases {
        if alias.is_empty() || alias.len() > 253 || alias.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            return Err(format!("invalid network alias \"{}\"", alias.escape_default()));
        }
    }
    interface_name(request)
        .and_then(|_name| sysctls(request))
        .map(drop)
}

/// docker's rules for addresses and aliases.
pub(crate) fn check_asked(record: &NetworkRecord, request: &EndpointRequest) -> Result<(), NetworkError> {
    if record.is_default() && !request.aliases.is_empty() {
        return Err(NetworkError::invalid(
            "network-scoped alias is supported only for containers in user defined networks",
        ));
    }
    let asks = [(request.ipv4.is_some(), true), (request.ipv6.is_some(), false)];
    for (_, is_v4) in asks.into_iter().filter(|(asked, _)| *asked) {
        if record.is_default() {
            return Err(NetworkError::invalid(
                "user specified IP address is supported on user defined networks only",
            ));
        }
        let subnet = record
            .subnets
            .iter()
            .find(|subnet| subnet.subnet.addr().is_ipv4() == is_v4);
        if !subnet.is_some_and(|subnet| subnet.asked) {
            return Err(NetworkError::invalid(
                "user specified IP address is supported only when connecting to networks with user configured subnets",
            ));
        }
        let address = if is_v4 {
            request.ipv4.map(IpAddr::V4)
        } else {
            request.ipv6.map(IpAddr::V6)
        };
        if let (Some(address), Some(subnet)) = (address, subnet)
            && !subnet.subnet.contains(&address)
        {
            return Err(NetworkError::invalid(
                network::address::TakeError::Outside { address }.to_string(),
            ));
        }
    }
    Ok(())
}

const NAME_OPTION: &str = "com.docker.network.endpoint.ifname";
const SYSCTLS_OPTION: &str = "com.docker.network.endpoint.sysctls";

pub(crate) fn interface_name(request: &EndpointRequest) -> Result<Option<String>, String> {
    let unknown = |name: &&String| {
        name.starts_with("com.docker.network.") && *name != NAME_OPTION && *name != SYSCTLS_OPTION
    };
    if let Some(name) = request.driver_opts.keys().find(unknown) {
        return Err(format!(
            "endpoint option {} is not supported by this version of Berth",
            name.escape_default()
        ));
    }
    let Some(name) = request.driver_opts.get(NAME_OPTION) else {
        return Ok(None);
    };
    link_name(NAME_OPTION, name)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// Reads `net.ipv4.conf.IFNAME.name=value,…`; the word IFNAME stands for the interface.
pub(crate) fn sysctls(request: &EndpointRequest) -> Result<BTreeMap<String, String>, String> {
    let Some(text) = request.driver_opts.get(SYSCTLS_OPTION) else {
        return Ok(BTreeMap::new());
    };
    let mut all = BTreeMap::new();
    for part in text.split(',') {
        let bad = || format!("invalid endpoint sysctl \"{}\"", part.escape_default());
        let (name, value) = part.split_once('=').ok_or_else(bad)?;
        let words: Vec<&str> = name.split('.').collect();
        // docker's client puts it into lower case.
        let is_interface = |word: &str| word.eq_ignore_ascii_case("IFNAME");
        let last = match words.as_slice() {
            ["net", "ipv4" | "ipv6", "conf" | "neigh", word, last]
                if is_interface(word) && !last.is_empty() && !last.contains('/') =>
            {
                last
            }
            _ => return Err(bad()),
        };
        all.insert(
            format!("net.{}.{}.IFNAME.{last}", words[1], words[2]),
            value.to_owned(),
        );
    }
    Ok(all)
}

/// Returns how much a container may receive and send on each of its networks, in bytes.
pub(crate) fn rates(host: &HostConfig) -> Rates {
    let bytes = |bits: u64| (bits > 0).then_some((bits / 8).max(1));
    Rates {
        received: bytes(host.net_rate_in),
        sent: bytes(host.net_rate_out),
    }
}
