//! List networks.

use std::collections::BTreeMap;

use super::error::NetworkError;
use super::inspect::{NetworkDetails, details, predefined};
use crate::Engine;
use crate::system::filter::{Filters, check_names, label_fits, switch, value_error};

const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

/// Returns the networks that fit docker's filters: `dangling driver id label name scope type`.
pub fn list(
    engine: &Engine,
    filters: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<NetworkDetails>, NetworkError> {
    check_names(filters, &FILTERS)?;
    let dangling = switch(filters, "dangling")?;
    for kind in filters.get("type").into_iter().flatten() {
        if !matches!(kind.as_str(), "custom" | "builtin") {
            return Err(value_error("type", kind).into());
        }
    }
    let mut all: Vec<NetworkDetails> = {
        let table = engine.networks.table();
        table.all().map(|network| details(engine, network)).collect()
    };
    all.extend(predefined(engine));
    all.retain(|network| fits(network, filters, dangling));
    Ok(all)
}

fn fits(network: &NetworkDetails, filters: &Filters, dangling: Option<bool>) -> bool {
    let any = |name: &str, test: &dyn Fn(&str) -> bool| {
        filters
            .get(name)
            .is_none_or(|values| values.is_empty() || values.iter().any(|value| test(value)))
    };
    let every = |name: &str, test: &dyn Fn(&str) -> bool| {
        filters
            .get(name)
            .is_none_or(|values| values.iter().all(|value| test(value)))
    };
    any("driver", &|driver| network.driver == driver)
        && any("id", &|id| network.id.starts_with(id))
        && any("name", &|name| network.name.contains(name))
        && any("scope", &|scope| scope == "local")
        && any("type", &|kind| (kind == "builtin") == network.is_predefined())
        && every("label", &|label| label_fits(&network.labels, label))
        && dangling.is_none_or(|wanted| wanted == (network.containers.is_empty() && !network.is_predefined()))
}
