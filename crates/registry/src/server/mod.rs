//! A registry of our own: the server side of OCI distribution 1.1 and of Docker's Registry HTTP API V2.
//!
//! [`serve`] runs one until it is told to stop. A request goes through `connection` (bytes), `dispatch` (what is the
//! same for all: the way in, the modes, the log), `route` (what a path means) and then one file for each subject:
//! `blob`, `upload`, `manifest`, `listing`. `store` is what is on disk, `auth` who is let in, `cache` another registry
//! behind this one, and `garbage` what removes bytes again. It needs no daemon and no engine.

mod config;
mod run;

mod connection;
mod dispatch;
mod route;

mod blob;
mod listing;
mod manifest;
mod upload;

mod auth;
mod cache;
mod document;
mod garbage;
mod store;

mod call;
mod failpoint;
mod fault;
mod range;
mod reply;
mod shared;
mod tls;

#[cfg(feature = "fuzz")]
pub mod fuzz;

pub use auth::{HtpasswdError, KeyError};
pub use cache::UpstreamError;
pub use config::{AccessConfig, Deletion, Log, Mode, ServerConfig, TlsConfig, UpstreamConfig};
pub use failpoint::STEPS;
pub use garbage::{Collected, GarbageError, GarbageOptions, collect_garbage};
pub use run::{ServeError, serve};
pub use store::StoreError;
pub use tls::TlsError;
