//! Where the engine keeps things, and small operations on its own directories.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base::file::FileError;
use base::id::ContainerId;

/// The paths below the two roots.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    data: PathBuf,
    exec: PathBuf,
}

impl Layout {
    pub(crate) fn new(data: &Path, exec: &Path) -> Self {
        Self {
            data: data.to_owned(),
            exec: exec.to_owned(),
        }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data.join("state.db")
    }

    /// Returns the directory of the room that is kept for removals.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.data.join("reserve")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }

    pub(crate) fn content(&self) -> PathBuf {
        self.data.join("content")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    pub(crate) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// Returns the directory of the directories that are made ahead for containers.
    pub(crate) fn spares(&self) -> PathBuf {
        self.data.join("spare")
    }

    pub(crate) fn networks(&self) -> PathBuf {
        self.data.join("networks")
    }

    /// Returns the file of one network's record.
    pub(crate) fn network(&self, id: &str) -> PathBuf {
        self.networks().join(format!("{id}.json"))
    }

    /// Returns the directory of one container.
    pub(crate) fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// Returns the directory of what every container needs while it runs.
    pub(crate) fn runs(&self) -> PathBuf {
        self.exec.join("run")
    }

    /// Returns the directory of what one container needs while it runs: in memory on most hosts, where making a file
    /// costs a hundredth of what it costs on a disk. Written again when a boot has emptied it.
    pub(crate) fn run(&self, id: &ContainerId) -> PathBuf {
        self.runs().join(id.as_str())
    }

    /// Returns a container's task document.
    pub(crate) fn task(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("task.json")
    }

    /// Returns the directory of the namespaces that outlive a container's PID 1, each held by a mount.
    pub(crate) fn pins(&self, id: &ContainerId) -> PathBuf {
        self.run(id).join("ns")
    }

    /// Removes what one container needs while it runs, and lets go of the namespaces that were kept for it.
    pub(crate) fn remove_run(&self, id: &ContainerId) -> Result<(), sys::SyscallError> {
        for entry in std::fs::read_dir(self.pins(id)).into_iter().flatten().flatten() {
            // Until there is no mount left at this place; what cannot be unmounted makes the removal below fail.
            while sys::mount::umount2_detach(entry.path()).is_ok() {}
        }
        remove_tree(&self.run(id))
    }

    /// Returns a container's exit record: on the disk, unless the container goes with its exit.
    pub(crate) fn exit_record(&self, id: &ContainerId, auto_remove: bool) -> PathBuf {
        let directory = if auto_remove {
            self.run(id)
        } else {
            self.container(id)
        };
        directory.join("exit.json")
    }

    /// Returns the file of what a container has spent of its budgets.
    pub(crate) fn spent(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("spent.json")
    }

    /// Returns the current log file of a container.
    pub(crate) fn log(&self, id: &ContainerId, driver: &str) -> PathBuf {
        match driver {
            "local" => self.container(id).join("local.log"),
            _ => self.container(id).join(format!("{id}-json.log")),
        }
    }

    /// Returns the directory of the logs of removed containers.
    pub(crate) fn kept_logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Returns the directory of the log of one removed container.
    pub(crate) fn kept_log(&self, id: &ContainerId) -> PathBuf {
        self.kept_logs().join(id.as_str())
    }

    pub(crate) fn shims(&self) -> PathBuf {
        self.exec.join("shim")
    }

    /// Returns the socket on which a container's shim listens; short, because a socket's path has 107 bytes at most.
    pub(crate) fn shim(&self, id: &ContainerId) -> PathBuf {
        self.shims().join(&id.as_str()[..32])
    }
}

/// Makes a directory, with its parents, unless it is there.
pub(crate) fn make_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| FileError::new("create", path, source))
}

/// How often the removal of a tree is begun anew when it was written to.
const TURNS: usize = 3;

/// Removes a tree of ours; succeeds if it is not there.
pub(crate) fn remove_tree(path: &Path) -> Result<(), sys::SyscallError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(());
    };
    if !path.exists() {
        return Ok(());
    }
    let parent = sys::path::Root::open(parent)?;
    for _ in 0..TURNS {
        match parent.remove_all(name) {
            // A step that was under way has put a file there meanwhile; it is the last one.
            Err(error) if error.errno() == rustix::io::Errno::NOTEMPTY => {}
            result => return result,
        }
    }
    parent.remove_all(name)
}

/// Removes a file of ours; succeeds if it is not there.
pub(crate) fn remove_file(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path, error)),
        _ => Ok(()),
    }
}
