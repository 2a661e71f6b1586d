//! What a container was asked to be, and how that becomes an OCI runtime document.
//!
//! Pure: no file, no system call, no other resource crate. `engine` gathers the facts (image configuration, user
//! namespace slot, devices of the host, capabilities of the daemon), [`build()`] turns them into the document, and
//! [`check()`] says at creation what is wrong. Start with [`config`], then [`build()`].

pub mod config;

pub mod build;
pub mod capabilities;
pub mod check;
mod devices;
mod ids;
pub mod merge;
pub mod mounts;
pub mod paths;
pub mod ports;
pub mod resources;
pub mod security;
pub mod sysctls;

pub use build::{BuildError, Facts, Namespace, Namespaces, build};
pub use check::{Checked, InvalidError, check};
pub use devices::{Device, DeviceType};
pub use ids::Ids;
pub use merge::{command_line, environment, merge};
