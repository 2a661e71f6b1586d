//! Removing a group, whatever is left in it.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;

use crate::error::CgroupError;
use crate::group::{Cgroup, relative};
use crate::layout::Layout;
use crate::node;

impl Cgroup {
    /// Kills what is left in the group and removes it, nested groups first, from every hierarchy.
    ///
    /// Waits at most `patience` for processes that die slowly. Every hierarchy is tried; the first error is returned.
    pub fn remove(self, patience: Duration) -> Result<(), CgroupError> {
        let (layout, path) = (self.layout().clone(), self.path().to_owned());
        drop(self);
        Self::remove_path(&layout, &path, patience)
    }

    /// Removes the group `path`; done already if there is none.
    pub fn remove_path(layout: &Layout, path: &str, patience: Duration) -> Result<(), CgroupError> {
        crate::group::check_path(path)?;
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_micros(100);
        let mut has_killed = false;
        loop {
            let mut busy = false;
            let mut first_error = None;
            for hierarchy in layout.hierarchies() {
                let root = hierarchy.directory();
                match remove_one(root, relative(path)) {
                    Ok(()) => {}
                    Err(Errno::BUSY | Errno::NOTEMPTY) => busy = true,
                    Err(source) => {
                        let path = hierarchy.mount_point().join(relative(path));
                        first_error.get_or_insert(node::file_error("remove", &path, source));
                    }
                }
            }
            if !busy {
                return first_error.map_or(Ok(()), Err);
            }
            // Killed once before the first wait, and again each time: what is in the middle of a fork shows up late.
            match Self::open(layout, path) {
                Ok(group) => group.kill(Signal::KILL)?,
                Err(CgroupError::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            if Instant::now() >= deadline && has_killed {
                return Err(first_error.unwrap_or_else(|| CgroupError::Stragglers {
                    path: path.to_owned(),
                    milliseconds: patience.as_millis(),
                }));
            }
            has_killed = true;
            // v1 tells nobody when a group becomes empty.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

/// Removes the group and, if it has any, the groups below it.
fn remove_one(parent: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    match node::remove_directory(parent, path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Err(error) => return Err(error),
    }
    let directory = match node::open_directory(parent, path) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    for child in node::children(directory.as_fd())? {
        remove_one(directory.as_fd(), &child)?;
    }
    match node::remove_directory(parent, path) {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}
