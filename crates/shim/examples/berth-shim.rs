//! The zygote as a program of its own, for the tests of this crate; `berth` calls the same function.

use std::process::ExitCode;

fn main() -> ExitCode {
    shim::zygote_main()
}
