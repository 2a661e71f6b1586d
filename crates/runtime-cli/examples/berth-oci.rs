//! `berth oci` as a program of its own, for trying it with podman or containerd.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime_cli::main(std::env::args_os().skip(1))
}
