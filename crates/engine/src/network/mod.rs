//! Networks: what containers are plugged into.
//!
//! ```text
//! record   what a network is; in the store, and once more in a file, written before anything of it is made
//! table    all networks in memory: which addresses and which ports of the host are whose
//! ask      what a container asks for, and whether that can be given at all
//! join     a start: addresses, names and ports for one container; leave: the same backwards, safe when nothing was taken
//! kernel   bridges and the packet filter, made when they are first needed
//! budget   how many bytes containers may receive and send, and what they have spent
//! ```
//!
//! What a running container has ([`Endpoint`], [`Publication`]) is part of its state record: written before it is made, so
//! that the next daemon knows what a crash has left. The cables themselves are made by the shim, from the task document,
//! and die with the container's network namespace.

mod ask;
mod audit;
mod budget;
mod connect;
mod create;
mod disconnect;
mod endpoint;
mod error;
mod extension;
mod guard;
mod inspect;
mod join;
mod kernel;
mod links;
mod list;
mod mend;
mod move_address;
mod names;
mod open;
mod options;
mod ports;
mod prune;
mod publish;
mod record;
pub(crate) mod record_file;
mod remove;
mod resolver;
mod shaping;
mod table;
#[cfg(test)]
mod tests;
mod vlan;

pub use ask::{Asked, asked, mode_of};
pub use audit::{Exposure, audit};
pub use budget::{Spending, spending};
pub use connect::{ConnectRequest, connect};
pub use create::{CreateRequest, Created, IpamRequest, create};
pub use disconnect::disconnect;
pub use endpoint::{Attach, Endpoint, Publication};
pub use error::NetworkError;
pub use inspect::{ConnectedContainer, NetworkDetails, inspect, named};
pub use list::list;
pub use move_address::{MoveRequest, move_address};
pub use prune::prune;
pub use record::Subnet;
pub use remove::remove;

pub(crate) use ask::{check, mode};
pub(crate) use budget::{apply as apply_budgets, forget as forget_budgets};
pub(crate) use connect::{plug, renamed};
pub(crate) use disconnect::unplug;
pub(crate) use join::{allocate, attach, leave, place, sandbox};
pub(crate) use links::environment as links_environment;
pub(crate) use mend::mend;
pub(crate) use move_address::{Float, float};
pub(crate) use open::{go_on, open};
pub(crate) use record::NetworkRecord;
pub(crate) use resolver::{Netd, enter, follow, go_on as go_on_with_netd, rest};
pub(crate) use shaping::apply as apply_rates;
pub(crate) use table::Networks;

/// The name of the default network.
pub const DEFAULT: &str = "bridge";
/// The id that is shown for network `host`; it has no other meaning.
pub const HOST_ID: &str = "686f737400000000000000000000000000000000000000000000006265727468";
/// The id that is shown for network `none`.
pub const NONE_ID: &str = "6e6f6e6500000000000000000000000000000000000000000000006265727468";

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Engine;
use crate::system::EventKind;

/// Tells what happened to a network.
pub(crate) fn tell(
    engine: &Arc<Engine>,
    action: &str,
    record: &record::NetworkRecord,
    container: Option<&str>,
) {
    let mut attributes = BTreeMap::from([
        ("name".to_owned(), record.name.clone()),
        ("type".to_owned(), record.driver.clone()),
    ]);
    if let Some(container) = container {
        attributes.insert("container".to_owned(), container.to_owned());
    }
    engine
        .events
        .tell(EventKind::Network, action, record.id.as_str(), attributes);
}
