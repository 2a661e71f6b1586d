//! netd as a program of its own, for the tests of this crate; `berth` calls the same function.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    netd::netd_main(&arguments)
}
