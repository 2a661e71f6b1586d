//! Connect a container to a network, also while it runs.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use base::error::chain;
use netlink::route::{Route, add_route, remove_route};
use network::endpoint::{self, EndpointError};
use rustix::fs::{Mode, OFlags};
use sys::netlink::Family;

use super::ask::{check_asked, check_endpoint};
use super::endpoint::{Endpoint, Publication};
use super::error::NetworkError;
use super::join::{attach_endpoints, choose_default, names_of, recipe, take_place};
use super::record::NetworkRecord;
use super::tell;
use crate::Engine;
use crate::config::EndpointRequest;
use crate::container::{Actor, Command, Container, Record, ask, record_file};
use crate::failpoint;

/// A container to connect.
#[derive(Clone, Debug, Default)]
pub struct ConnectRequest {
    /// The network.
    pub network: String,
    /// The container.
    pub container: String,
    /// What it asks of the network.
    pub endpoint: EndpointRequest,
}

/// Connects a container to a network; one that does not run joins it when it is started.
pub async fn connect(engine: &Arc<Engine>, request: ConnectRequest) -> Result<(), NetworkError> {
    check_endpoint(&request.endpoint).map_err(NetworkError::invalid)?;
    let record = find(engine, &request.network)?;
    let container = engine.registry.find(&request.container)?;
    check_mode(&container)?;
    let name = request.container.clone();
    let plug = Box::new((record, request.endpoint));
    match ask(engine, &container, |reply| Command::Connect(plug, reply)).await {
        Some(result) => result,
        None => Err(crate::container::LookupError::NotFound { name }.into()),
    }
}

/// Finds a network that containers can join while they run.
pub(crate) fn find(engine: &Engine, name: &str) -> Result<Arc<NetworkRecord>, NetworkError> {
    let found = engine.networks.table().record(name);
    found.map_err(|error| match super::inspect(engine, name) {
        Ok(known) if known.name == "host" => NetworkError::invalid(HOST),
        Ok(_) => NetworkError::invalid(NONE),
        Err(_unknown) => error,
    })
}

/// docker's texts.
const HOST: &str = "container cannot be disconnected from host network or connected to host network";
const NONE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";
const SHARED: &str = "container sharing network namespace with another container or host cannot be connected to any other network";

/// Refuses containers that have no network of their own.
pub(crate) fn check_mode(container: &Container) -> Result<(), NetworkError> {
    let host = &container.record().host;
    match host.network_mode.as_str() {
        "none" => Err(NetworkError::invalid(NONE)),
        mode if mode == "host" || mode.starts_with("container:") || mode.starts_with("ns:") => {
            Err(NetworkError::invalid(SHARED))
        }
        _ => Ok(()),
    }
}

/// Carries it out, in the container's actor.
pub(crate) fn plug(
    actor: &mut Actor,
    network: &Arc<NetworkRecord>,
    request: EndpointRequest,
) -> Result<(), NetworkError> {
    let (engine, container) = (Arc::clone(&actor.engine), Arc::clone(&actor.container));
    let view = container.view();
    let runs = view.status.is_running();
    if view
        .endpoints
        .iter()
        .any(|endpoint| endpoint.network == network.id)
    {
        return Err(NetworkError::Forbidden {
            text: format!(
                "endpoint with name {} already exists in network {}",
                view.name, network.name
            ),
        });
    }
    if runs && network.driver == "phys" {
        return Err(NetworkError::Unsupported {
            text: "an interface of the machine can be lent to a container only when it starts".to_owned(),
        });
    }
    check_asked(network, &request)?;
    let before = container.record();
    let is_limited = !super::ask::rates(&before.host).is_unlimited() || super::budget::has(&before.host);
    if is_limited && network.driver != "bridge" {
        return Err(NetworkError::Unsupported {
            text: format!("{}: {} has none", super::shaping::NEEDS_BRIDGE, network.name),
        });
    }
    let after = with_endpoint(&engine, &before, network, request.clone());
    if runs {
        let endpoint = place(&engine, &container, network, &request)?;
        let mut endpoints = (*view.endpoints).clone();
        endpoints.push(endpoint);
        let priorities = priorities(&engine, &after, &endpoints);
        choose_default(&mut endpoints, &priorities);
        publish(&engine, &container, endpoints);
    }
    let result = save(&engine, &container, &after).and_then(|()| {
        set_record(&container, after);
        failpoint::reached("network.connect.record");
        if runs {
            bring_about(&engine, &container, network, &view.endpoints)
        } else {
            Ok(())
        }
    });
    if let Err(error) = result {
        if runs {
            let mut table = engine.networks.table();
            if let Some(network) = table.get_mut(&network.id) {
                network.release(container.id.as_str());
            }
            drop(table);
            let tried = container.view();
            super::budget::unplug(
                &engine,
                &mut engine.networks.kernel(),
                &container,
                network,
                &tried.endpoints,
            );
            publish(&engine, &container, (*view.endpoints).clone());
            undo(&engine, &tried.endpoints, &view.endpoints, &view.publications);
        }
        if let Err(error) = save(&engine, &container, &before) {
            tracing::error!(container = %container.id, error = %chain(&error), "a failed connect was not undone");
        }
        set_record(&container, (*before).clone());
        return Err(error);
    }
    if runs
        && !super::ask::rates(&container.record().host).is_unlimited()
        && let Err(error) = super::shaping::apply(&engine, &container.view())
    {
        tracing::warn!(container = %container.id, error = %chain(&error), "a network that was joined is not limited");
    }
    tell(&engine, "connect", network, Some(container.id.as_str()));
    Ok(())
}

/// Makes what the records say: bridge, packet filter, cable, routes, and the document of the next restart. `before` is where
/// the container was.
fn bring_about(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    network: &Arc<NetworkRecord>,
    before: &[Endpoint],
) -> Result<(), NetworkError> {
    let view = container.view();
    let (new, old): (Vec<Endpoint>, Vec<Endpoint>) = view
        .endpoints
        .iter()
        .cloned()
        .partition(|endpoint| endpoint.network == network.id);
    attach_endpoints(engine, &new, |kernel, table| {
        kernel.exchange(table, before, &view.endpoints, &view.publications)
    })?;
    super::budget::apply(engine, container, &view)?;
    crate::container::rewrite_document(engine, container)
        .map_err(|error| NetworkError::step("write the task document for", &network.name, error))?;
    failpoint::reached("network.connect.filter");
    let Some(namespace) = namespace(container) else {
        // Between two runs: the next one is plugged in by its shim.
        return Ok(());
    };
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| NetworkError::Step {
        doing: "plug the container into",
        name: network.name.clone(),
        source: error,
    };
    for endpoint in &new {
        if endpoint.is_default {
            change_default(&namespace, old.iter(), false);
        }
        let mut kernel = engine.networks.kernel();
        let socket = kernel.route().map_err(|error| failed(Box::new(error)))?;
        let settings = recipe(endpoint, &view.host);
        // A link of the host that is lent to a running container stays there until its namespace ends.
        drop(on_own_thread(&network.name, || {
            endpoint::join(socket, namespace.as_fd(), &settings)
        })?);
    }
    Ok(())
}

/// Plugs a container into a network by `work`, on a thread of its own: it enters the container's namespace for a moment.
pub(crate) fn on_own_thread<T: Send>(
    network: &str,
    work: impl FnOnce() -> Result<T, EndpointError> + Send,
) -> Result<T, NetworkError> {
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| NetworkError::Step {
        doing: "plug the container into",
        name: network.to_owned(),
        source: error,
    };
    match std::thread::scope(|scope| scope.spawn(work).join()) {
        Ok(done) => done.map_err(|error| failed(Box::new(error))),
        Err(_panic) => Err(failed("the thread that does it panicked".into())),
    }
}

/// Lets the packet filter forget what [`bring_about`] has told it, if it has.
fn undo(engine: &Engine, tried: &[Endpoint], before: &[Endpoint], publications: &[Publication]) {
    let mut kernel = engine.networks.kernel();
    if !kernel.is_in_place() {
        return;
    }
    let mut table = engine.networks.table();
    if let Err(error) = kernel.exchange(&mut table, tried, before, publications) {
        tracing::warn!(error = %chain(&error), "the packet filter still knows an endpoint that was not made");
    }
}

/// Adds the default routes of endpoints, or removes them; what is there already, or not any more, is as it should be.
pub(crate) fn change_default<'a>(
    namespace: &OwnedFd,
    endpoints: impl Iterator<Item = &'a Endpoint>,
    add: bool,
) {
    let Ok(mut inside) = netlink::Socket::open_in(Family::Route, namespace.as_fd()) else {
        return;
    };
    for endpoint in endpoints {
        let gateways = [
            endpoint.gateway4.map(IpAddr::V4),
            endpoint.gateway6.map(IpAddr::V6),
        ];
        for gateway in gateways.into_iter().flatten() {
            let destination = super::ports::unspecified(gateway);
            let route = Route {
                destination,
                prefix: 0,
                gateway: Some(gateway),
                link: None,
                source: None,
                metric: None,
                on_link: false,
            };
            let message = if add {
                add_route(&route)
            } else {
                remove_route(&route)
            };
            drop(inside.request(&[message]));
        }
    }
}

/// Returns the network namespace of PID 1, if there is one.
pub(crate) fn namespace(container: &Container) -> Option<OwnedFd> {
    let pid = container.view().pid;
    if pid == 0 {
        return None;
    }
    let directory = sys::process::open_directory(pid).ok()?;
    let namespace = rustix::fs::openat(
        &directory,
        "ns/net",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    // The number was still PID 1's after its directory was open: the actor reaps no event meanwhile, the kernel might.
    rustix::fs::openat(
        &directory,
        "stat",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    Some(namespace)
}

fn place(
    engine: &Engine,
    container: &Container,
    network: &NetworkRecord,
    request: &EndpointRequest,
) -> Result<Endpoint, NetworkError> {
    let view = container.view();
    let mut table = engine.networks.table();
    let used: BTreeSet<&str> = view
        .endpoints
        .iter()
        .map(|endpoint| endpoint.interface.as_str())
        .collect();
    let names = names_of(container, &view.name, request);
    let place = table.get_mut(&network.id).ok_or_else(|| NetworkError::NotFound {
        name: network.name.clone(),
    })?;
    let endpoint = take_place(place, container.id.as_str(), request, names, &used)?;
    place.put(container.id.as_str(), endpoint.clone());
    Ok(endpoint)
}

/// Lets everybody see where a container is.
pub(crate) fn publish(engine: &Engine, container: &Container, endpoints: Vec<Endpoint>) {
    let mut table = engine.networks.table();
    for endpoint in &endpoints {
        table.adopt(container.id.as_str(), endpoint.clone());
    }
    drop(table);
    let is_answered = super::names::are_needed(engine, container, &endpoints);
    container.publish(|view| {
        view.endpoints = Arc::new(endpoints);
        view.is_answered = is_answered;
    });
}

/// Replaces what a container is, in memory.
pub(crate) fn set_record(container: &Container, record: Record) {
    let host = Arc::clone(&record.host);
    container.set_record(record);
    container.publish(|view| view.host = host);
}

/// Follows a new name: others on its networks know the container by it.
pub(crate) async fn renamed(engine: &Arc<Engine>, container: &Arc<Container>, old: &str, new: &str) {
    let before = container.view();
    if before.endpoints.is_empty() {
        return;
    }
    super::resolver::unname(engine, &before.endpoints).await;
    let mut endpoints = (*before.endpoints).clone();
    for name in endpoints
        .iter_mut()
        .filter_map(|endpoint| endpoint.names.iter_mut().find(|name| *name == old))
    {
        new.clone_into(name);
    }
    publish(engine, container, endpoints);
    if let Err(error) = engine.write_state(container) {
        tracing::warn!(container = %container.id, error = %chain(&error), "a new name was not recorded on the networks");
    }
    super::resolver::follow(engine, container, &before).await;
}

/// Writes both what a container asks for and what it has.
pub(crate) fn save(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    record: &Record,
) -> Result<(), NetworkError> {
    let config = crate::daemon::encode(record);
    let state = crate::daemon::encode(&container.state_record(&engine.host.boot_id));
    engine
        .write_of(container, |batch| {
            batch.set_container_config(container.id.as_str(), &config)?;
            batch.set_container_state(container.id.as_str(), &state)
        })
        .map_err(|error| NetworkError::step("record the container on", "", error))?;
    record_file::update(&engine.layout, container, record);
    Ok(())
}

fn with_endpoint(
    engine: &Engine,
    record: &Record,
    network: &NetworkRecord,
    request: EndpointRequest,
) -> Record {
    let mut after = record.clone();
    let mut host = (*record.host).clone();
    let key = super::ask::key_of(engine, record, network).unwrap_or_else(|| network.name.clone());
    if super::ask::is_of_mode(engine, record, network) {
        after.left_network = false;
    }
    host.endpoints.insert(key, request);
    after.host = Arc::new(host);
    after
}

/// Returns the priorities of endpoints, as they were asked for.
pub(crate) fn priorities(engine: &Engine, record: &Record, endpoints: &[Endpoint]) -> Vec<i64> {
    let asked = super::ask::wanted(engine, record);
    let of = |endpoint: &Endpoint| {
        let fits = |name: &str| name == endpoint.network_name || endpoint.network.starts_with(name);
        asked
            .iter()
            .find(|asked| fits(&asked.name))
            .map_or(0, |asked| asked.request.gw_priority)
    };
    endpoints.iter().map(of).collect()
}
