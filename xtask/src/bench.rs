//! Builds the release binaries and hands over to the comparison program of `benches`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

/// Runs the comparison; `arguments` are its own.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    let built = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--release", "--package", "berth", "--package", "benches"])
        .status()
        .context("cargo build")?;
    if !built.success() {
        bail!("the release build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let status = Command::new(target.join("release/compare"))
        .args(arguments)
        .status()
        .context("run compare")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
