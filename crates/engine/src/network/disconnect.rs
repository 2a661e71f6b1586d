//! Disconnect a container from a network, also while it runs.

use std::os::fd::AsFd;
use std::sync::Arc;

use base::error::chain;
use network::endpoint;

use super::ask::{is_of_mode, key_of};
use super::connect::{change_default, check_mode, find, namespace, priorities, publish, save, set_record};
use super::endpoint::Endpoint;
use super::error::NetworkError;
use super::join::choose_default;
use super::record::NetworkRecord;
use super::tell;
use crate::Engine;
use crate::container::{Actor, Command, Container, LookupError, ask};
use crate::failpoint;

/// Disconnects a container from a network. With `force` one that is not there any more is no error.
pub async fn disconnect(
    engine: &Arc<Engine>,
    network: &str,
    container: &str,
    force: bool,
) -> Result<(), NetworkError> {
    let record = find(engine, network)?;
    let found = match engine.registry.find(container) {
        Err(LookupError::NotFound { .. }) if force => return Ok(()),
        found => found?,
    };
    check_mode(&found)?;
    match ask(engine, &found, |reply| Command::Disconnect(record, reply)).await {
        Some(result) => result,
        None if force => Ok(()),
        None => Err(LookupError::NotFound {
            name: container.to_owned(),
        }
        .into()),
    }
}

/// Carries it out, in the container's actor.
pub(crate) fn unplug(actor: &mut Actor, network: &Arc<NetworkRecord>) -> Result<(), NetworkError> {
    let (engine, container) = (Arc::clone(&actor.engine), Arc::clone(&actor.container));
    let before = container.record();
    let key = key_of(&engine, &before, network);
    let of_mode = is_of_mode(&engine, &before, network) && !before.left_network;
    let view = container.view();
    let has = view
        .endpoints
        .iter()
        .any(|endpoint| endpoint.network == network.id);
    if key.is_none() && !of_mode && !has {
        return Err(NetworkError::not_connected(container.id.as_str(), &network.name));
    }
    let mut after = (*before).clone();
    let mut host = (*before.host).clone();
    if let Some(key) = key {
        host.endpoints.remove(&key);
    }
    after.host = Arc::new(host);
    after.left_network |= of_mode;
    let stays = |endpoint: &&Endpoint| endpoint.network != network.id;
    let mut left: Vec<Endpoint> = view.endpoints.iter().filter(stays).cloned().collect();
    let priorities = priorities(&engine, &after, &left);
    choose_default(&mut left, &priorities);
    if has {
        // The table first: what the packet filter gets is what it says.
        if let Some(network) = engine.networks.table().get_mut(&network.id) {
            network.release(container.id.as_str());
        }
        publish(&engine, &container, left.clone());
    }
    save(&engine, &container, &after)?;
    set_record(&container, after);
    failpoint::reached("network.disconnect.record");
    if has {
        take_out(&engine, &container, network, &view.endpoints, &left);
    }
    tell(&engine, "disconnect", network, Some(container.id.as_str()));
    Ok(())
}

/// Takes away what is there of it. It is recorded as gone already: what fails is told, and the end of the run takes it.
fn take_out(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    network: &NetworkRecord,
    before: &[Endpoint],
    left: &[Endpoint],
) {
    let warn = |error: &(dyn std::error::Error + 'static)| {
        tracing::warn!(container = %container.id, network = network.name, error = %chain(error), "something of an endpoint stays until the container ends");
    };
    if let Err(error) = crate::container::rewrite_document(engine, container) {
        warn(&error);
    }
    let mut kernel = engine.networks.kernel();
    for endpoint in before.iter().filter(|endpoint| endpoint.network == network.id) {
        let Some(port) = endpoint.port() else {
            if let Some(namespace) = namespace(container)
                && let Err(error) = endpoint::remove(namespace.as_fd(), &endpoint.interface)
            {
                warn(&error);
            }
            continue;
        };
        match kernel.route() {
            Ok(socket) => {
                if let Err(error) = endpoint::leave(socket, port) {
                    warn(&error);
                }
            }
            Err(error) => warn(&error),
        }
        super::shaping::release(&mut kernel, &[port.to_owned()]);
    }
    super::budget::unplug(engine, &mut kernel, container, network, before);
    let publications = &container.view().publications;
    if let Err(error) = kernel.exchange(&mut engine.networks.table(), before, left, publications) {
        warn(&error);
    }
    drop(kernel);
    if let Some(namespace) = namespace(container) {
        change_default(
            &namespace,
            left.iter().filter(|endpoint| endpoint.is_default),
            true,
        );
    }
}
