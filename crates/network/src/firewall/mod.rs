//! The packet filter: one table for routed packets (`inet`) and one for what enters a bridge (`bridge`), both Berth's own.
//!
//! ```text
//! inet NAME
//!   prerouting  -300  drop what comes from a wire to 127.0.0.0/8                                       (NW-01)
//!   dstnat      -100  to an address of this machine: published            (also for this machine's own packets)
//!   forward        0  known connections; within a network; nothing into or out of internal networks;
//!                     what was published; nothing else into a network; and if the machine was no router, nothing
//!                     but from and to networks
//!   srcnat       100  out of a network; back into the same network; from 127.0.0.0/8 into a network
//!   extensions-prerouting, -input: do not track what br_netfilter shows of extensions, it is seen again at the bridge;
//!                     nothing to this machine by an extension, the bridge has it too
//!   published: maps of protocol . port, of address . protocol . port, and of ranges, to address . port
//! bridge NAME
//!   prerouting  -300  from a container: only its own hardware and protocol addresses, also in ARP, and no router
//!                     advertisements                                                         (NW-03, NW-04)
//!   forward        0  what is for many goes to an extension, but not back
//! ```
//!
//! The chains for extensions, `forward` of the bridge among them, are there when there was an extension: every packet costs
//! what the chains cost that it meets.
//!
//! Sets hold the names of bridges, so the rules are always the same ones and none is added for a container or a port.
//! The chains accept what they do not decide: rules of others before and after them see every packet, and none of theirs
//! is changed or removed.

mod endpoint;
mod extension;
mod layout;
mod network;
mod publication;

pub use endpoint::EndpointFacts;
pub use extension::ExtensionFacts;
pub use network::NetworkFacts;
pub use publication::{Protocol, Publication};

use netlink::Message;
use netlink::nft::{self, Family, Table};

/// Berth's part of the packet filter, by the name of its tables. All functions return messages of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    name: String,
}

/// All that the packet filter is to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The networks.
    pub networks: Vec<NetworkFacts>,
    /// The endpoints of their containers.
    pub endpoints: Vec<EndpointFacts>,
    /// Further bridges of networks.
    pub extensions: Vec<ExtensionFacts>,
    /// The published ports.
    pub publications: Vec<Publication>,
    /// Whether IPv4 packets are forwarded from and to the networks only: the machine was no router before.
    pub closed4: bool,
    /// The same for IPv6.
    pub closed6: bool,
}

impl Firewall {
    /// Returns the packet filter whose tables are called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Puts everything in place of whatever the tables hold, with no moment in between.
    pub fn replace(&self, state: &State) -> Vec<Message> {
        let mut messages = Vec::new();
        for table in [self.routed(), self.bridged()] {
            // Removing a table that is not there is an error; making one that is there is none.
            messages.push(nft::add_table(table));
            messages.push(nft::remove_table(table, false));
        }
        messages.extend(self.layout(state));
        messages.extend(
            state
                .networks
                .iter()
                .flat_map(|network| self.add_network(network)),
        );
        messages.extend(
            state
                .extensions
                .iter()
                .flat_map(|extension| self.add_extension(extension)),
        );
        messages.extend(
            state
                .endpoints
                .iter()
                .flat_map(|endpoint| self.add_endpoint(endpoint)),
        );
        messages.extend(self.publish(&state.publications));
        messages
    }

    /// Removes everything.
    pub fn remove(&self) -> Vec<Message> {
        let tables = [self.routed(), self.bridged()];
        let gone = |table| [nft::add_table(table), nft::remove_table(table, false)];
        tables.into_iter().flat_map(gone).collect()
    }

    fn routed(&self) -> Table<'_> {
        Table {
            family: Family::Inet,
            name: &self.name,
        }
    }

    fn bridged(&self) -> Table<'_> {
        Table {
            family: Family::Bridge,
            name: &self.name,
        }
    }
}
