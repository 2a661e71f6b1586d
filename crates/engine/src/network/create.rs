//! Create a network.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::clock::Timestamp;
use base::file::Durability;
use base::id::NetworkId;
use db::NetworkRow;
use ipnet::IpNet;
use network::address::{Family, Pools, Range, RangeSettings, mac_address};

use super::error::NetworkError;
use super::options::Options;
use super::record::{NetworkRecord, Subnet};
use super::{DEFAULT, tell};
use crate::Engine;
use crate::daemon::{NetworkConfig, encode};
use crate::failpoint;

/// One subnet, as asked for; texts of the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpamRequest {
    /// The subnet; empty: one of the pools.
    pub subnet: String,
    /// The part of it that containers get their addresses from; empty: all.
    pub ip_range: String,
    /// The gateway; empty: the first address.
    pub gateway: String,
    /// Addresses that others on the network have, by name.
    pub auxiliary: BTreeMap<String, String>,
}

/// A network to create.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// The name.
    pub name: String,
    /// The driver; empty: `bridge`.
    pub driver: String,
    /// Whether nothing leaves it and nothing comes in.
    pub internal: bool,
    /// Kept for inspect.
    pub attachable: bool,
    /// A swarm's; refused.
    pub ingress: bool,
    /// Only a configuration for others; refused.
    pub config_only: bool,
    /// The network whose configuration it uses; refused unless empty.
    pub config_from: String,
    /// `local`, or empty.
    pub scope: String,
    /// Whether it has IPv4; `None`: it has.
    pub ipv4: Option<bool>,
    /// Whether it has IPv6; `None`: it has if a subnet is one.
    pub ipv6: Option<bool>,
    /// The address management; empty or `default`.
    pub ipam_driver: String,
    /// Its options.
    pub ipam_options: BTreeMap<String, String>,
    /// The subnets.
    pub ipam: Vec<IpamRequest>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A network was created.
#[derive(Clone, Debug)]
pub struct Created {
    /// Its id.
    pub id: NetworkId,
    /// What the caller should know.
    pub warning: String,
}

/// Creates a network. The record is written first: a daemon killed before the bridge is there makes it when it is needed.
pub async fn create(engine: &Arc<Engine>, request: CreateRequest) -> Result<Created, NetworkError> {
    check(&request)?;
    let id =
        NetworkId::generate().map_err(|error| NetworkError::step("draw an id for", &request.name, error))?;
    let maker = Arc::clone(engine);
    let name = request.name.clone();
    let work = move || make(&maker, &id, request).map(|()| id);
    let made = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| NetworkError::step("create", &name, error))?;
    let id = made?;
    super::resolver::network_made(engine, id.as_str()).await;
    Ok(Created {
        id,
        warning: String::new(),
    })
}

fn make(engine: &Arc<Engine>, id: &NetworkId, request: CreateRequest) -> Result<(), NetworkError> {
    let mut kernel = engine.networks.kernel();
    let routes = kernel
        .routes()
        .map_err(|error| NetworkError::step("read the routes of the machine for", &request.name, error))?;
    let record = {
        let mut table = engine.networks.table();
        if table.all().any(|network| network.record.name == request.name) {
            return Err(NetworkError::Exists { name: request.name });
        }
        let own: Vec<IpNet> = table
            .all()
            .flat_map(|network| subnets_of(&network.record))
            .collect();
        let mut record = plan(&engine.config.network, id.as_str(), request, &own, &routes)?;
        record.makes_parent = super::vlan::is_wanted(&mut kernel, &record)?;
        let record = Arc::new(record);
        if let Some(other) = table
            .all()
            .find(|other| !record.bridge.is_empty() && other.record.bridge == record.bridge)
        {
            return Err(NetworkError::Forbidden {
                text: format!(
                    "cannot create network {} ({}): conflicts with network {} ({}): networks have same bridge name",
                    record.id, record.bridge, other.record.id, other.record.bridge
                ),
            });
        }
        table
            .insert(Arc::clone(&record))
            .map_err(|error| NetworkError::invalid(error.to_string()))?;
        record
    };
    let undo = |error: NetworkError| {
        engine.networks.table().remove(&record.id);
        error
    };
    record_it(engine, &record).map_err(undo)?;
    failpoint::reached("network.create.record");
    let made = super::guard::look(engine, &mut kernel, &record).and_then(|()| kernel.make_bridge(&record));
    let made = made.and_then(|()| {
        if !kernel.is_in_place() {
            super::open::remember(engine)
                .map_err(|error| NetworkError::step("remember the packet filter of", &record.name, error))?;
        }
        kernel
            .add_network(&mut engine.networks.table(), &record)
            .map_err(|error| NetworkError::step("let the packet filter know", &record.name, error))?;
        super::guard::watch(engine, &mut kernel);
        Ok(())
    });
    if let Err(error) = made {
        drop(kernel);
        super::remove::forget(engine, &record);
        return Err(error);
    }
    failpoint::reached("network.create.made");
    drop(kernel);
    tell(engine, "create", &record, None);
    Ok(())
}

/// Writes a network down; it is acknowledged, so it survives a power cut.
pub(crate) fn record_it(engine: &Engine, record: &NetworkRecord) -> Result<(), NetworkError> {
    let row = NetworkRow {
        id: record.id.clone(),
        name: record.name.clone(),
        document: encode(record),
    };
    engine
        .store
        .write(Durability::Power, |batch| batch.insert_network(&row))
        .map_err(|error| NetworkError::step("record", &record.name, error))?;
    super::record_file::write(&engine.layout, record);
    Ok(())
}

/// Refuses what no network can be.
fn check(request: &CreateRequest) -> Result<(), NetworkError> {
    let name = request.name.as_str();
    if name.trim().is_empty() {
        return Err(NetworkError::invalid(format!("invalid name: {name}")).or_empty(name));
    }
    let good = name.len() <= 255
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if !good {
        return Err(NetworkError::invalid(format!(
            "invalid network name: {}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            name.chars().take(256).collect::<String>().escape_default()
        )));
    }
    if matches!(name, DEFAULT | "host" | "none" | "default" | "container") {
        return Err(NetworkError::Forbidden {
            text: format!("operation is not permitted on predefined {name} network"),
        });
    }
    let unsupported = [
        (request.ingress, "--ingress"),
        (request.config_only, "--config-only"),
        (!request.config_from.is_empty(), "--config-from"),
        (
            !matches!(request.scope.as_str(), "" | "local"),
            "--scope other than local",
        ),
        (
            request.ipv4 == Some(false) && request.ipv6 != Some(true),
            "--ipv4=false without --ipv6",
        ),
        (
            !matches!(request.ipam_driver.as_str(), "" | "default"),
            "--ipam-driver other than default",
        ),
        (!request.ipam_options.is_empty(), "--ipam-opt"),
    ];
    match unsupported.iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(NetworkError::Unsupported {
            text: format!("{what} is not supported by this version of Berth"),
        }),
        None => Ok(()),
    }
}

impl NetworkError {
    /// docker's text for a name of nothing.
    fn or_empty(self, name: &str) -> Self {
        if name.is_empty() {
            Self::invalid("invalid name: name is empty")
        } else {
            self
        }
    }
}

/// Returns the subnets of a network.
pub(crate) fn subnets_of(record: &NetworkRecord) -> Vec<IpNet> {
    record.subnets.iter().map(|subnet| subnet.subnet).collect()
}

/// Decides what the network is. `own` are the subnets of other networks, `routes` what the machine reaches.
pub(crate) fn plan(
    config: &NetworkConfig,
    id: &str,
    request: CreateRequest,
    own: &[IpNet],
    routes: &[IpNet],
) -> Result<NetworkRecord, NetworkError> {
    let driver = if request.driver.is_empty() {
        "bridge".to_owned()
    } else {
        request.driver
    };
    if !matches!(driver.as_str(), "bridge" | "macvlan" | "ipvlan" | "phys") {
        return Err(match driver.as_str() {
            "host" | "null" => NetworkError::Forbidden {
                text: format!("only one instance of \"{driver}\" network is allowed"),
            },
            other => NetworkError::NoDriver {
                name: other.chars().take(80).filter(|c| !c.is_control()).collect(),
            },
        });
    }
    let settings = Options::parse(&driver, &request.options)?;
    if driver != "bridge" && settings.parent.is_none() {
        return Err(NetworkError::invalid(format!(
            "a network with driver {driver} needs --opt parent=INTERFACE"
        )));
    }
    let mut asked = Vec::with_capacity(request.ipam.len());
    for one in &request.ipam {
        asked.push(parse(one)?);
    }
    let has = |wanted: Family| asked.iter().any(|one: &Asked| one.family() == Some(wanted));
    let ipv6 = request.ipv6.unwrap_or_else(|| has(Family::V6));
    let ipv4 = request.ipv4.unwrap_or(true);
    if has(Family::V6) && !ipv6 {
        return Err(NetworkError::invalid(
            "IPv6 is not enabled for the network, but an IPv6 subnet was given",
        ));
    }
    let mut subnets = Vec::new();
    // A network that borrows an interface has the addresses that come with it.
    let wants_addresses = driver != "phys" || !asked.is_empty();
    for family in [(Family::V4, ipv4), (Family::V6, ipv6)]
        .into_iter()
        .filter(|(_, on)| *on && wants_addresses)
    {
        let taken: Vec<IpNet> = own.iter().chain(routes).copied().collect();
        subnets.push(subnet(config, id, family.0, &asked, own, &taken)?);
    }
    if asked.len() > subnets.len() {
        return Err(NetworkError::Unsupported {
            text: "more than one subnet of a family in one network is not supported by this version of Berth"
                .to_owned(),
        });
    }
    let bridge = match (driver.as_str(), &settings.bridge) {
        ("bridge", Some(name)) => name.clone(),
        ("bridge", None) => format!("br-{}", id.get(..12).unwrap_or(id)),
        _ => String::new(),
    };
    Ok(NetworkRecord {
        id: id.to_owned(),
        name: request.name,
        created: Timestamp::now(),
        driver,
        ipv4,
        ipv6,
        internal: request.internal,
        attachable: request.attachable,
        subnets,
        ipam_options: request.ipam_options,
        options: request.options,
        labels: request.labels,
        bridge,
        mac: mac_of(id),
        makes_parent: false,
    })
}

/// Returns a hardware address that belongs to an id: the same after each restart.
pub(crate) fn mac_of(id: &str) -> String {
    let mut seed = [0; 6];
    for (number, byte) in seed.iter_mut().enumerate() {
        let digits = id.get(2 * number..2 * number + 2).unwrap_or("00");
        *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
    }
    mac_address(seed).to_string()
}

/// One subnet as asked for.
struct Asked {
    subnet: Option<IpNet>,
    range: Option<IpNet>,
    gateway: Option<IpAddr>,
    auxiliary: BTreeMap<String, IpAddr>,
}

impl Asked {
    fn family(&self) -> Option<Family> {
        let v4 = self
            .subnet
            .map(|net| net.addr().is_ipv4())
            .or(self.gateway.map(|gateway| gateway.is_ipv4()));
        v4.map(|v4| if v4 { Family::V4 } else { Family::V6 })
    }
}

fn parse(request: &IpamRequest) -> Result<Asked, NetworkError> {
    let net = |what: &str, text: &str| -> Result<Option<IpNet>, NetworkError> {
        match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_bad| {
                NetworkError::invalid(format!("invalid {what} {text}: invalid CIDR block notation"))
            }),
        }
    };
    let address = |what: &str, text: &str| -> Result<IpAddr, NetworkError> {
        text.parse()
            .map_err(|_bad| NetworkError::invalid(format!("invalid {what} {text}: invalid address")))
    };
    let subnet = net("subnet", &request.subnet)?;
    if let Some(subnet) = subnet
        && subnet.addr() != subnet.network()
    {
        return Err(NetworkError::invalid(format!(
            "invalid network config:\ninvalid subnet {subnet}: it should be {}",
            subnet.trunc()
        )));
    }
    let gateway = match request.gateway.as_str() {
        "" => None,
        text => Some(address("gateway", text)?),
    };
    let mut auxiliary = BTreeMap::new();
    for (name, text) in &request.auxiliary {
        auxiliary.insert(name.clone(), address("auxiliary address", text)?);
    }
    Ok(Asked {
        subnet,
        range: net("ip-range", &request.ip_range)?,
        gateway,
        auxiliary,
    })
}

fn subnet(
    config: &NetworkConfig,
    id: &str,
    family: Family,
    asked: &[Asked],
    own: &[IpNet],
    taken: &[IpNet],
) -> Result<Subnet, NetworkError> {
    // Without a subnet an entry can only say what an IPv4 pool's piece is to be like.
    let one = asked
        .iter()
        .find(|one| one.family().unwrap_or(Family::V4) == family);
    let wanted = one.and_then(|one| one.subnet);
    let subnet = match wanted {
        Some(subnet) => {
            if own
                .iter()
                .any(|other| other.contains(&subnet) || subnet.contains(other))
            {
                return Err(NetworkError::Forbidden {
                    text: "Pool overlaps with other one on this address space".to_owned(),
                });
            }
            subnet
        }
        None => pools(config, id)
            .free_subnet(family, taken)
            .ok_or_else(|| NetworkError::Forbidden {
                text: exhausted(taken, family),
            })?,
    };
    let settings = RangeSettings {
        subnet,
        range: one.and_then(|one| one.range),
        gateway: one.and_then(|one| one.gateway),
        auxiliary: one.map(|one| one.auxiliary.clone()).unwrap_or_default(),
    };
    let range = Range::new(&settings).map_err(|error| NetworkError::invalid(error.to_string()))?;
    Ok(Subnet {
        subnet,
        range: settings.range,
        gateway: range.gateway(),
        auxiliary: settings.auxiliary,
        asked: wanted.is_some(),
        gateway_asked: settings.gateway.is_some(),
    })
}

/// Says what stands in the way of every pool.
fn exhausted(taken: &[IpNet], family: Family) -> String {
    let of_family = |net: &&IpNet| net.addr().is_ipv4() == (family == Family::V4);
    let mut list: Vec<String> = taken.iter().filter(of_family).map(IpNet::to_string).collect();
    list.sort();
    list.dedup();
    list.truncate(16);
    format!(
        "could not find an available, non-overlapping {} address pool among the defaults to assign to the network: the machine has routes or networks {}",
        if family == Family::V4 { "IPv4" } else { "IPv6" },
        list.join(", ")
    )
}

/// Returns the pools: those of the configuration, and docker's of the families that it does not name.
fn pools(config: &NetworkConfig, id: &str) -> Pools {
    if config.address_pools.is_empty() {
        return Pools::docker(site(id));
    }
    let mut pools = config.address_pools.clone();
    if !pools.iter().any(|(net, _)| matches!(net, IpNet::V6(_))) {
        pools.push((site(id).into(), 64));
    }
    Pools::new(pools)
}

/// Returns a unique local /48 (RFC 4193, section 3.2.2: its 40 bits are random, as the id is).
fn site(id: &str) -> ipnet::Ipv6Net {
    let digits = id
        .get(..10)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .unwrap_or(0);
    let bits = (0xfd_u128 << 120) | (u128::from(digits) << 80);
    ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::from_bits(bits), 48)
}
