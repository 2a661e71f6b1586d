//! `berth oci …`: the OCI runtime command line, so that podman and containerd can use Berth in place of runc or crun.
//!
//! It is a thin shell around the crate `runtime`: parse, read the bundle, make the cgroup, call, write the state down.
//! It knows nothing of images, networks, the daemon or its store. Start with [`main`], then one file per command in
//! `command`. What a container is between two calls lives below `--root`, see `store.rs`.

mod ambient;
mod bundle;
mod command;
mod console;
mod error;
mod foreground;
mod globals;
mod groups;
mod launch;
mod log;
mod signals;
mod stats;
mod status;
mod store;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs one command; `args` are the arguments after the program's name (`berth oci`).
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    command::dispatch(args)
}
