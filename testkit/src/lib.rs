//! What integration tests and benches stand on: a daemon of their own, commands against it, and the proof that
//! nothing of it is left.
//!
//! Every [`daemon::Daemon`] has its own directory, socket and cgroup parent, so tests run side by side and beside a
//! real installation. [`residue`] lists what an engine could leave on the host (mounts, cgroups, processes, loop
//! devices, sockets, files); `Daemon::finish` fails when anything is left, and dropping a daemon cleans up after a
//! panic too. Nothing here knows Berth's crates: the program is only seen from outside.
//!
//! A test that cannot run here says `return skip("…")`: it is printed, counted by `.ci/run`, and never silent.

pub mod binary;
pub mod command;
pub mod daemon;
pub mod dockerd;
pub mod http;
pub mod image;
pub mod lab;
pub mod place;
pub mod pty;
pub mod registry;
pub mod registry_server;
pub mod residue;
pub mod wait;

pub use binary::{berth, has, skip};
pub use command::Output;
pub use daemon::{Daemon, Start};
pub use lab::{Host, Lab};
pub use pty::Pty;
pub use registry_server::RegistryServer;
pub use wait::until;
