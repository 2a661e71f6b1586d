//! Networks: bridges that containers are plugged into, their addresses, and who may reach whom.
//!
//! * [`address`] is pure: which subnet a new network gets, which address a new endpoint.
//! * [`bridge`] makes and removes the switch of a network, [`endpoint`] plugs a container in and out: a cable of two
//!   ends, addresses, routes. [`extension`] adds bridges to a network that needs more ports than one has.
//! * [`shape`] limits how fast what passes a container's cable is, [`budget`] how much it is, [`counters`] counts it.
//! * [`audit`] tells what the outside can reach.
//! * [`firewall`] is declared state: one table of nf_tables that is Berth's own. Networks and published ports are elements
//!   of its sets and maps, so that its rules are few and always the same. It is put in place whole, in one transaction,
//!   whenever a daemon starts, and changed in place afterwards.
//!
//! This crate knows the kernel's network, not containers: it gets network namespaces as descriptors and names as text,
//! and keeps no state on disk. What there is, is recorded by those who call it, before they call.

pub mod address;
pub mod audit;
pub mod bridge;
pub mod budget;
pub mod counters;
pub mod endpoint;
pub mod extension;
pub mod firewall;
pub mod shape;
