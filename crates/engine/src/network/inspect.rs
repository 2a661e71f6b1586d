//! Inspect: everything that is known of a network.

use std::collections::BTreeMap;

use base::clock::Timestamp;
use ipnet::{Ipv4Net, Ipv6Net};

use super::error::NetworkError;
use super::record::{NetworkRecord, Subnet};
use super::table::Network;
use super::{HOST_ID, NONE_ID};
use crate::Engine;

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedContainer {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its endpoint's id.
    pub endpoint: String,
    /// Its hardware address.
    pub mac: String,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Net>,
}

/// Everything that is known of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkDetails {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its driver: `bridge`, `macvlan`, `ipvlan`, `phys`, `host` or `null`.
    pub driver: String,
    /// Whether it has IPv4.
    pub ipv4: bool,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// Whether nothing leaves it and nothing comes in.
    pub internal: bool,
    /// As it was asked for.
    pub attachable: bool,
    /// Its subnets.
    pub subnets: Vec<Subnet>,
    /// Options of the address management.
    pub ipam_options: BTreeMap<String, String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The containers that run on it.
    pub containers: Vec<ConnectedContainer>,
}

impl NetworkDetails {
    /// Returns whether it is one of those that are always there.
    pub fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), super::DEFAULT | "host" | "none")
    }
}

/// Returns a network by its id, its name, or the beginning of its id.
pub fn inspect(engine: &Engine, name: &str) -> Result<NetworkDetails, NetworkError> {
    let found = engine
        .networks
        .table()
        .find(name)
        .map(|network| details(engine, network));
    match found {
        Err(NetworkError::NotFound { .. }) => {
            let fits = |network: &NetworkDetails| {
                network.name == name || (!name.is_empty() && network.id.starts_with(name))
            };
            let not_found = NetworkError::NotFound {
                name: name.to_owned(),
            };
            predefined(engine).into_iter().find(fits).ok_or(not_found)
        }
        found => found,
    }
}

/// Returns the name and the id of a network that containers join, by either of them.
pub fn named(engine: &Engine, name: &str) -> Option<(String, String)> {
    let table = engine.networks.table();
    let record = &table.find(name).ok()?.record;
    Some((record.name.clone(), record.id.clone()))
}

/// Returns what is known of a network, but for the names of its containers, which [`details`] looks up.
pub(crate) fn details(engine: &Engine, network: &Network) -> NetworkDetails {
    let NetworkRecord {
        id,
        name,
        created,
        driver,
        ipv4,
        ipv6,
        internal,
        attachable,
        subnets,
        ipam_options,
        options,
        labels,
        bridge: _,
        mac: _,
        makes_parent: _,
    } = &*network.record;
    let containers = network
        .members()
        .iter()
        .map(|(container, endpoint)| ConnectedContainer {
            id: container.clone(),
            name: engine
                .registry
                .get(container)
                .map(|container| container.view().name.clone())
                .unwrap_or_default(),
            endpoint: endpoint.id.clone(),
            mac: endpoint.mac.clone(),
            ipv4: endpoint.ipv4,
            ipv6: endpoint.ipv6,
        });
    NetworkDetails {
        containers: containers.collect(),
        id: id.clone(),
        name: name.clone(),
        created: *created,
        driver: driver.clone(),
        ipv4: *ipv4,
        ipv6: *ipv6,
        internal: *internal,
        attachable: *attachable,
        subnets: subnets.clone(),
        ipam_options: ipam_options.clone(),
        options: options.clone(),
        labels: labels.clone(),
    }
}

/// Returns the networks that are none of Berth's: the machine's own, and none.
pub(crate) fn predefined(engine: &Engine) -> [NetworkDetails; 2] {
    [("host", HOST_ID, "host"), ("none", NONE_ID, "null")].map(|(name, id, driver)| {
        let on_it = |view: &crate::container::View| {
            let mode = view.host.network_mode.as_str();
            let is_none = mode == "none"
                || (super::ask::mode_of(engine, view) == "none" && matches!(mode, "" | "default"));
            view.status.has_process() && if name == "none" { is_none } else { mode == "host" }
        };
        let all = engine.registry.all();
        let views = all.iter().map(|container| container.view());
        let containers = views.filter(|view| on_it(view)).map(|view| ConnectedContainer {
            id: view.id.to_string(),
            name: view.name.clone(),
            endpoint: String::new(),
            mac: String::new(),
            ipv4: None,
            ipv6: None,
        });
        NetworkDetails {
            containers: containers.collect(),
            id: id.to_owned(),
            name: name.to_owned(),
            created: Timestamp::NEVER,
            driver: driver.to_owned(),
            ipv4: true,
            ipv6: false,
            internal: false,
            attachable: false,
            subnets: Vec::new(),
            ipam_options: BTreeMap::new(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    })
}
