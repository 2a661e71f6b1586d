//! Joining at a start, and leaving at the end of a run.
//!
//! Addresses and ports are taken in memory and become part of the container's state record before anything is made of
//! them. Leaving is safe when nothing was taken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base::error::chain;
use ipnet::{Ipv4Net, Ipv6Net};
use network::address::mac_address;

use super::endpoint::{Attachment, Endpoint, Publication};
use super::error::NetworkError;
use super::kernel::{parse_mac, publishing};
use super::options::link_name;
use super::ports::Taken;
use super::record::NetworkRecord;
use super::table::{Network, Table};
use super::{DEFAULT, guard, names, open, resolver, shaping, tell};
use crate::Engine;
use crate::config::{Config, EndpointRequest, HostConfig, PortRequest};
use crate::container::{Container, Dns, Place, Record, View};

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

fn id_of(table: &Table, name: &str) -> Option<String> {
    table.find(name).map(|network| network.record.id.clone()).ok()
}

/// Returns whether any container asks for a network, also one that is stopped.
pub(crate) fn is_named(engine: &Engine, network: &NetworkRecord) -> bool {
    engine.registry.all().iter().any(|container| {
        let record = container.record();
        let left = record.left_network && is_of_mode(engine, &record, network);
        !left && (is_of_mode(engine, &record, network) || key_of(engine, &record, network).is_some())
    })
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
        if let Err(error) = engine.registry.find(name) {
            return Err(format!(
                "could not get container for {}: {error}",
                name.escape_default()
            ));
        }
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

/// Takes everything that a container needs to join its networks. What was taken is undone by [`leave`].
pub(crate) fn allocate(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), NetworkError> {
    let record = container.record();
    let asked = wanted(engine, &record);
    if asked.is_empty() {
        return Ok(());
    }
    let id = container.id.as_str();
    let name = container.view().name.clone();
    let mut table = engine.networks.table();
    let mut endpoints = Vec::with_capacity(asked.len());
    for asked in &asked {
        match join_one(&mut table, container, &name, asked, &endpoints) {
            Ok(endpoint) => {
                table.adopt(id, endpoint.clone());
                endpoints.push(endpoint);
            }
            Err(error) => {
                table.cancel(id);
                return Err(error);
            }
        }
    }
    if !rates(&record.host).is_unlimited()
        && let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.port().is_none())
    {
        table.cancel(id);
        return Err(shaping::no_bridge(endpoint));
    }
    let priorities: Vec<i64> = asked.iter().map(|asked| asked.request.gw_priority).collect();
    choose_default(&mut endpoints, &priorities);
    for endpoint in &endpoints {
        table.adopt(id, endpoint.clone());
    }
    let publications = match publish(engine, &mut table, container, &endpoints) {
        Ok(publications) => publications,
        Err(error) => {
            table.cancel(id);
            return Err(error);
        }
    };
    if !publications.is_empty() {
        table.published.insert(id.to_owned(), publications.clone());
    }
    drop(table);
    container.publish(|view| {
        view.endpoints = Arc::new(endpoints);
        view.publications = Arc::new(publications);
    });
    Ok(())
}

/// Makes the kernel ready for what was allocated: bridges, and the packet filter.
pub(crate) fn attach(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), NetworkError> {
    let view = container.view();
    if view.endpoints.is_empty() {
        return Ok(());
    }
    attach_endpoints(engine, &view.endpoints, &view.publications)?;
    for endpoint in view.endpoints.iter() {
        let record = engine.networks.table().record(&endpoint.network);
        if let Ok(record) = record {
            tell(engine, "connect", &record, Some(container.id.as_str()));
        }
    }
    Ok(())
}

pub(crate) fn attach_endpoints(
    engine: &Arc<Engine>,
    endpoints: &[Endpoint],
    publications: &[Publication],
) -> Result<(), NetworkError> {
    let name = endpoints
        .first()
        .map(|endpoint| endpoint.network_name.clone())
        .unwrap_or_default();
    let mut kernel = engine.networks.kernel();
    for endpoint in endpoints {
        let record = engine.networks.table().record(&endpoint.network)?;
        guard::look(engine, &mut kernel, &record)?;
        kernel.make_bridge(&record)?;
    }
    if !kernel.is_in_place() {
        open::remember(engine)
            .map_err(|error| NetworkError::step("remember the packet filter of", &name, error))?;
    }
    kernel
        .add(&mut engine.networks.table(), endpoints, publications)
        .map_err(|error| NetworkError::step("let the packet filter know endpoints of", &name, error))?;
    guard::watch(engine, &mut kernel);
    Ok(())
}

/// Takes a container off its networks, when its run has ended or its start has failed. The kernel's side follows after the
/// reply; the cables are gone with the namespace.
pub(crate) fn leave(engine: &Arc<Engine>, container: &Arc<Container>) {
    let mut shaped: Vec<String> = Vec::new();
    let left = {
        let mut table = engine.networks.table();
        let (endpoints, publications) = table.release(container.id.as_str());
        if endpoints.is_empty() && publications.is_empty() {
            return;
        }
        let record = |endpoint: &Endpoint| table.record(&endpoint.network).ok();
        let left: Vec<Arc<NetworkRecord>> = endpoints.iter().filter_map(record).collect();
        resolver::leave(engine, container, endpoints.clone(), !publications.is_empty());
        if !rates(&container.record().host).is_unlimited() {
            shaped.extend(endpoints.iter().filter_map(Endpoint::port).map(str::to_owned));
        }
        table.gone.push((endpoints, publications));
        left
    };
    container.publish(|view| {
        view.endpoints = Arc::default();
        view.publications = Arc::default();
    });
    for record in left {
        tell(engine, "disconnect", &record, Some(container.id.as_str()));
    }
    let worker = Arc::clone(engine);
    engine.defer(move || {
        let mut kernel = worker.networks.kernel();
        // The shim has removed them, unless it was killed.
        shaping::release(&mut kernel, &shaped);
        let mut table = worker.networks.table();
        if let Err(error) = kernel.forget_gone(&mut table) {
            tracing::warn!(error = %chain(&error), "the packet filter still knows a container that has ended");
        }
    });
}

/// Returns what the shim needs to plug the container in.
pub(crate) fn sandbox(engine: &Engine, container: &Container) -> Option<shim_api::task::Sandbox> {
    let endpoints = &container.view().endpoints;
    if endpoints.is_empty() {
        return None;
    }
    Some(shim_api::task::Sandbox {
        endpoints: endpoints
            .iter()
            .map(|endpoint| sandbox_endpoint(endpoint, &container.record().host))
            .collect(),
        resolver: names::are_needed(engine, container, endpoints).then(|| resolver::socket(engine)),
    })
}

/// Returns where a container is, for its /etc/hosts and /etc/resolv.conf.
pub(crate) fn place(engine: &Engine, container: &Container) -> Result<Place, NetworkError> {
    let view = container.view();
    let config = &engine.config.network;
    let mut endpoints: Vec<&Endpoint> = view.endpoints.iter().collect();
    endpoints.sort_by_key(|endpoint| !endpoint.is_default);
    let gateway = endpoints.iter().find_map(|endpoint| {
        endpoint
            .gateway4
            .map(IpAddr::V4)
            .or(endpoint.gateway6.map(IpAddr::V6))
    });
    let links = super::links::of_default(engine, container)?;
    Ok(Place {
        addresses: endpoints
            .iter()
            .flat_map(|endpoint| endpoint.addresses())
            .collect(),
        host_gateway: gateway
            .or_else(|| (view.host.network_mode == "host").then_some(Ipv4Addr::LOCALHOST.into())),
        links: links.iter().map(|link| (link.address, link.names())).collect(),
        resolver: names::are_needed(engine, container, &view.endpoints),
        dns: Dns {
            servers: config.dns.clone(),
            options: config.dns_options.clone(),
            search: config.dns_search.clone(),
        },
    })
}

fn join_one(
    table: &mut Table,
    container: &Container,
    name: &str,
    asked: &Asked,
    others: &[Endpoint],
) -> Result<Endpoint, NetworkError> {
    let id = table.find(&asked.name)?.record.id.clone();
    let network = table.get_mut(&id).ok_or_else(|| NetworkError::NotFound {
        name: asked.name.clone(),
    })?;
    let names = names_of(container, name, &asked.request);
    let used: BTreeSet<&str> = others
        .iter()
        .map(|endpoint| endpoint.interface.as_str())
        .collect();
    take_place(network, container.id.as_str(), &asked.request, names, &used)
}

/// Returns the names that others on a network know a container by.
pub(crate) fn names_of(container: &Container, name: &str, request: &EndpointRequest) -> Vec<String> {
    let hostname = container.record().config.hostname.clone();
    let all = std::iter::once(name.to_owned())
        .chain(request.aliases.iter().cloned())
        .chain(std::iter::once(container.id.short().to_owned()))
        .chain((!hostname.is_empty()).then_some(hostname));
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Takes a place on a network: addresses and an interface name. The addresses are given back if it fails.
pub(crate) fn take_place(
    network: &mut Network,
    container: &str,
    request: &EndpointRequest,
    names: Vec<String>,
    used: &BTreeSet<&str>,
) -> Result<Endpoint, NetworkError> {
    let record = Arc::clone(&network.record);
    let settings = record.settings();
    check_asked(&record, request)?;
    let id = base::id::random_hex::<32>()
        .map_err(|error| NetworkError::step("draw an endpoint's id for", &record.name, error))?;
    let interface = match interface_name(request).map_err(NetworkError::invalid)? {
        Some(name) => name,
        None => (0..=used.len())
            .map(|number| format!("{}{number}", settings.interface))
            .find(|name| !used.contains(name.as_str()))
            .unwrap_or_else(|| format!("{}0", settings.interface)),
    };
    if used.contains(interface.as_str()) {
        return Err(NetworkError::invalid(format!(
            "interface name {interface} is used twice"
        )));
    }
    let sysctls = sysctls(request).map_err(NetworkError::invalid)?;
    let parent = settings.parent.unwrap_or_default();
    let attachment = match record.driver.as_str() {
        "macvlan" => Attachment::Macvlan {
            parent,
            mode: settings.mode,
        },
        "ipvlan" => Attachment::Ipvlan {
            parent,
            mode: settings.mode,
            flag: settings.flag,
        },
        "phys" => Attachment::Phys { link: parent },
        _ => Attachment::Bridge {
            bridge: record.bridge.clone(),
            port: format!("bv{}", &id[..11]),
        },
    };
    let taking = |error: network::address::TakeError| take_error(&record, error);
    let v4 = network
        .take(container, true, request.ipv4.map(IpAddr::V4))
        .map_err(taking)?;
    let v6 = match network.take(container, false, request.ipv6.map(IpAddr::V6)) {
        Ok(v6) => v6,
        Err(error) => {
            v4.inspect(|&address| network.give_back(address));
            return Err(taking(error));
        }
    };
    let subnet = |is_v4: bool| {
        record
            .subnets
            .iter()
            .find(|subnet| subnet.subnet.addr().is_ipv4() == is_v4)
    };
    let ipv4 = match (v4, subnet(true)) {
        (Some(IpAddr::V4(address)), Some(subnet)) => Ipv4Net::new(address, subnet.subnet.prefix_len()).ok(),
        _ => None,
    };
    let ipv6 = match (v6, subnet(false)) {
        (Some(IpAddr::V6(address)), Some(subnet)) => Ipv6Net::new(address, subnet.subnet.prefix_len()).ok(),
        _ => None,
    };
    let gateway = |is_v4: bool| {
        subnet(is_v4)
            .filter(|_| !record.internal)
            .map(|subnet| subnet.gateway)
    };
    Ok(Endpoint {
        network: record.id.clone(),
        network_name: record.name.clone(),
        attachment,
        interface,
        mac: match parse_mac(&request.mac) {
            Some(mac) => mac.to_string(),
            // They have that of the machine's interface.
            None if matches!(record.driver.as_str(), "ipvlan" | "phys") => String::new(),
            None => own_mac(ipv4, &id),
        },
        ipv4,
        ipv6,
        link_local: request.link_local.clone(),
        gateway4: gateway(true).and_then(|gateway| match gateway {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        }),
        gateway6: gateway(false).and_then(|gateway| match gateway {
            IpAddr::V6(gateway) => Some(gateway),
            IpAddr::V4(_) => None,
        }),
        is_default: false,
        mtu: settings.mtu,
        talking: settings.talking,
        names,
        sysctls,
        id,
    })
}

/// As docker has it, the hardware address follows the IPv4 address: who remembers the one knows the other when it is given
/// to the next container.
fn own_mac(ipv4: Option<Ipv4Net>, id: &str) -> String {
    match ipv4 {
        Some(net) => {
            let [a, b, c, d] = net.addr().octets();
            mac_address([0x02, 0x42, a, b, c, d]).to_string()
        }
        None => super::create::mac_of(id),
    }
}

fn take_error(record: &NetworkRecord, error: network::address::TakeError) -> NetworkError {
    use network::address::TakeError;
    match error {
        TakeError::Taken => NetworkError::Forbidden {
            text: "Address already in use".to_owned(),
        },
        TakeError::Outside { .. } => NetworkError::invalid(error.to_string()),
        TakeError::Exhausted { .. } => NetworkError::Conflict {
            text: format!("network {}: {error}", record.name),
        },
    }
}

/// Returns how much a container may receive and send on each of its networks, in bytes.
pub(crate) fn rates(host: &HostConfig) -> shim_api::task::Rates {
    let bytes = |bits: u64| (bits > 0).then_some((bits / 8).max(1));
    shim_api::task::Rates {
        received: bytes(host.net_rate_in),
        sent: bytes(host.net_rate_out),
    }
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

fn interface_name(request: &EndpointRequest) -> Result<Option<String>, String> {
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
fn sysctls(request: &EndpointRequest) -> Result<BTreeMap<String, String>, String> {
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

/// The endpoint with the highest priority gives the default routes; of equals the one whose network's name comes first.
pub(crate) fn choose_default(endpoints: &mut [Endpoint], priorities: &[i64]) {
    let has_gateway = |endpoint: &Endpoint| endpoint.gateway4.is_some() || endpoint.gateway6.is_some();
    let best = endpoints
        .iter()
        .zip(priorities)
        .enumerate()
        .filter(|(_, (endpoint, _))| has_gateway(endpoint))
        .min_by_key(|(_, (endpoint, priority))| {
            (
                std::cmp::Reverse(**priority),
                endpoint.gateway4.is_none(),
                endpoint.network_name.clone(),
            )
        })
        .map(|(at, _)| at);
    for (at, endpoint) in endpoints.iter_mut().enumerate() {
        endpoint.is_default = Some(at) == best;
    }
}

/// Takes the ports of the host.
fn publish(
    engine: &Engine,
    table: &mut Table,
    container: &Container,
    endpoints: &[Endpoint],
) -> Result<Vec<Publication>, NetworkError> {
    let Some(endpoint) = publishing(endpoints) else {
        return Ok(Vec::new());
    };
    let network = table.get(&endpoint.network);
    let of_network = network.and_then(|network| network.record.settings().host_address);
    let default = of_network
        .or(engine.config.network.host_address)
        .filter(|address| !address.is_unspecified());
    let record = container.record();
    let mut requests: Vec<PortRequest> = record.host.ports.clone();
    if record.host.publish_all_ports {
        for exposed in &record.config.exposed_ports {
            let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
            if let (Ok(port), Ok(protocol)) = (port.parse(), protocol.parse())
                && !requests
                    .iter()
                    .any(|known| (known.port, known.protocol) == (port, protocol))
            {
                requests.push(PortRequest {
                    port,
                    protocol,
                    ..PortRequest::default()
                });
            }
        }
    }
    let everywhere = resolver::everywhere(endpoint.ipv4.is_some(), endpoint.ipv6.is_some(), requests.len());
    let with_addresses: Vec<(PortRequest, Vec<IpAddr>)> = requests
        .into_iter()
        .map(|request| match request.host_ip.or(default) {
            Some(address) => (request, vec![address]),
            None => (request, everywhere.clone()),
        })
        .filter(|(_, addresses)| !addresses.is_empty())
        .collect();
    table
        .ports
        .take(container.id.as_str(), &with_addresses, any_ports())
        .map_err(|taken| port_taken(engine, container, endpoint, &taken))
}

/// Returns the ports that the kernel gives to those who name none.
fn any_ports() -> (u16, u16) {
    let text = base::file::read_optional(std::path::Path::new("/proc/sys/net/ipv4/ip_local_port_range"), 64);
    let text = text.ok().flatten().unwrap_or_default();
    let mut numbers = std::str::from_utf8(&text)
        .unwrap_or_default()
        .split_whitespace()
        .map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) if first > 0 && first <= last => (first, last),
        _ => (32_768, 60_999),
    }
}

fn port_taken(engine: &Engine, container: &Container, endpoint: &Endpoint, taken: &Taken) -> NetworkError {
    let (address, port) = taken.at;
    let at = std::net::SocketAddr::new(address, port);
    let holder = taken
        .holder
        .as_deref()
        .and_then(|holder| engine.registry.get(holder));
    let by = holder
        .map(|holder| format!(" to container {}", holder.view().name))
        .unwrap_or_default();
    NetworkError::Port {
        text: format!(
            "driver failed programming external connectivity on endpoint {} ({}): Bind for {at} failed: port is already allocated{by}",
            container.view().name,
            endpoint.id
        ),
    }
}

pub(crate) fn sandbox_endpoint(endpoint: &Endpoint, host: &HostConfig) -> shim_api::task::SandboxEndpoint {
    use shim_api::task::Attach;
    let v4 = endpoint
        .ipv4
        .map(|net| (IpAddr::V4(net.addr()), net.prefix_len()));
    let v6 = endpoint
        .ipv6
        .map(|net| (IpAddr::V6(net.addr()), net.prefix_len()));
    let local = endpoint.link_local.iter().map(|&address| match address {
        IpAddr::V4(_) => (address, 16),
        IpAddr::V6(_) => (address, 64),
    });
    let gateways = [
        endpoint.gateway4.map(IpAddr::V4),
        endpoint.gateway6.map(IpAddr::V6),
    ];
    shim_api::task::SandboxEndpoint {
        attach: match endpoint.attachment.clone() {
            Attachment::Bridge { bridge, port } => Attach::Bridge {
                bridge,
                port,
                talking: endpoint.talking,
            },
            Attachment::Macvlan { parent, mode } => Attach::Macvlan { parent, mode },
            Attachment::Ipvlan { parent, mode, flag } => Attach::Ipvlan { parent, mode, flag },
            Attachment::Phys { link } => Attach::Phys { link },
        },
        interface: endpoint.interface.clone(),
        mac: parse_mac(&endpoint.mac).map(|mac| mac.0),
        mtu: endpoint.mtu,
        addresses: v4.into_iter().chain(v6).chain(local).collect(),
        gateways: gateways
            .into_iter()
            .flatten()
            .filter(|_| endpoint.is_default)
            .collect(),
        routes: Vec::new(),
        sysctls: endpoint.sysctls.clone(),
        rates: rates(host),
    }
}
