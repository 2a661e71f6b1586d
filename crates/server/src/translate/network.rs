//! Networks, as far as they go now: `none`, `host` and `container:ID`.

use std::collections::BTreeMap;

use api_types::network::{EndpointSettings, NetworkSettings, NetworkingConfig};
use engine::config::HostConfig;

use crate::status::ApiError;

/// The id that is shown for network `host`; it has no other meaning.
pub(crate) const HOST_ID: &str = "686f737400000000000000000000000000000000000000000000006265727468";
/// The id that is shown for network `none`.
pub(crate) const NONE_ID: &str = "6e6f6e6500000000000000000000000000000000000000000000006265727468";

/// Returns the network mode of a container, with the default filled in.
pub(crate) fn mode(host: &HostConfig) -> &str {
    match host.network_mode.as_str() {
        "" | "default" => "none",
        mode => mode,
    }
}

/// Refuses what an endpoint of a new container asks for that is not done yet.
pub(crate) fn check(networking: &NetworkingConfig) -> Result<(), ApiError> {
    if networking.endpoints_config.len() > 1 {
        return Err(ApiError::unsupported(
            "connecting a container to more than one network",
        ));
    }
    for endpoint in networking.endpoints_config.values().flatten() {
        let ipam = endpoint.ipam_config.clone().unwrap_or_default();
        let asked = [
            (!ipam.ipv4_address.is_empty(), "--ip"),
            (!ipam.ipv6_address.is_empty(), "--ip6"),
            (!ipam.link_local_ips.is_empty(), "--link-local-ip"),
            (
                endpoint.links.as_ref().is_some_and(|links| !links.is_empty()),
                "--link",
            ),
            (
                endpoint
                    .aliases
                    .as_ref()
                    .is_some_and(|aliases| !aliases.is_empty()),
                "--network-alias",
            ),
            (!endpoint.mac_address.is_empty(), "--mac-address"),
            (
                endpoint
                    .driver_opts
                    .as_ref()
                    .is_some_and(|options| !options.is_empty()),
                "--network driver-opt",
            ),
            (endpoint.gw_priority != 0, "--network gw-priority"),
        ];
        if let Some((_, name)) = asked.into_iter().find(|(set, _)| *set) {
            return Err(ApiError::unsupported(name));
        }
    }
    Ok(())
}

/// Returns the networks of a container.
pub(crate) fn networks(host: &HostConfig) -> BTreeMap<String, EndpointSettings> {
    let id = match mode(host) {
        "host" => HOST_ID,
        "none" => NONE_ID,
        _ => return BTreeMap::new(),
    };
    let endpoint = EndpointSettings {
        network_id: id.to_owned(),
        ..EndpointSettings::default()
    };
    BTreeMap::from([(mode(host).to_owned(), endpoint)])
}

/// Returns the network settings of a container.
pub(crate) fn settings(host: &HostConfig) -> NetworkSettings {
    NetworkSettings {
        networks: networks(host),
        ..NetworkSettings::default()
    }
}
