//! The documents of the Docker HTTP API, version 1.50, as serde structs with Docker's exact JSON names.
//!
//! Only `cli`, `client` and `server` may use this crate: the engine has types of its own, and `server` translates.
//! Decoding is lenient, as Go's is: unknown fields are ignored and `null` means the default. Encoding writes what
//! Docker writes: `null`, `[]` and `{}` where it does, and leaves out what it leaves out.
//!
//! Fields that Docker has not carry the prefix `Berth` (or say so in their comment): other clients never send them
//! and ignore them in replies. The reading order is the life of a container: [`config`] and [`host_config`] make
//! up a [`container::CreateRequest`]; [`inspect`] shows what became of it.

#[macro_use]
mod lenient;

pub mod config;
pub mod container;
pub mod event;
pub mod exec;
pub mod host_config;
pub mod image;
pub mod inspect;
pub mod mount;
pub mod network;
pub mod registry;
pub mod session;
pub mod stats;
pub mod stream;
pub mod system;
pub mod volume;

/// The newest API version that is spoken.
pub const API_VERSION: &str = "1.50";

/// The oldest API version that is spoken.
pub const MIN_API_VERSION: &str = "1.24";

#[cfg(test)]
mod tests;
