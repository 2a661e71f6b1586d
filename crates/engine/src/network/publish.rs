//! The ports of the host that a container takes.

use std::net::IpAddr;

use super::endpoint::{Endpoint, Publication};
use super::error::NetworkError;
use super::kernel::publishing;
use super::ports::Taken;
use super::resolver;
use super::table::Table;
use crate::Engine;
use crate::config::PortRequest;
use crate::container::Container;

/// Takes the ports of the host.
pub(crate) fn publish(
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
        for (port, protocol) in record.config.exposed_ports.ports() {
            if !requests.iter().any(|known| known.has(port, protocol)) {
                let request = PortRequest {
                    port,
                    protocol,
                    ..PortRequest::default()
                };
                request.add_to(&mut requests);
            }
        }
    }
    let count = requests.iter().map(|request| usize::from(request.count)).sum();
    let everywhere = resolver::everywhere(endpoint.ipv4.is_some(), endpoint.ipv6.is_some(), count);
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
        .take(container.id.as_str(), &with_addresses, any_ports)
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
