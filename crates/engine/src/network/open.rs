//! The networks when a daemon starts: loaded from the store, with the default one among them; and what runs goes on.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::error::chain;
use base::file::Durability;
use base::id::NetworkId;
use db::{NetworkRow, Store};
use ipnet::IpNet;

use super::DEFAULT;
use super::create::{CreateRequest, IpamRequest, mac_of, plan, record_it, subnets_of};
use super::endpoint::{Endpoint, Publication};
use super::error::NetworkError;
use super::kernel::Kernel;
use super::record::NetworkRecord;
use super::record_file;
use super::table::Networks;
use crate::Engine;
use crate::daemon::NetworkConfig;
use crate::files::Layout;

/// The fact that the packet filter was put in place, with the boot in which it was.
const IN_PLACE: &str = "firewall";

/// Loads the networks. A record that cannot be used is quarantined, and its network is what its file says, if that can be used.
pub(crate) fn open(
    store: &Store,
    layout: &Layout,
    config: &NetworkConfig,
) -> Result<Networks, db::StoreError> {
    let networks = Networks::new(
        Kernel::new(&config.firewall, config.masquerade),
        config.ports_per_bridge,
    );
    let (rows, mut damaged) = store.networks()?;
    for row in rows {
        let key = row.id.clone();
        if let Err(problem) = load(&networks, row) {
            damaged.push(db::Damage {
                table: "networks",
                key,
                problem,
            });
        }
    }
    for damage in &damaged {
        tracing::error!(network = %damage.key, problem = %damage.problem, "a damaged record was quarantined");
        store.quarantine(damage)?;
        if let Some(row) = damage
            .key
            .parse()
            .ok()
            .and_then(|id| record_file::read(layout, &id))
            && load(&networks, row.clone()).is_ok()
        {
            store.write(Durability::Power, |batch| batch.insert_network(&row))?;
        }
    }
    for network in networks.table().all() {
        record_file::write(layout, &network.record);
    }
    Ok(networks)
}

fn load(networks: &Networks, row: NetworkRow) -> Result<(), String> {
    let id: NetworkId = row
        .id
        .parse()
        .map_err(|error: base::id::ParseIdError| error.to_string())?;
    let mut record: NetworkRecord = serde_json::from_str(&row.document).map_err(|error| error.to_string())?;
    record.id = id.to_string();
    record.name = row.name;
    networks
        .table()
        .insert(Arc::new(record))
        .map_err(|error| error.to_string())
}

/// Makes the default network as the configuration says it, unless there is to be none; then goes on with what runs: the
/// packet filter gets exactly what containers that run need, and what a crash has left in it is gone.
pub(crate) fn go_on(engine: &Arc<Engine>, running: Vec<(String, Vec<Endpoint>, Vec<Publication>)>) {
    if let Err(error) = make_default(engine) {
        tracing::error!(error = %chain(&error), "the default network cannot be used");
    }
    let networks = &engine.networks;
    let mut kernel = networks.kernel();
    {
        let mut table = networks.table();
        for (container, endpoints, publications) in running {
            for endpoint in endpoints {
                table.adopt(&container, endpoint);
            }
            table.ports.adopt(&container, &publications);
            if !publications.is_empty() {
                table.published.insert(container, publications);
            }
        }
    }
    let was_in_place = engine.store.meta(IN_PLACE).ok().flatten();
    let this_boot = was_in_place.as_deref() == Some(engine.host.boot_id.as_str());
    let lived_in: Vec<_> = {
        let table = networks.table();
        let with_members = table.all().filter(|network| !network.members().is_empty());
        with_members.map(|network| Arc::clone(&network.record)).collect()
    };
    for record in &lived_in {
        if let Err(error) = super::guard::look(engine, &mut kernel, record) {
            tracing::error!(error = %chain(&error), "the links of this machine are not kept apart");
        }
    }
    let result = if !lived_in.is_empty() {
        kernel.replace(&mut networks.table())
    } else if this_boot {
        kernel.clear()
    } else {
        Ok(())
    };
    if !lived_in.is_empty() || this_boot {
        super::budget::go_on(engine, &mut kernel);
    }
    super::guard::watch(engine, &mut kernel);
    if let Err(error) = result {
        tracing::error!(error = %chain(&error), "the packet filter could not be put in place");
    }
}

/// Remembers that the packet filter holds something of this engine's, before it does.
pub(crate) fn remember(engine: &Arc<Engine>) -> Result<(), db::StoreError> {
    let boot = engine.host.boot_id.as_str();
    if engine.store.meta(IN_PLACE)?.as_deref() == Some(boot) {
        return Ok(());
    }
    engine.write(|batch| batch.set_meta(IN_PLACE, boot))
}

fn make_default(engine: &Arc<Engine>) -> Result<(), NetworkError> {
    let config = &engine.config.network;
    let found = {
        let table = engine.networks.table();
        table
            .all()
            .find(|network| network.record.is_default())
            .map(|network| Arc::clone(&network.record))
    };
    if config.bridge == "none" {
        if let Some(record) = found {
            super::remove::forget(engine, &record);
        }
        return Ok(());
    }
    let id = match &found {
        Some(record) => record.id.clone(),
        None => NetworkId::generate()
            .map_err(|error| NetworkError::step("draw an id for", DEFAULT, error))?
            .to_string(),
    };
    let mut request = request(config);
    let chosen = found
        .as_ref()
        .and_then(|record| record.subnets.first().filter(|subnet| !subnet.asked));
    if let (Some(subnet), Some(first)) = (chosen, request.ipam.first_mut())
        && first.subnet.is_empty()
    {
        // What was given once is kept.
        first.subnet = subnet.subnet.to_string();
    }
    let own: Vec<IpNet> = {
        let table = engine.networks.table();
        let others = table.all().filter(|network| !network.record.is_default());
        others.flat_map(|network| subnets_of(&network.record)).collect()
    };
    let routes = match found {
        Some(_) => Vec::new(),
        None => engine
            .networks
            .kernel()
            .routes()
            .map_err(|error| NetworkError::step("read the routes of the machine for", DEFAULT, error))?,
    };
    let mut record = plan(config, &id, request, &own, &routes)?;
    record.bridge.clone_from(&config.bridge);
    for subnet in &mut record.subnets {
        // As with docker, addresses of one's own choice are for networks of one's own.
        subnet.asked = config.bridge_address.is_some() && subnet.subnet.addr().is_ipv4();
    }
    record.mac = mac_of(&id);
    if let Some(found) = found {
        record.created = found.created;
        if *found == record {
            return Ok(());
        }
        engine
            .write(|batch| batch.remove_network(&id))
            .map_err(|error| NetworkError::step("record", DEFAULT, error))?;
        if found.subnets != record.subnets {
            engine.networks.kernel().remove_bridge(&found)?;
        }
        engine.networks.table().remove(&id);
    }
    record_it(engine, &record)?;
    engine
        .networks
        .table()
        .insert(Arc::new(record))
        .map_err(|error| NetworkError::invalid(error.to_string()))
}

/// Returns what the configuration asks of the default network.
fn request(config: &NetworkConfig) -> CreateRequest {
    let text = |net: Option<IpNet>| net.map(|net| net.to_string()).unwrap_or_default();
    let v4 = IpamRequest {
        subnet: text(config.bridge_address.map(|net| net.trunc())),
        ip_range: text(config.fixed_range),
        gateway: match (config.default_gateway, config.bridge_address) {
            (Some(gateway), _) => gateway.to_string(),
            (None, Some(address)) => address.addr().to_string(),
            (None, None) => String::new(),
        },
        auxiliary: BTreeMap::new(),
    };
    let mut ipam = vec![v4];
    if let (true, Some(subnet)) = (config.ipv6, config.ipv6_subnet) {
        ipam.push(IpamRequest {
            subnet: subnet.trunc().to_string(),
            gateway: config
                .default_gateway6
                .map(|gateway| gateway.to_string())
                .unwrap_or_default(),
            ..IpamRequest::default()
        });
    }
    let switch = |value: bool| value.to_string();
    let mut options = BTreeMap::from([
        (
            "com.docker.network.bridge.default_bridge".to_owned(),
            switch(true),
        ),
        (
            "com.docker.network.bridge.enable_icc".to_owned(),
            switch(config.talking),
        ),
        (
            "com.docker.network.bridge.enable_ip_masquerade".to_owned(),
            switch(config.masquerade),
        ),
        (
            "com.docker.network.bridge.host_binding_ipv4".to_owned(),
            config
                .host_address
                .map_or_else(|| "0.0.0.0".to_owned(), |address| address.to_string()),
        ),
        ("com.docker.network.bridge.name".to_owned(), config.bridge.clone()),
    ]);
    options.insert(
        "com.docker.network.driver.mtu".to_owned(),
        config.mtu.unwrap_or(1500).to_string(),
    );
    CreateRequest {
        name: DEFAULT.to_owned(),
        ipv6: Some(config.ipv6),
        ipam,
        options,
        ..CreateRequest::default()
    }
}
