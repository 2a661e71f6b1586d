//! The hostile program of `tests/probe/probe.c` and daemons that have it in an image, as `/probe`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use testkit::{Daemon, Start, command};

/// Returns the compiled program.
pub(crate) fn program() -> Result<PathBuf> {
    compiled("probe")
}

/// Returns a compiled program of `tests/probe`, made beside the running test once for each version of its source.
pub(crate) fn compiled(name: &str) -> Result<PathBuf> {
    static MADE: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = made.get(name) {
        return Ok(path.clone());
    }
    let source = testkit::binary::root().join(format!("tests/probe/{name}.c"));
    let changed = std::fs::metadata(&source)?.modified()?;
    let stamp = changed.duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let own = std::env::current_exe()?;
    let path = own.with_file_name(format!("{name}-{stamp}"));
    if !path.is_file() {
        // Other processes may do this at once: the last one's file is as good as the first one's.
        let fresh = own.with_file_name(format!("{name}-{stamp}-{}", std::process::id()));
        let mut compile = Command::new("cc");
        compile.args(["-static", "-O1", "-o"]).arg(&fresh).arg(&source);
        command::run(&mut compile, b"")?.expect(0)?;
        std::fs::rename(&fresh, &path)?;
    }
    made.insert(name.to_owned(), path.clone());
    Ok(path)
}

/// Starts a daemon whose image `busybox` has the program too.
pub(crate) fn daemon() -> Result<Daemon> {
    daemon_with(Start::default())
}

/// Like [`daemon`], with more arguments or environment.
pub(crate) fn daemon_with(start: Start) -> Result<Daemon> {
    let daemon = Daemon::start_with(start)?;
    let tree = daemon.directory().join("probe-tree");
    testkit::image::busybox_tree(&tree)?;
    std::fs::copy(program()?, tree.join("probe")).context("copy the probe")?;
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--directory").arg(&tree).arg(".");
    let archive = tar.output()?.stdout;
    daemon
        .berth_with(&["import", "--change", "CMD [\"sh\"]", "-", "busybox"], &archive)?
        .expect(0)?;
    Ok(daemon)
}
