//! Joining at a start, and leaving at the end of a run.
//!
//! Addresses and ports are taken in memory and become part of the container's state record before anything is made of
//! them. Leaving is safe when nothing was taken.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base::error::chain;
use ipnet::{Ipv4Net, Ipv6Net};
use netlink::NetlinkError;
use network::address::mac_address;
use oci::endpoint::Settings;

use super::ask::{self, Asked, check_asked, interface_name, rates, sysctls};
use super::endpoint::{Attach, Endpoint};
use super::error::NetworkError;
use super::kernel::{Kernel, parse_mac};
use super::publish::publish;
use super::record::NetworkRecord;
use super::table::{Network, Table};
use super::{budget, extension, guard, names, open, record_file, resolver, shaping, tell};
use crate::Engine;
use crate::config::{EndpointRequest, HostConfig};
use crate::container::{Container, Dns, Place};

/// Takes everything that a container needs to join its networks. What was taken is undone by [`leave`].
pub(crate) fn allocate(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), NetworkError> {
    let record = container.record();
    let asked = ask::wanted(engine, &record);
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
    if (!rates(&record.host).is_unlimited() || budget::has(&record.host))
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
    let is_answered = names::are_needed(engine, container, &endpoints);
    container.publish(|view| {
        view.endpoints = Arc::new(endpoints);
        view.publications = Arc::new(publications);
        view.is_answered = is_answered;
    });
    Ok(())
}

/// Makes the kernel ready for what was allocated: bridges, and the packet filter.
pub(crate) fn attach(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<(), NetworkError> {
    let view = container.view();
    if view.endpoints.is_empty() {
        return Ok(());
    }
    attach_endpoints(engine, &view.endpoints, |kernel, table| {
        kernel.add(table, &view.endpoints, &view.publications)
    })?;
    budget::apply(engine, container, &view)?;
    for endpoint in view.endpoints.iter() {
        let record = engine.networks.table().record(&endpoint.network);
        if let Ok(record) = record {
            tell(engine, "connect", &record, Some(container.id.as_str()));
        }
    }
    Ok(())
}

/// Makes the bridges of endpoints, and lets the packet filter know them by `tell`.
pub(crate) fn attach_endpoints(
    engine: &Arc<Engine>,
    endpoints: &[Endpoint],
    tell: impl FnOnce(&mut Kernel, &mut Table) -> Result<(), NetlinkError>,
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
        extension::make(&mut kernel, &record, endpoint.extension)?;
    }
    if !kernel.is_in_place() {
        open::remember(engine)
            .map_err(|error| NetworkError::step("remember the packet filter of", &name, error))?;
    }
    tell(&mut kernel, &mut engine.networks.table())
        .map_err(|error| NetworkError::step("let the packet filter know endpoints of", &name, error))?;
    guard::watch(engine, &mut kernel);
    Ok(())
}

/// Takes a container off its networks, when its run has ended or its start has failed. The kernel's side follows after the
/// reply; the cables are gone with the namespace.
pub(crate) fn leave(engine: &Arc<Engine>, container: &Arc<Container>) {
    let mut shaped: Vec<String> = Vec::new();
    let (left, held) = {
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
        (left, table.budgets.remove(container.id.as_str()))
    };
    container.publish(|view| {
        view.endpoints = Arc::default();
        view.publications = Arc::default();
        view.is_answered = false;
    });
    for record in left {
        tell(engine, "disconnect", &record, Some(container.id.as_str()));
    }
    let (worker, id) = (Arc::clone(engine), container.id.clone());
    engine.defer(move || {
        let mut kernel = worker.networks.kernel();
        // The shim has removed them, unless it was killed.
        shaping::release(&mut kernel, &shaped);
        if let Some(held) = held {
            budget::settle(&worker, &mut kernel, &id, &held);
        }
        let mut table = worker.networks.table();
        if let Err(error) = kernel.forget_gone(&mut table) {
            tracing::warn!(error = %chain(&error), "the packet filter still knows a container that has ended");
        }
    });
}

/// Returns what the shim needs to plug the container in.
pub(crate) fn sandbox(engine: &Engine, container: &Container) -> Option<shim_api::task::Sandbox> {
    let view = container.view();
    let endpoints = &view.endpoints;
    if endpoints.is_empty() {
        return None;
    }
    Some(shim_api::task::Sandbox {
        endpoints: endpoints
            .iter()
            .map(|endpoint| recipe(endpoint, &container.record().host))
            .collect(),
        resolver: view.is_answered.then(|| resolver::socket(engine)),
        notes: record_file::notes(container),
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
        resolver: view.is_answered,
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
        "macvlan" => Attach::Macvlan {
            parent,
            mode: settings.mode,
        },
        "ipvlan" => Attach::Ipvlan {
            parent,
            mode: settings.mode,
            flag: settings.flag,
        },
        "phys" => Attach::Phys { link: parent },
        _ => Attach::Bridge {
            bridge: record.bridge.clone(),
            port: format!("bv{}", &id[..11]),
            talking: settings.talking,
        },
    };
    let extension = match attachment {
        Attach::Bridge { .. } => network.free_extension()?,
        _ => 0,
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
    for (taken, &address) in request.floating.iter().enumerate() {
        if let Err(error) = network.take(container, address.is_ipv4(), Some(address)) {
            let own = v4.into_iter().chain(v6);
            for address in own.chain(request.floating.iter().take(taken).copied()) {
                network.give_back(address);
            }
            return Err(taking(error));
        }
    }
    let gateway = |is_v4: bool| {
        subnet(is_v4)
            .filter(|_| !record.internal)
            .map(|subnet| subnet.gateway)
    };
    Ok(Endpoint {
        network: record.id.clone(),
        network_name: record.name.clone(),
        attachment,
        extension,
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
        floating: request.floating.clone(),
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

pub(crate) fn take_error(record: &NetworkRecord, error: network::address::TakeError) -> NetworkError {
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

/// Returns what is needed to plug a container in.
pub(crate) fn recipe(endpoint: &Endpoint, host: &HostConfig) -> Settings {
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
    let floating = endpoint.floating.iter().map(|&address| match address {
        IpAddr::V4(_) => (address, 32),
        IpAddr::V6(_) => (address, 128),
    });
    let gateways = [
        endpoint.gateway4.map(IpAddr::V4),
        endpoint.gateway6.map(IpAddr::V6),
    ];
    Settings {
        attach: extension::attach(endpoint),
        interface: endpoint.interface.clone(),
        mac: parse_mac(&endpoint.mac).map(|mac| mac.0),
        mtu: endpoint.mtu,
        addresses: v4.into_iter().chain(v6).chain(local).chain(floating).collect(),
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
