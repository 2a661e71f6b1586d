//! Builds the release binaries and hands over to the comparison program of `benches`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

/// Where run-time state of the engines is: a tmpfs on every machine.
const IN_MEMORY: &str = "/dev/shm";

/// Runs the comparison; `arguments` are its own.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    let built = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["build", "--release", "--config", ".cargo/static.toml"])
        .args(["--package", "berth", "--package", "benches"])
        .status()
        .context("cargo build")?;
    if !built.success() {
        bail!("the release build failed");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let mut compare = Command::new(target.join(host_tuple()?).join("release/compare"));
    // Run-time state in memory for all engines, as on a machine whose `/run` is a tmpfs.
    if Path::new(IN_MEMORY).is_dir() {
        compare.env("BERTH_TEST_RUN", IN_MEMORY);
    }
    let status = compare.args(arguments).status().context("run compare")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Returns the tuple that cargo builds for here, which names the directory of a build with `--target`.
fn host_tuple() -> Result<String> {
    let output = Command::new(env!("CARGO"))
        .arg("-vV")
        .output()
        .context("cargo -vV")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("cargo -vV names no host")
}
