//! `GET /networks`.

use std::collections::BTreeMap;

use api_types::network::{Ipam, Network};
use base::clock::Timestamp;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::network::{HOST_ID, NONE_ID};

pub(crate) async fn list(call: Call) -> Result<Reply, ApiError> {
    let filters = call.query.filters()?;
    let mut networks = networks();
    for (name, values) in &filters {
        networks.retain(|network| values.iter().any(|value| fits(network, name, value)));
        if !matches!(
            name.as_str(),
            "dangling" | "driver" | "id" | "label" | "name" | "scope" | "type"
        ) {
            return Err(ApiError::invalid(format!("invalid filter '{name}'")));
        }
    }
    Ok(reply::ok(&networks))
}

fn fits(network: &Network, name: &str, value: &str) -> bool {
    match name {
        "driver" => network.driver == value,
        "id" => network.id.starts_with(value),
        "name" => network.name.contains(value),
        "scope" => network.scope == value,
        "type" => value == "builtin",
        "dangling" => matches!(value, "0" | "false"),
        _ => false,
    }
}

/// Returns the networks that there are.
pub(crate) fn networks() -> Vec<Network> {
    let networks = [("host", HOST_ID, "host"), ("none", NONE_ID, "null")].map(|(name, id, driver)| Network {
        name: name.to_owned(),
        id: id.to_owned(),
        created: Timestamp::NEVER.to_string(),
        scope: "local".to_owned(),
        driver: driver.to_owned(),
        enable_ipv4: true,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: None,
            config: Some(Vec::new()),
        },
        containers: BTreeMap::new(),
        ..Network::default()
    });
    networks.into()
}
