//! The Docker HTTP API, version 1.24 to 1.50: requests are decoded, checked and translated to what the engine knows.
//!
//! This crate knows the wire and the engine's verbs and nothing below them. A request goes through [`connection`]
//! (bytes), [`dispatch`] (the steps that are the same for all), [`routes`] (the table) and one file per verb, which
//! have the engine's names; [`status`] is the one place that makes a status of an error.

mod server;

mod connection;
mod dispatch;
mod routes;

mod container;
mod exec;
mod image;
mod network;
mod system;
mod volume;

mod translate;

mod call;
mod frame;
mod hijack;
mod listener;
mod query;
mod registry_auth;
mod reply;
mod router;
mod shared;
mod status;
mod time;
mod version;

pub use listener::{ListenError, Listener, listen_tcp, listen_unix};
pub use server::Server;
pub use shared::ServerFacts;
