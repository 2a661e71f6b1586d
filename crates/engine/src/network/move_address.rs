//! Moving an address between containers of a network while they run.
//!
//! Such an address belongs to nobody for good: it comes on top of a container's own, and is part of what the container asks of
//! the network, so that it has it in its next run too. It is given to the new container before it is taken from the old one:
//! for a moment both have it, so that nothing that is sent to it meanwhile is lost.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

use base::error::chain;
use network::endpoint;

use super::ask::{is_of_mode, key_of};
use super::connect::{namespace, publish, save, set_record};
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::record::NetworkRecord;
use crate::Engine;
use crate::container::{Actor, Command, Container, ask};

/// Which address goes where.
#[derive(Clone, Debug)]
pub struct MoveRequest {
    /// The address.
    pub address: IpAddr,
    /// Its network; the one whose subnet it is of if empty.
    pub network: String,
    /// The container that gets it; none has it any more if empty.
    pub container: String,
}

/// An address that comes or goes, for a container's actor.
#[derive(Clone, Debug)]
pub(crate) struct Float {
    network: Arc<NetworkRecord>,
    address: IpAddr,
    comes: bool,
}

/// Moves an address to a container, from whichever has it.
pub async fn move_address(engine: &Arc<Engine>, request: MoveRequest) -> Result<(), NetworkError> {
    let address = request.address;
    let network = network_of(engine, &request)?;
    let to = match request.container.as_str() {
        "" => None,
        name => Some(engine.registry.find(name)?),
    };
    check(engine, &network, address)?;
    let float = |comes| Float {
        network: Arc::clone(&network),
        address,
        comes,
    };
    if let Some(to) = &to {
        super::connect::check_mode(to)?;
        change(engine, to, float(true)).await?;
    }
    for from in engine.registry.all() {
        let is_target = to.as_ref().is_some_and(|to| to.id == from.id);
        if !is_target && has(engine, &from, &network, address) {
            change(engine, &from, float(false)).await?;
        }
    }
    Ok(())
}

async fn change(engine: &Arc<Engine>, container: &Arc<Container>, float: Float) -> Result<(), NetworkError> {
    let comes = float.comes;
    match ask(engine, container, |reply| Command::Float(Box::new(float), reply)).await {
        Some(result) => result,
        None if comes => Err(crate::container::LookupError::NotFound {
            name: container.id.to_string(),
        }
        .into()),
        // It was removed meanwhile.
        None => Ok(()),
    }
}

/// Carries it out, in the container's actor.
pub(crate) fn float(actor: &mut Actor, float: &Float) -> Result<(), NetworkError> {
    let (engine, container) = (Arc::clone(&actor.engine), Arc::clone(&actor.container));
    let (network, address) = (&float.network, float.address);
    let before = container.record();
    let key = match key_of(&engine, &before, network) {
        Some(key) => key,
        None if is_of_mode(&engine, &before, network) && !before.left_network => network.name.clone(),
        None => {
            return Err(NetworkError::not_connected(container.id.as_str(), &network.name));
        }
    };
    let mut after = (*before).clone();
    let mut host = (*before.host).clone();
    set(
        &mut host.endpoints.entry(key).or_default().floating,
        address,
        float.comes,
    );
    after.host = Arc::new(host);
    let view = container.view();
    let mut endpoints = (*view.endpoints).clone();
    let own = endpoints
        .iter_mut()
        .find(|endpoint| endpoint.network == network.id)
        .filter(|_| view.status.is_running());
    let Some(own) = own else {
        save(&engine, &container, &after)?;
        set_record(&container, after);
        return Ok(());
    };
    let old = own.clone();
    set(&mut own.floating, address, float.comes);
    let new = own.clone();
    if float.comes {
        take(&engine, network, &container, address)?;
    }
    publish(&engine, &container, endpoints);
    if let Err(error) = save(&engine, &container, &after) {
        publish(&engine, &container, (*view.endpoints).clone());
        return Err(error);
    }
    set_record(&container, after);
    let moved = bring_about(&engine, &container, float, &old, &new);
    if !float.comes {
        give_back(&engine, network, address);
    }
    moved
}

/// Makes what the records say: the packet filter, then the interface, and the document of the next restart.
fn bring_about(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    float: &Float,
    old: &Endpoint,
    new: &Endpoint,
) -> Result<(), NetworkError> {
    let network = &float.network;
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| NetworkError::Step {
        doing: "move an address on",
        name: network.name.clone(),
        source: error,
    };
    let namespace = namespace(container);
    if let (Some(namespace), false) = (&namespace, float.comes) {
        // What it has is taken with the namespace at the latest.
        if let Err(error) = endpoint::remove_address(namespace.as_fd(), &new.interface, float.address) {
            tracing::warn!(container = %container.id, error = %chain(&error), "a container still has an address that was moved");
        }
    }
    {
        let mut kernel = engine.networks.kernel();
        let mut table = engine.networks.table();
        // What the filter knows of an address is about the network too, so that of others who have it is said again.
        let others = table.get(&network.id).map(|network| {
            let members = network.members().iter();
            let others = members.filter(|(id, _)| id.as_str() != container.id.as_str());
            let with_it = others.filter(|(_, endpoint)| endpoint.floating.contains(&float.address));
            with_it.map(|(_, endpoint)| endpoint.clone()).collect::<Vec<_>>()
        });
        let mut known = others.unwrap_or_default();
        known.push(new.clone());
        table.gone.push((vec![old.clone()], Vec::new()));
        kernel
            .add(&mut table, &known, &[])
            .map_err(|error| failed(Box::new(error)))?;
    }
    crate::container::rewrite_document(engine, container)
        .map_err(|error| NetworkError::step("write the task document for", &network.name, error))?;
    match namespace {
        Some(namespace) if float.comes => {
            endpoint::add_address(namespace.as_fd(), &new.interface, float.address)
                .map_err(|error| failed(Box::new(error)))
        }
        _ => Ok(()),
    }
}

/// Takes the address off the network's pool, unless another container that is to lose it has it still.
fn take(
    engine: &Engine,
    network: &NetworkRecord,
    container: &Container,
    address: IpAddr,
) -> Result<(), NetworkError> {
    let mut table = engine.networks.table();
    let Some(network) = table.get_mut(&network.id) else {
        return Ok(());
    };
    let floats = network
        .members()
        .values()
        .any(|endpoint| endpoint.floating.contains(&address));
    if floats {
        return Ok(());
    }
    network
        .take(container.id.as_str(), address.is_ipv4(), Some(address))
        .map(drop)
        .map_err(|error| super::join::take_error(&network.record, error))
}

/// Gives the address back, unless a container has it.
fn give_back(engine: &Engine, network: &NetworkRecord, address: IpAddr) {
    let mut table = engine.networks.table();
    if let Some(network) = table.get_mut(&network.id)
        && !network
            .members()
            .values()
            .any(|endpoint| endpoint.floating.contains(&address))
    {
        network.give_back(address);
    }
}

fn set(all: &mut Vec<IpAddr>, address: IpAddr, comes: bool) {
    all.retain(|own| *own != address);
    if comes {
        all.push(address);
    }
}

/// Returns whether a container asks for the address.
fn has(engine: &Engine, container: &Container, network: &NetworkRecord, address: IpAddr) -> bool {
    let record = container.record();
    key_of(engine, &record, network)
        .and_then(|key| record.host.endpoints.get(&key))
        .is_some_and(|asked| asked.floating.contains(&address))
}

fn network_of(engine: &Engine, request: &MoveRequest) -> Result<Arc<NetworkRecord>, NetworkError> {
    let table = engine.networks.table();
    let address = request.address;
    let has_it = |record: &NetworkRecord| {
        let mut subnets = record.subnets.iter();
        subnets.any(|subnet| subnet.subnet.contains(&address))
    };
    let record = if request.network.is_empty() {
        let mut all = table.all().filter(|network| has_it(&network.record));
        let found = all.next().ok_or_else(|| {
            NetworkError::invalid(format!("no network has a subnet with address {address}"))
        })?;
        Arc::clone(&found.record)
    } else {
        table.record(&request.network)?
    };
    if !has_it(&record) {
        return Err(NetworkError::invalid(
            network::address::TakeError::Outside { address }.to_string(),
        ));
    }
    // Those who share the hardware address of an interface are not found by a new one.
    if !matches!(record.driver.as_str(), "bridge" | "macvlan") {
        return Err(NetworkError::Unsupported {
            text: format!(
                "addresses of network {} cannot be moved: its driver is {}",
                record.name, record.driver
            ),
        });
    }
    Ok(record)
}

/// Refuses addresses that belong to somebody for good.
fn check(engine: &Engine, record: &NetworkRecord, address: IpAddr) -> Result<(), NetworkError> {
    let used = |by: String| NetworkError::Forbidden {
        text: format!("address {address} cannot be moved: it is that of {by}"),
    };
    for subnet in &record.subnets {
        if subnet.gateway == address {
            return Err(used("the gateway".to_owned()));
        }
        if let Some((name, _)) = subnet.auxiliary.iter().find(|(_, own)| **own == address) {
            return Err(used(format!("{name}, which is no container")));
        }
    }
    let table = engine.networks.table();
    let owner = table.get(&record.id).and_then(|network| {
        let own = |endpoint: &Endpoint| {
            endpoint.ipv4.is_some_and(|net| IpAddr::V4(net.addr()) == address)
                || endpoint.ipv6.is_some_and(|net| IpAddr::V6(net.addr()) == address)
        };
        network.members().iter().find(|(_, endpoint)| own(endpoint))
    });
    match owner.and_then(|(id, _)| engine.registry.get(id)) {
        Some(container) => Err(used(format!("container {} itself", container.view().name))),
        None => Ok(()),
    }
}
