//! The programs under test and around it: where `berth` is, what else this machine has, what cannot run here.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Returns the `berth` program: `BERTH_BIN`, or the one beside the running test, built when it is missing.
pub fn berth() -> Result<&'static Path> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = FOUND.get() {
        return Ok(path);
    }
    let path = match std::env::var_os("BERTH_BIN") {
        Some(path) => PathBuf::from(path),
        None => beside_the_test()?,
    };
    if !path.is_file() {
        bail!("there is no {}", path.display());
    }
    Ok(FOUND.get_or_init(|| path))
}

fn beside_the_test() -> Result<PathBuf> {
    let test = std::env::current_exe().context("find the running test")?;
    let profile = test
        .ancestors()
        .find(|directory| directory.join(".cargo-lock").exists())
        .with_context(|| format!("{} is in no target directory", test.display()))?;
    let path = profile.join("berth");
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--package", "berth"]).current_dir(root());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        if !build.status().context("cargo build")?.success() {
            bail!("berth does not build");
        }
    }
    Ok(path)
}

/// Returns the top directory of the source tree.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("/"))
}

/// Returns whether `program` is in the search path.
pub fn has(program: &str) -> bool {
    find(program).is_some()
}

/// Returns where `program` is in the search path; looks into the sbin directories too.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    path.split(':')
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.is_file())
}

/// Reports that this test cannot run here, and why: on stderr, and as a line of the file that `BERTH_SKIPS` names
/// (`.ci/run` counts them).
pub fn skip(reason: &str) -> Result<()> {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let line = format!("skipped {name}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes())?;
    if let Some(path) = std::env::var_os("BERTH_SKIPS") {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .context("open BERTH_SKIPS")?
            .write_all(line.as_bytes())?;
    }
    Ok(())
}
