//! Netlink: links, addresses, routes, neighbours, queueing disciplines and the packet filter, as typed messages.
//!
//! A [`Message`] says one thing that the kernel shall do and what it is called in an error; the modules make them:
//! [`route`] (rtnetlink(7)), [`nft`] (nf_tables) and [`shape`] (tc(8)). A [`Socket`] sends many of them with one system
//! call, in one namespace, and reports the one that failed by name and with the kernel's own explanation.
//!
//! This crate knows the kernel's messages, not Berth's networks: no names, no policy, no state. It never runs a program.

mod error;
mod message;
mod reply;
mod socket;

pub mod nft;
pub mod route;
pub mod shape;

pub use error::NetlinkError;
pub use message::Message;
pub use socket::Socket;
