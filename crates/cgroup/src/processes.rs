//! Which processes are in a group.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::CgroupError;
use crate::group::Cgroup;
use crate::node;

impl Cgroup {
    /// Returns the pids of all processes of the group and of the groups below it, sorted, each once.
    ///
    /// Every hierarchy is asked, because a process may have been moved in one of them only.
    pub fn processes(&self) -> Result<Vec<Pid>, CgroupError> {
        let mut pids = BTreeSet::new();
        for (_, directory) in self.directories() {
            collect(directory, &mut pids).map_err(|source| {
                node::file_error("read", &self.path_for_display(directory, "cgroup.procs"), source)
            })?;
        }
        Ok(pids.into_iter().filter_map(Pid::from_raw).collect())
    }
}

/// Adds the pids of the group `directory` and of those below it.
pub(crate) fn collect(directory: BorrowedFd<'_>, pids: &mut BTreeSet<i32>) -> Result<(), Errno> {
    match node::read_at(directory, "cgroup.procs") {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
        // The group was removed meanwhile, or is a threaded one whose processes are listed in its parent.
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {}
        Err(source) => return Err(source),
    }
    let children = match node::children(directory) {
        Err(Errno::NOENT) => return Ok(()),
        children => children?,
    };
    for child in children {
        match node::open_directory(directory, child.as_str()) {
            Ok(child) => collect(child.as_fd(), pids)?,
            Err(Errno::NOENT) => {}
            Err(source) => return Err(source),
        }
    }
    Ok(())
}
