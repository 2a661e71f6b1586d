//! Further bridges of a network whose bridge has no port left. They have numbers, from which and the network's id their
//! names follow; a container's record says at which one it is. Made when the first container needs one, removed with the
//! network.

use std::collections::{BTreeMap, BTreeSet};

use netlink::NetlinkError;
use netlink::route::MacAddress;
use network::address::mac_address;
use network::extension::{Names, PREFIX, Settings, extend, retract};
use network::firewall::ExtensionFacts;

use super::endpoint::{Attach, Endpoint};
use super::error::NetworkError;
use super::kernel::Kernel;
use super::record::NetworkRecord;
use super::table::Table;

/// Most extensions of a network, and the highest number of one.
pub(crate) const MOST: u8 = 63;

/// Makes an extension, unless it is there. Number 0 is the bridge itself.
pub(crate) fn make(kernel: &mut Kernel, record: &NetworkRecord, number: u8) -> Result<(), NetworkError> {
    if number == 0 || record.driver != "bridge" {
        return Ok(());
    }
    let options = record.settings();
    let settings = Settings {
        bridge: record.bridge.clone(),
        names: names(&record.id, number),
        mac: mac(&record.id, number),
        mtu: options.mtu,
        talking: options.talking,
    };
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| NetworkError::Step {
        doing: "add a bridge to",
        name: record.name.clone(),
        source: error,
    };
    let socket = kernel.route().map_err(|error| failed(Box::new(error)))?;
    extend(socket, &settings).map_err(|error| failed(Box::new(error)))
}

/// Removes all extensions that there are of a network, whatever made them or was killed while it did.
pub(crate) fn remove_all(kernel: &mut Kernel, record: &NetworkRecord) -> Result<(), NetlinkError> {
    let socket = kernel.route()?;
    (1..=MOST).try_for_each(|number| retract(socket, &names(&record.id, number), mac(&record.id, number)))
}

/// Returns the extensions that containers are at, by network.
pub(crate) fn in_use(table: &Table) -> BTreeMap<String, BTreeSet<u8>> {
    let mut all: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
    for network in table.all() {
        let numbers: BTreeSet<u8> = network.extensions().collect();
        if !numbers.is_empty() {
            all.insert(network.record.id.clone(), numbers);
        }
    }
    all
}

/// Returns what the packet filter knows of an extension.
pub(crate) fn facts(network: &str, number: u8) -> ExtensionFacts {
    let names = names(network, number);
    ExtensionFacts {
        extension: names.extension,
        upper: names.upper,
    }
}

/// Returns by what a container is plugged in.
pub(crate) fn attach(endpoint: &Endpoint) -> Attach {
    let mut attach = endpoint.attachment.clone();
    if let Attach::Bridge { bridge, .. } = &mut attach
        && endpoint.extension > 0
    {
        *bridge = names(&endpoint.network, endpoint.extension).extension;
    }
    attach
}

/// Returns the names that the extensions of a network have, or would have.
pub(crate) fn names_of_all(network: &str) -> impl Iterator<Item = String> + '_ {
    (1..=MOST).map(move |number| names(network, number).extension)
}

/// Returns the names of an extension's links: 15 bytes each, as much as one may have.
fn names(network: &str, number: u8) -> Names {
    let id = network.get(..11).unwrap_or(network);
    let name = |kind: &str| format!("{kind}{number:02x}{id}");
    Names {
        extension: name(PREFIX),
        upper: name("bu"),
        lower: name("bd"),
    }
}

/// Returns the hardware address of an extension, which is not that of the bridge.
fn mac(network: &str, number: u8) -> MacAddress {
    let mut seed = [number; 6];
    for (at, byte) in seed.iter_mut().take(5).enumerate() {
        let digits = network.get(12 + 2 * at..14 + 2 * at).unwrap_or("00");
        *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
    }
    mac_address(seed)
}
