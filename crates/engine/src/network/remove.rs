//! Remove a network.

use std::sync::Arc;

use base::error::chain;

use super::error::NetworkError;
use super::record::NetworkRecord;
use super::table::Network;
use super::tell;
use crate::Engine;
use crate::failpoint;

/// Removes a network on which no container runs. Its bridge goes first: a daemon killed in between makes it again when it is
/// needed.
pub async fn remove(engine: &Arc<Engine>, name: &str) -> Result<(), NetworkError> {
    let found = engine.networks.table().record(name);
    let record = match found {
        Ok(record) => record,
        Err(error) => {
            let known = super::inspect(engine, name).map_err(|_unknown| error)?;
            return Err(predefined(&known.name));
        }
    };
    if record.is_default() {
        return Err(predefined(&record.name));
    }
    let (worker, id) = (Arc::clone(engine), record.id.clone());
    // A link goes away only when the kernel has waited for all CPUs.
    tokio::task::spawn_blocking(move || take_away(&worker, &record))
        .await
        .map_err(|error| NetworkError::step("remove", name, error))??;
    super::resolver::network_gone(engine, &id).await;
    Ok(())
}

/// Forgets a network that was not made to its end.
pub(crate) fn forget(engine: &Arc<Engine>, record: &NetworkRecord) {
    let result = engine.networks.kernel().remove_bridge(record);
    if let Err(error) = result {
        tracing::warn!(network = record.name, error = %chain(&error), "a bridge stays");
    }
    super::record_file::remove(&engine.layout, record);
    if let Err(error) = engine
        .reserve
        .with_room(|| engine.write(|batch| batch.remove_network(&record.id)))
    {
        tracing::warn!(network = record.name, error = %chain(&error), "a record stays");
    }
    engine.networks.table().remove(&record.id);
}

pub(crate) fn take_away(engine: &Arc<Engine>, record: &NetworkRecord) -> Result<(), NetworkError> {
    let mut kernel = engine.networks.kernel();
    {
        let mut table = engine.networks.table();
        let network = table.find(&record.id)?;
        if let Some(text) = users(engine, network) {
            return Err(NetworkError::Forbidden { text });
        }
        // From here on nobody joins it.
        table.remove(&record.id);
    }
    let back = |error: NetworkError| {
        if let Err(error) = engine.networks.table().insert(Arc::new(record.clone())) {
            tracing::error!(network = record.name, error = %chain(&error), "a network is lost until the daemon starts again");
        }
        error
    };
    kernel.remove_bridge(record).map_err(back)?;
    failpoint::reached("network.remove.bridge");
    super::record_file::remove(&engine.layout, record);
    engine
        .reserve
        .with_room(|| engine.write(|batch| batch.remove_network(&record.id)))
        .map_err(|error| {
            super::record_file::write(&engine.layout, record);
            back(NetworkError::step("forget", &record.name, error))
        })?;
    if let Err(error) = kernel.remove_network(&mut engine.networks.table(), record) {
        tracing::warn!(network = record.name, error = %chain(&error), "the packet filter still knows a network");
    }
    drop(kernel);
    tell(engine, "destroy", record, None);
    Ok(())
}

/// Names the containers that run on a network; docker's text.
fn users(engine: &Engine, network: &Network) -> Option<String> {
    if network.members().is_empty() {
        return None;
    }
    let name = |id: &String| {
        let container = engine.registry.get(id)?;
        Some(format!(
            "name:\"{}\" id:\"{}\"",
            container.view().name,
            container.id.short()
        ))
    };
    let names: Vec<String> = network.members().keys().filter_map(name).collect();
    Some(format!(
        "error while removing network: network {} has active endpoints ({})",
        network.record.name,
        names.join(", ")
    ))
}

fn predefined(name: &str) -> NetworkError {
    NetworkError::Forbidden {
        text: format!("{name} is a pre-defined network and cannot be removed"),
    }
}
