//! Networks: what containers ask of them and have of them, and networks themselves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api_types::network::{
    ConfigReference, EndpointIpamConfig, EndpointResource, EndpointSettings, Ipam, IpamConfig, Network,
    NetworkSettings, PortBinding,
};
use base::clock::Timestamp;
use engine::Engine;
use engine::config::{Config, EndpointRequest, HostConfig};
use engine::container::View;
use engine::network::{Asked, Endpoint, HOST_ID, NONE_ID, NetworkDetails};

use super::list;
use crate::status::ApiError;
use crate::version::ApiVersion;

/// Docker's words for options that mean nothing in the network of others.
pub(crate) fn check_mode(config: &Config, host: &HostConfig) -> Result<(), ApiError> {
    for link in &host.links {
        if link.is_empty() || link.split(':').count() > 2 {
            return Err(ApiError::invalid(format!(
                "bad format for links: {}",
                shown(link)
            )));
        }
    }
    let Some(container) = host.network_mode.strip_prefix("container:") else {
        return Ok(());
    };
    if container.is_empty() {
        return Err(ApiError::invalid(
            "Invalid network mode: invalid container format container:<name|id>",
        ));
    }
    let conflicts = [
        (!host.dns.is_empty(), "dns and the network mode"),
        (
            !host.extra_hosts.is_empty(),
            "custom host-to-IP mapping and the network mode",
        ),
        (
            !config.exposed_ports.is_empty(),
            "port exposing and the container type network mode",
        ),
    ];
    match conflicts.into_iter().find(|(set, _)| *set) {
        Some((_, what)) => Err(ApiError::invalid(format!("conflicting options: {what}"))),
        None => Ok(()),
    }
}

/// Translates `NetworkingConfig` of a new container into what `host` asks of networks.
pub(crate) fn add_endpoints(
    host: &mut HostConfig,
    endpoints: BTreeMap<String, Option<EndpointSettings>>,
    version: ApiVersion,
) -> Result<(), ApiError> {
    if version < ApiVersion::v1(44) && endpoints.len() > 1 {
        let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
        return Err(ApiError::invalid(format!(
            "Container cannot be connected to network endpoints: {}",
            names.join(", ")
        )));
    }
    let is_default = matches!(host.network_mode.as_str(), "" | "default");
    for (name, settings) in endpoints {
        let Some(mut settings) = settings else {
            return Err(ApiError::invalid(format!("no EndpointSettings for {name}")));
        };
        if version < ApiVersion::v1(44) {
            // It stood in the container's configuration then, and here it meant nothing.
            settings.mac_address.clear();
        }
        let request = endpoint_from(settings)?;
        let is_of_mode =
            name == host.network_mode || (is_default && matches!(name.as_str(), "default" | "bridge"));
        if is_of_mode && request == EndpointRequest::default() {
            continue;
        }
        host.endpoints.insert(name, request);
    }
    // As in docker, who names networks and no mode is on those networks and not on the default one too.
    let names_default = host
        .endpoints
        .keys()
        .any(|name| matches!(name.as_str(), "default" | "bridge"));
    if is_default
        && !names_default
        && let Some(first) = host.endpoints.keys().next()
    {
        host.network_mode.clone_from(first);
    }
    Ok(())
}

/// Translates what a container asks of one network.
pub(crate) fn endpoint_from(settings: EndpointSettings) -> Result<EndpointRequest, ApiError> {
    let addresses = settings.ipam_config.unwrap_or_default();
    let wrong = |text: String| ApiError::invalid(format!("invalid endpoint settings:\n{text}"));
    let ipv4 = match addresses.ipv4_address.as_str() {
        "" => None,
        text => match text.parse::<Ipv4Addr>() {
            Ok(address) if !address.is_unspecified() => Some(address),
            _ => return Err(wrong(format!("invalid IPv4 address: {}", shown(text)))),
        },
    };
    let ipv6 = match addresses.ipv6_address.as_str() {
        "" => None,
        text => match text.parse::<Ipv6Addr>() {
            Ok(address) if !address.is_unspecified() && address.to_ipv4_mapped().is_none() => Some(address),
            _ => return Err(wrong(format!("invalid IPv6 address: {}", shown(text)))),
        },
    };
    let link_local = addresses
        .link_local_ips
        .iter()
        .map(|text| match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() => Ok(address),
            _ => Err(wrong(format!("invalid link-local IP address: {}", shown(text)))),
        });
    Ok(EndpointRequest {
        ipv4,
        ipv6,
        link_local: link_local.collect::<Result<_, _>>()?,
        floating: Vec::new(),
        mac: settings.mac_address.replace('-', ":").to_ascii_lowercase(),
        aliases: settings.aliases.unwrap_or_default(),
        links: settings.links.unwrap_or_default(),
        driver_opts: settings.driver_opts.unwrap_or_default(),
        gw_priority: settings.gw_priority,
    })
}

fn shown(text: &str) -> String {
    text.escape_default().to_string()
}

/// Returns the networks of a container, by name: what it asked for, and what it has while it runs.
pub(crate) fn networks(
    engine: &Engine,
    view: &View,
    version: ApiVersion,
) -> BTreeMap<String, EndpointSettings> {
    if view.config.network_disabled {
        return BTreeMap::new();
    }
    let mode = engine::network::mode_of(engine, view);
    if let Some(id) = match mode {
        "host" => Some(HOST_ID),
        "none" => Some(NONE_ID),
        _ => None,
    } {
        let was_there = view.started_at != Timestamp::NEVER;
        let endpoint = EndpointSettings {
            network_id: if was_there { id.to_owned() } else { String::new() },
            // There is one for each container, so its id will do.
            endpoint_id: if view.status.has_process() {
                view.id.to_string()
            } else {
                String::new()
            },
            ..EndpointSettings::default()
        };
        return BTreeMap::from([(mode.to_owned(), endpoint)]);
    }
    let asked = engine::network::asked(engine, view);
    let networks = asked.into_iter().map(|asked| {
        let is_it = |endpoint: &&Endpoint| {
            endpoint.network_name == asked.name || endpoint.network.starts_with(&asked.name)
        };
        if let Some(has) = view.endpoints.iter().find(is_it) {
            let settings = endpoint_to(view, &asked, Some(has), has.network.clone(), version);
            return (has.network_name.clone(), settings);
        }
        let (name, id) = match engine::network::named(engine, &asked.name) {
            // As in docker, one that was never started has not met its networks.
            Some((name, _)) if view.started_at == Timestamp::NEVER => (name, String::new()),
            Some(network) => network,
            // It was removed since.
            None => (asked.name.clone(), String::new()),
        };
        (name, endpoint_to(view, &asked, None, id, version))
    });
    networks.collect()
}

fn endpoint_to(
    view: &View,
    asked: &Asked,
    has: Option<&Endpoint>,
    network: String,
    version: ApiVersion,
) -> EndpointSettings {
    let request = &asked.request;
    let text = |address: Option<String>| address.unwrap_or_default();
    let ipam = EndpointIpamConfig {
        ipv4_address: text(request.ipv4.map(|address| address.to_string())),
        ipv6_address: text(request.ipv6.map(|address| address.to_string())),
        link_local_ips: request.link_local.iter().map(ToString::to_string).collect(),
    };
    let mut aliases = request.aliases.clone();
    if version < ApiVersion::v1(45) && asked.name != engine::network::DEFAULT {
        for name in [view.id.short(), &view.config.hostname] {
            if !name.is_empty() && !aliases.iter().any(|alias| alias == name) {
                aliases.push(name.to_owned());
            }
        }
    }
    let settings = EndpointSettings {
        ipam_config: Some(ipam).filter(|ipam| *ipam != EndpointIpamConfig::default()),
        links: list(&request.links),
        aliases: list(&aliases),
        mac_address: request.mac.clone(),
        driver_opts: Some(request.driver_opts.clone()).filter(|options| !options.is_empty()),
        gw_priority: request.gw_priority,
        berth_floating_addresses: request.floating.iter().map(ToString::to_string).collect(),
        network_id: network,
        ..EndpointSettings::default()
    };
    let Some(has) = has else { return settings };
    EndpointSettings {
        mac_address: has.mac.clone(),
        endpoint_id: has.id.clone(),
        gateway: text(has.gateway4.map(|address| address.to_string())),
        ip_address: text(has.ipv4.map(|net| net.addr().to_string())),
        ip_prefix_len: has.ipv4.map_or(0, |net| net.prefix_len().into()),
        ipv6_gateway: text(has.gateway6.map(|address| address.to_string())),
        global_ipv6_address: text(has.ipv6.map(|net| net.addr().to_string())),
        global_ipv6_prefix_len: has.ipv6.map_or(0, |net| net.prefix_len().into()),
        dns_names: (has.network_name != engine::network::DEFAULT).then(|| has.names.clone()),
        ..settings
    }
}

/// Returns as much of the networks of a container as lists show.
pub(crate) fn listed_networks(
    engine: &Engine,
    view: &View,
    version: ApiVersion,
) -> BTreeMap<String, EndpointSettings> {
    let mut networks = networks(engine, view, version);
    for endpoint in networks.values_mut() {
        endpoint.aliases = None;
        endpoint.links = None;
        endpoint.driver_opts = None;
        endpoint.dns_names = None;
    }
    networks
}

/// Returns the network settings of a container. The flat fields are those of the default network.
pub(crate) fn settings(engine: &Engine, view: &View, version: ApiVersion) -> NetworkSettings {
    let networks = networks(engine, view, version);
    let runs = view.status.has_process();
    let has_own = runs && !engine::network::mode_of(engine, view).starts_with("container:");
    let default = networks
        .get(engine::network::DEFAULT)
        .filter(|_| runs)
        .cloned()
        .unwrap_or_default();
    NetworkSettings {
        sandbox_id: if has_own {
            view.id.to_string()
        } else {
            String::new()
        },
        sandbox_key: if has_own {
            format!("/proc/{}/ns/net", view.pid)
        } else {
            String::new()
        },
        ports: ports(engine, view),
        endpoint_id: default.endpoint_id,
        gateway: default.gateway,
        global_ipv6_address: default.global_ipv6_address,
        global_ipv6_prefix_len: default.global_ipv6_prefix_len,
        ip_address: default.ip_address,
        ip_prefix_len: default.ip_prefix_len,
        ipv6_gateway: default.ipv6_gateway,
        mac_address: default.mac_address,
        networks,
        ..NetworkSettings::default()
    }
}

/// Returns the ports of a running container: those that are published with their places on the host, and those that are
/// only exposed.
fn ports(engine: &Engine, view: &View) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    if !has_ports(engine, view) {
        return BTreeMap::new();
    }
    let exposed = view.config.exposed_ports.iter();
    let asked = view.host.ports.iter().flat_map(|request| request.each());
    let asked = asked.map(|request| format!("{}/{}", request.port, request.protocol.as_str()));
    let mut ports: BTreeMap<String, Option<Vec<PortBinding>>> =
        exposed.chain(asked).map(|port| (port, None)).collect();
    for publication in view.publications.iter() {
        for (port, host) in publication.pairs() {
            let key = format!("{port}/{}", publication.protocol.as_str());
            ports
                .entry(key)
                .or_default()
                .get_or_insert_default()
                .push(PortBinding {
                    host_ip: publication.host_ip.to_string(),
                    host_port: host.to_string(),
                });
        }
    }
    ports
}

/// Returns whether ports of a container mean anything: it runs, and has its own network.
fn has_ports(engine: &Engine, view: &View) -> bool {
    let mode = engine::network::mode_of(engine, view);
    let own = mode != "host" && !mode.starts_with("container:") && !mode.starts_with("ns:");
    own && view.status.has_process()
}

/// Returns the ports as lists show them.
pub(crate) fn port_list(engine: &Engine, view: &View) -> Vec<api_types::container::Port> {
    let mut list = Vec::new();
    for (port, bindings) in ports(engine, view) {
        let (number, kind) = port.split_once('/').unwrap_or((&port, "tcp"));
        let Ok(private_port) = number.parse() else {
            continue;
        };
        let one = |ip: &str, public_port: u16| api_types::container::Port {
            ip: ip.to_owned(),
            private_port,
            public_port,
            kind: kind.to_owned(),
        };
        match bindings {
            None => list.push(one("", 0)),
            Some(bindings) => list.extend(bindings.iter().map(|binding| {
                // What was written above is a number.
                one(&binding.host_ip, binding.host_port.parse().unwrap_or_default())
            })),
        }
    }
    list
}

/// Translates a network; lists leave its containers out.
pub(crate) fn network(details: &NetworkDetails, with_containers: bool) -> Network {
    let containers = details
        .containers
        .iter()
        .filter(|_| with_containers)
        .map(|container| {
            let resource = EndpointResource {
                name: container.name.clone(),
                endpoint_id: container.endpoint.clone(),
                mac_address: container.mac.clone(),
                ipv4_address: container.ipv4.map(|net| net.to_string()).unwrap_or_default(),
                ipv6_address: container.ipv6.map(|net| net.to_string()).unwrap_or_default(),
            };
            (container.id.clone(), resource)
        });
    let subnets = details.subnets.iter().map(|subnet| IpamConfig {
        subnet: subnet.subnet.to_string(),
        ip_range: subnet.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: subnet.gateway.to_string(),
        auxiliary_addresses: subnet
            .auxiliary
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    });
    Network {
        name: details.name.clone(),
        id: details.id.clone(),
        created: details.created.to_string(),
        scope: "local".to_owned(),
        driver: details.driver.clone(),
        enable_ipv4: details.ipv4,
        enable_ipv6: details.ipv6,
        ipam: Ipam {
            driver: "default".to_owned(),
            // Docker's predefined networks say `null`.
            options: Some(details.ipam_options.clone()).filter(|_| !details.is_predefined()),
            config: Some(subnets.collect()),
        },
        internal: details.internal,
        attachable: details.attachable,
        ingress: false,
        config_from: ConfigReference::default(),
        config_only: false,
        containers: containers.collect(),
        options: details.options.clone(),
        labels: details.labels.clone(),
        ..Network::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(document: serde_json::Value) -> BTreeMap<String, Option<EndpointSettings>> {
        serde_json::from_value(document).unwrap()
    }

    fn add(mode: &str, document: serde_json::Value, version: u16) -> Result<HostConfig, String> {
        let mut host = HostConfig {
            network_mode: mode.to_owned(),
            ..HostConfig::default()
        };
        add_endpoints(&mut host, endpoints(document), ApiVersion::v1(version))
            .map_err(|error| error.message)?;
        Ok(host)
    }

    #[test]
    fn endpoints_become_requests() {
        let document = serde_json::json!({
            "x": {"IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9", "LinkLocalIPs": ["169.254.1.1"]},
                  "Aliases": ["a"], "Links": ["c:d"], "MacAddress": "92-D0-C6-0A-29-33", "DriverOpts": {"k": "v"},
                  "GwPriority": 3},
            "y": {},
        });
        let host = add("x", document, 50).unwrap();
        let request = &host.endpoints["x"];
        assert_eq!(request.ipv4.unwrap().to_string(), "10.0.0.9");
        assert_eq!(request.ipv6.unwrap().to_string(), "fd00::9");
        assert_eq!(request.link_local[0].to_string(), "169.254.1.1");
        assert_eq!(
            (request.mac.as_str(), request.gw_priority),
            ("92:d0:c6:0a:29:33", 3)
        );
        assert_eq!(
            (
                request.aliases.len(),
                request.links.len(),
                request.driver_opts.len()
            ),
            (1, 1, 1)
        );
        assert_eq!(host.endpoints["y"], EndpointRequest::default());
        // What docker's client sends when nothing was asked for.
        assert!(
            add("default", serde_json::json!({"default": {}}), 50)
                .unwrap()
                .endpoints
                .is_empty()
        );
        assert!(
            add("host", serde_json::json!({"host": {}}), 50)
                .unwrap()
                .endpoints
                .is_empty()
        );
        // Old compose and docker-py: networks without a mode.
        assert_eq!(
            add("", serde_json::json!({"x": {}}), 41).unwrap().network_mode,
            "x"
        );
        assert_eq!(
            add("bridge", serde_json::json!({"x": {}}), 50)
                .unwrap()
                .network_mode,
            "bridge"
        );
        let old = serde_json::json!({"x": {"MacAddress": "92:d0:c6:0a:29:33"}});
        assert_eq!(add("x", old, 43).unwrap().endpoints.get("x"), None);
    }

    #[test]
    fn wrong_endpoints_have_dockers_texts() {
        for (document, version, text) in [
            (
                serde_json::json!({"x": {}, "y": {}}),
                43,
                "Container cannot be connected to network endpoints: x, y",
            ),
            (serde_json::json!({"x": null}), 50, "no EndpointSettings for x"),
            (
                serde_json::json!({"x": {"IPAMConfig": {"IPv4Address": "nonsense"}}}),
                50,
                "invalid endpoint settings:\ninvalid IPv4 address: nonsense",
            ),
            (
                serde_json::json!({"x": {"IPAMConfig": {"IPv6Address": "1.2.3.4"}}}),
                50,
                "invalid endpoint settings:\ninvalid IPv6 address: 1.2.3.4",
            ),
            (
                serde_json::json!({"x": {"IPAMConfig": {"LinkLocalIPs": ["0.0.0.0"]}}}),
                50,
                "invalid endpoint settings:\ninvalid link-local IP address: 0.0.0.0",
            ),
        ] {
            assert_eq!(add("x", document, version).unwrap_err(), text);
        }
    }
}
