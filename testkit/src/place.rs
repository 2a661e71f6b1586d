//! The one directory, socket and cgroup parent that belong to one engine under test.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Where one engine lives. Every name in it holds the directory's name, by which [`crate::residue`] finds its traces.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    /// Where run-time state is, if not in the directory.
    run: Option<TempDir>,
}

impl Place {
    /// Makes a new empty place in the temporary directory (`BERTH_TEST_DIR` when set). Run-time state is in it too, or
    /// in a directory of the same name in `BERTH_TEST_RUN`: a benchmark keeps it in memory, where `/run` is on most machines.
    pub fn create() -> Result<Self> {
        let parent = std::env::var_os("BERTH_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::Builder::new()
            .prefix("bt-")
            .rand_bytes(8)
            .tempdir_in(parent)
            .context("make a directory for an engine under test")?;
        let run = match (std::env::var_os("BERTH_TEST_RUN"), directory.path().file_name()) {
            (Some(parent), Some(name)) => {
                let mut builder = tempfile::Builder::new();
                let run = builder.prefix(name).rand_bytes(0).tempdir_in(parent);
                Some(run.context("make a directory for run-time state")?)
            }
            _ => None,
        };
        Ok(Self { directory, run })
    }

    /// Returns the directory that holds everything.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the name of the directory, unique on this machine.
    pub fn name(&self) -> String {
        self.directory()
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// Returns the data root.
    pub fn data_root(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// Returns the directory of run-time state.
    pub fn exec_root(&self) -> PathBuf {
        match &self.run {
            Some(run) => run.path().to_owned(),
            None => self.directory().join("run"),
        }
    }

    /// Returns the API socket.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("api.sock")
    }

    /// Returns the daemon's own log.
    pub fn log(&self) -> PathBuf {
        self.directory().join("daemon.log")
    }

    /// Returns the socket as a client's host address.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Returns the cgroup below which every container's group is, in each hierarchy.
    pub fn cgroup_parent(&self) -> String {
        format!("/berth-test-{}", self.name())
    }
}
