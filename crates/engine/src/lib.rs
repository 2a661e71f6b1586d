//! The use cases: what a client can ask of Berth, one file per verb.
//!
//! The engine is where the resource crates meet: storage, images, volumes, the OCI document, logs, cgroups and shims
//! know nothing of each other. It has its own types, in the words of the field; `server` translates them from and to
//! the Docker API and the engine never sees a wire type.
//!
//! Start with [`Engine::open`], then `container/start.rs`: every step of a start and its undo on one screen. One task
//! owns a container's state (`container/actor.rs`); `list` and `inspect` read published snapshots and wait for nobody.
//! What a crash may leave behind is in the intent journal and undone by `recover.rs` with the same functions.

pub mod check;
mod daemon;
pub mod failpoint;
mod files;
mod host;
mod names;
mod policy;
mod recover;
mod registries;
mod registry;
mod reserve;
mod seccomp_cache;
mod signal;
mod spare;
mod storage_choice;
mod store_repair;

pub mod container;
pub mod image;
pub mod network;
pub mod system;
pub mod volume;

pub use ::registry::client::Credentials;
pub use daemon::{Engine, EngineConfig, NetworkConfig, OpenError, UserNamespaceDefault};
pub use spec::{Ids, config};

#[cfg(test)]
mod tests;
