//! Stopping and continuing every process of a group.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::CgroupError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::node;

/// How long a process may take to stop: one in an uninterruptible wait stops only after it.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops every process and waits until all have stopped; on failure they go on.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let result = self.set_frozen(true, PATIENCE);
        if result.is_err() {
            // What could not be stopped as a whole must not stay stopped in part; the first error is the one to report.
            match self.set_frozen(false, PATIENCE) {
                Ok(()) | Err(_) => {}
            }
        }
        result
    }

    /// Lets every process go on.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false, PATIENCE)
    }

    /// Returns whether the group is frozen.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        match self.freezer()? {
            (Version::V1, directory) => Ok(self.read(directory, "freezer.state")?.trim() != "THAWED"),
            (Version::V2, directory) => Ok(self.read(directory, "cgroup.freeze")?.trim() == "1"),
        }
    }

    /// Returns the directory that freezes.
    fn freezer(&self) -> Result<(Version, BorrowedFd<'_>), CgroupError> {
        self.directory(Controller::Freezer)
            .or_else(|| self.unified().map(|directory| (Version::V2, directory)))
            .ok_or(CgroupError::NoController {
                controller: Controller::Freezer,
            })
    }

    pub(crate) fn set_frozen(&self, frozen: bool, patience: Duration) -> Result<(), CgroupError> {
        let deadline = Instant::now() + patience;
        match self.freezer()? {
            (Version::V1, directory) => self.set_frozen_v1(directory, frozen, deadline),
            (Version::V2, directory) => self.set_frozen_v2(directory, frozen, deadline),
        }
    }

    fn set_frozen_v1(
        &self,
        directory: BorrowedFd<'_>,
        frozen: bool,
        deadline: Instant,
    ) -> Result<(), CgroupError> {
        let state = if frozen { "FROZEN" } else { "THAWED" };
        let start = Instant::now();
        let mut pause = Duration::from_micros(50);
        loop {
            // Writing again is what gets a group out of FREEZING when a process was forked meanwhile.
            self.write(directory, "freezer.state", state)?;
            if self.read(directory, "freezer.state")?.trim() == state {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.timeout(frozen, start));
            }
            // v1 tells nobody: there is nothing to wait on but the clock.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    fn set_frozen_v2(
        &self,
        directory: BorrowedFd<'_>,
        frozen: bool,
        deadline: Instant,
    ) -> Result<(), CgroupError> {
        const EVENTS: &str = "cgroup.events";
        let start = Instant::now();
        self.write(directory, "cgroup.freeze", if frozen { "1" } else { "0" })?;
        let fail = |source| node::file_error("wait for", &self.path_for_display(directory, EVENTS), source);
        let wanted = if frozen { "frozen 1" } else { "frozen 0" };
        loop {
            let events = node::open_read(directory, EVENTS).map_err(fail)?;
            let text = node::read_all(events.as_fd()).map_err(fail)?;
            if text.lines().any(|line| line == wanted) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.timeout(frozen, start));
            }
            // The kernel raises POLLPRI when a line changes after it was read.
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            node::retry(|| poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)))
                .map_err(fail)?;
        }
    }

    fn timeout(&self, frozen: bool, start: Instant) -> CgroupError {
        CgroupError::FreezeTimeout {
            path: self.path().to_owned(),
            wanted: if frozen { "frozen" } else { "thawed" },
            milliseconds: start.elapsed().as_millis(),
        }
    }
}
