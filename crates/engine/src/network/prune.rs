//! Remove the networks that nobody uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::error::chain;

use super::error::NetworkError;
use super::record::NetworkRecord;
use super::remove::take_away;
use crate::Engine;
use crate::system::EventKind;
use crate::system::filter::{check_names, label_fits, until};

/// Removes the networks that no container names, also none that is stopped; returns their names. docker's filters:
/// `until label label!`.
pub async fn prune(
    engine: &Arc<Engine>,
    filters: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<String>, NetworkError> {
    check_names(filters, &["until", "label", "label!"])?;
    let until = until(filters)?;
    let fits = |record: &NetworkRecord| {
        let labels = |name: &str| filters.get(name).into_iter().flatten();
        until.is_none_or(|until| record.created < until)
            && labels("label").all(|label| label_fits(&record.labels, label))
            && !labels("label!").any(|label| label_fits(&record.labels, label))
    };
    let candidates: Vec<Arc<NetworkRecord>> = {
        let table = engine.networks.table();
        let unused = table
            .all()
            .filter(|network| !network.record.is_default() && network.members().is_empty());
        unused
            .map(|network| Arc::clone(&network.record))
            .filter(|record| fits(record))
            .collect()
    };
    let worker = Arc::clone(engine);
    let work = move || {
        let mut removed = Vec::new();
        for record in candidates {
            if super::ask::is_named(&worker, &record) {
                continue;
            }
            match take_away(&worker, &record) {
                Ok(()) => removed.push(record),
                Err(error) => {
                    tracing::warn!(network = record.name, error = %chain(&error), "a network was not pruned");
                }
            }
        }
        removed
    };
    let removed = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| NetworkError::step("prune", "", error))?;
    for record in &removed {
        super::resolver::network_gone(engine, &record.id).await;
    }
    let attributes = BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]);
    engine.events.tell(EventKind::Network, "prune", "", attributes);
    Ok(removed.iter().map(|record| record.name.clone()).collect())
}
