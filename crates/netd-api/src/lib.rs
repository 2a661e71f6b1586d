//! The contract between the daemon, the shims and `berth-netd`: its messages, their packets, its start.
//!
//! netd is one small process for each daemon, and outlives it: it answers the containers' DNS queries, holds host ports
//! that were published, and passes on what the kernel cannot (see docs/dns.md). It listens on a unix socket of packets,
//! `<exec root>/netd.sock`. A shim hands the sockets of its container over ([`handover`]) and awaits nothing; the daemon
//! says what they answer ([`client`]). netd decides nothing: what it has not been told it does not know.
//!
//! Start with [`message`].

pub mod client;
pub mod handover;
pub mod message;
pub mod packet;
pub mod start;
