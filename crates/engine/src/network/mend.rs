//! Cables that a daemon has left otherwise than the records say, because it was killed inside a connect or a disconnect.
//! Both write their record first, so it is the record that is right: what is missing is plugged in, what is too many is
//! pulled out, for nobody watches what such a cable's container sends.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::sync::Arc;

use base::error::chain;
use netlink::route::Link;
use network::endpoint;

use super::connect::{change_default, namespace, on_own_thread};
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::join::recipe;
use super::{extension, shaping};
use crate::Engine;
use crate::container::Container;

/// How many cables are pulled out before the daemon answers: a kill leaves one. More are of containers that were killed with
/// it, whose namespaces the kernel is about to take down; each takes milliseconds.
const AT_ONCE: usize = 16;

/// Brings the cables of containers that run to what the records say. Done once, when all that runs was found again.
pub(crate) async fn mend(engine: &Arc<Engine>) {
    let worker = Arc::clone(engine);
    let work = move || mend_cables(&worker);
    let done = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| chain(&error).to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = done {
        tracing::warn!(%error, "the cables of containers were not looked at");
    }
}

fn mend_cables(engine: &Arc<Engine>) -> Result<(), NetworkError> {
    let bridges: BTreeSet<String> = {
        let table = engine.networks.table();
        let all = table.all().filter(|network| network.record.driver == "bridge");
        all.flat_map(|network| {
            let further = extension::names_of_all(&network.record.id);
            std::iter::once(network.record.bridge.clone()).chain(further)
        })
        .collect()
    };
    if bridges.is_empty() {
        return Ok(());
    }
    // Who runs is looked up first, and who is on a network last: what begins or ends meanwhile is neither missing nor left.
    let all = engine.registry.all();
    let running = all
        .iter()
        .filter(|container| container.view().status.is_running() && !container.view().endpoints.is_empty());
    let running: Vec<&Arc<Container>> = running.collect();
    let failed = |error| NetworkError::step("look for the cables of", "containers", error);
    let links = engine
        .networks
        .kernel()
        .route()
        .and_then(netlink::Socket::links)
        .map_err(failed)?;
    let named: BTreeMap<&str, &Link> = links.iter().map(|link| (link.name.as_str(), link)).collect();
    let recorded: BTreeSet<String> = {
        let table = engine.networks.table();
        let members = table.all().flat_map(|network| network.members().values());
        members.filter_map(Endpoint::port).map(str::to_owned).collect()
    };
    for container in &running {
        let view = container.view();
        for endpoint in view.endpoints.iter() {
            if endpoint.port().is_some_and(|port| !named.contains_key(port)) {
                tracing::info!(container = %container.id, network = endpoint.network_name, "a container is plugged in that was not");
                if let Err(error) = plug(engine, container, endpoint) {
                    tracing::warn!(container = %container.id, error = %chain(&error), "a container is not on a network that it was connected to");
                }
            }
        }
    }
    let own: BTreeSet<u32> = bridges
        .iter()
        .filter_map(|bridge| named.get(bridge.as_str()).map(|link| link.index))
        .collect();
    let is_left = |link: &&Link| {
        link.name.starts_with("bv")
            && link.master.is_some_and(|bridge| own.contains(&bridge))
            && !recorded.contains(&link.name)
    };
    let mut left: Vec<String> = links
        .iter()
        .filter(is_left)
        .map(|link| link.name.clone())
        .collect();
    let running: Vec<Arc<Container>> = running.into_iter().cloned().collect();
    let many = left.split_off(left.len().min(AT_ONCE));
    if !many.is_empty() {
        let (worker, running) = (Arc::clone(engine), running.clone());
        engine.defer(move || pull(&worker, &many, &running));
    }
    if !left.is_empty() {
        pull(engine, &left, &running);
    }
    Ok(())
}

fn plug(engine: &Arc<Engine>, container: &Arc<Container>, endpoint: &Endpoint) -> Result<(), NetworkError> {
    let name = &endpoint.network_name;
    crate::container::rewrite_document(engine, container)
        .map_err(|error| NetworkError::step("write the task document for", name, error))?;
    let record = engine.networks.table().record(&endpoint.network)?;
    let mut kernel = engine.networks.kernel();
    kernel.make_bridge(&record)?;
    extension::make(&mut kernel, &record, endpoint.extension)?;
    let Some(namespace) = namespace(container) else {
        // Between two runs: the next one is plugged in by its shim.
        return Ok(());
    };
    let view = container.view();
    if endpoint.is_default {
        let others = view.endpoints.iter().filter(|other| other.id != endpoint.id);
        change_default(&namespace, others, false);
    }
    let socket = kernel
        .route()
        .map_err(|error| NetworkError::step("plug a container into", name, error))?;
    let settings = recipe(endpoint, &view.host);
    on_own_thread(name, || {
        endpoint::restore(socket, namespace.as_fd(), &settings).map(drop)
    })
}

/// Pulls cables out that are in no record. Whose they are is not known: all that runs gets its document and its default
/// route anew.
fn pull(engine: &Arc<Engine>, ports: &[String], running: &[Arc<Container>]) {
    let mut kernel = engine.networks.kernel();
    for port in ports {
        tracing::info!(port, "a cable is pulled out that no record has");
        let left = match kernel.route() {
            Ok(socket) => endpoint::leave(socket, port).map_err(|error| chain(&error).to_string()),
            Err(error) => Err(chain(&error).to_string()),
        };
        if let Err(error) = left {
            tracing::warn!(port, error, "a cable stays that no record has");
        }
        shaping::release(&mut kernel, std::slice::from_ref(port));
    }
    drop(kernel);
    for container in running {
        if let Err(error) = crate::container::rewrite_document(engine, container) {
            tracing::warn!(container = %container.id, error = %chain(&error), "a container may come back with a cable that no record has");
        }
        if let Some(namespace) = namespace(container) {
            let view = container.view();
            let default = view.endpoints.iter().filter(|endpoint| endpoint.is_default);
            change_default(&namespace, default, true);
        }
    }
}
