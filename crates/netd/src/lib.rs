//! netd: the resolver of all containers of one daemon, its reserved host ports and its proxy, as one small process.
//!
//! One thread, one epoll instance, bounded tables. It is a program of its own because it must go on while the daemon is
//! restarted, and because it reads what containers send: here that meets no record of the engine, only names and
//! addresses that it was told (`netd-api`). It makes no policy: which names, ports and servers there are is the daemon's.
//!
//! Start with [`server::serve`]; [`wire`], [`names`] and [`resolve`] are what a query goes through.

mod client;
mod connection;
mod containers;
mod filter;
mod forward;
mod holder;

pub mod names;
mod poll;
mod ports;
mod process;
mod proxy;
mod request;
pub mod resolve;
pub mod server;
mod slab;
mod upstream;
pub mod wire;

pub use process::netd_main;
