//! Putting a process into a group.
//!
//! | way | cost per hierarchy, measured on Linux 6.18 |
//! |---|---|
//! | parent writes the child's pid to `cgroup.procs` | 6–8 ms for the first after 20 ms of quiet (RCU), then 10 µs |
//! | the child writes `0` to v1's `tasks` | 10 µs |
//! | `clone3` with `CLONE_INTO_CGROUP` (v2) | nothing measurable |

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Pid;

use crate::error::CgroupError;
use crate::group::{Cgroup, relative};
use crate::layout::Version;
use crate::node;

/// The open files through which one new process enters a group.
///
/// Write access is checked by the kernel against the process that *opened* a file, so the files opened by root work
/// in a child that has already lost its privileges or entered a user namespace.
#[derive(Debug)]
pub struct Entry {
    tasks: Vec<OwnedFd>,
    unified: Option<OwnedFd>,
}

impl Entry {
    /// Returns the v1 `tasks` files. The child, while it is still single-threaded and before it unshares its cgroup
    /// namespace, writes `0` to each (async-signal-safe); see [`Self::join_v1`].
    pub fn tasks(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.tasks.iter().map(AsFd::as_fd)
    }

    /// Returns the v2 directory for `clone3`'s `cgroup` argument with `CLONE_INTO_CGROUP`.
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Moves the calling thread into the v1 groups: one `write` each, no allocation.
    pub fn join_v1(&self) -> rustix::io::Result<()> {
        self.tasks
            .iter()
            .try_for_each(|file| node::write_all(file.as_fd(), "0"))
    }
}

impl Cgroup {
    /// Opens the files through which a new process enters this group.
    pub fn entry(&self) -> Result<Entry, CgroupError> {
        let mut entry = Entry {
            tasks: Vec::new(),
            unified: None,
        };
        for (hierarchy, directory) in self.directories() {
            let fail = |source| node::file_error("open", &self.path_for_display(directory, "tasks"), source);
            match hierarchy.version() {
                Version::V1 => entry
                    .tasks
                    .push(node::open_write(directory, "tasks").map_err(fail)?),
                Version::V2 => {
                    entry.unified = Some(node::open_directory(directory, ".").map_err(fail)?);
                }
            }
        }
        Ok(entry)
    }

    /// As [`Self::entry`], but into the v2 group in which `member` is, if that lies below this one.
    ///
    /// For an exec: when the container has made v2 groups of its own (systemd does), the kernel lets no process into
    /// the container's own group any more, but into that of its PID 1.
    pub fn entry_beside(&self, member: Pid) -> Result<Entry, CgroupError> {
        let mut entry = self.entry()?;
        let Some(hierarchy) = self.layout().unified() else {
            return Ok(entry);
        };
        let table = std::path::PathBuf::from(format!("/proc/{}/cgroup", member.as_raw_nonzero()));
        let text = std::fs::read_to_string(&table).map_err(|source| CgroupError::File {
            call: "read".to_owned(),
            path: table,
            source,
        })?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        let below = path.filter(|path| {
            path.strip_prefix(self.path())
                .is_some_and(|rest| rest.starts_with('/') && crate::group::check_path(path).is_ok())
        });
        if let Some(path) = below {
            let directory =
                node::open_directory(hierarchy.directory(), relative(path)).map_err(|source| {
                    node::file_error("open", &hierarchy.mount_point().join(relative(path)), source)
                })?;
            entry.unified = Some(directory);
        }
        Ok(entry)
    }

    /// Moves a whole process into the group, in every hierarchy.
    ///
    /// Slow (see the module comment): for processes that exist already, such as one that was started by someone else.
    pub fn add(&self, pid: Pid) -> Result<(), CgroupError> {
        self.add_to(pid, |_| true)
    }

    /// As [`Self::add`], but leaves v2 out: for a child that was cloned into it.
    pub fn add_v1(&self, pid: Pid) -> Result<(), CgroupError> {
        self.add_to(pid, |version| version == Version::V1)
    }

    fn add_to(&self, pid: Pid, wanted: impl Fn(Version) -> bool) -> Result<(), CgroupError> {
        let pid = pid.as_raw_nonzero().to_string();
        for (hierarchy, directory) in self.directories() {
            if wanted(hierarchy.version()) {
                self.write(directory, "cgroup.procs", &pid)?;
            }
        }
        Ok(())
    }
}
