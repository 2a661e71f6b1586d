//! Sending a signal to every process of a group.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use crate::error::CgroupError;
use crate::group::Cgroup;
use crate::layout::{Controller, Version};
use crate::node;

/// How long to wait for a group to freeze before it is killed as it runs.
const FREEZE_PATIENCE: Duration = Duration::from_millis(500);

impl Cgroup {
    /// Sends `signal` to every process of the group and of the groups below it.
    ///
    /// SIGKILL leaves no process out, whatever forks meanwhile: by `cgroup.kill` where the kernel has it (v2 since
    /// 5.14), and for processes that are in v1 groups only by freezing first. A frozen group is thawed, so that its
    /// processes can die.
    pub fn kill(&self, signal: Signal) -> Result<(), CgroupError> {
        if signal != Signal::KILL {
            return self.signal_each(signal, &mut BTreeSet::new()).map(drop);
        }
        let mut done = self.kill_unified()?;
        let outside = self
            .processes()?
            .iter()
            .any(|pid| !done.contains(&pid.as_raw_nonzero().get()));
        if outside {
            let freezes = matches!(self.directory(Controller::Freezer), Some((Version::V1, _)));
            // Not frozen in time: the loop below still ends, because it stops when nobody new appears.
            let frozen = freezes && self.set_frozen(true, FREEZE_PATIENCE).is_ok();
            while self.signal_each(signal, &mut done)? && !frozen {}
        }
        if let Some((Version::V1, directory)) = self.directory(Controller::Freezer) {
            self.write(directory, "freezer.state", "THAWED")?;
        }
        Ok(())
    }

    /// Kills the v2 group at once, if there is one; returns who was in it.
    fn kill_unified(&self) -> Result<BTreeSet<i32>, CgroupError> {
        let mut pids = BTreeSet::new();
        let Some(directory) = self.unified() else {
            return Ok(pids);
        };
        let fail = |file: &str, source| {
            node::file_error(
                format!("use \"{file}\" of"),
                &self.path_for_display(directory, ""),
                source,
            )
        };
        crate::processes::collect(directory, &mut pids).map_err(|source| fail("cgroup.procs", source))?;
        match node::write_at(directory, "cgroup.kill", "1") {
            Ok(()) => Ok(pids),
            // An old kernel, or the group is gone: nobody was killed.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(BTreeSet::new()),
            Err(source) => Err(fail("cgroup.kill", source)),
        }
    }

    /// Sends `signal` to every process that is not in `done`, and adds it; returns whether there was one.
    fn signal_each(&self, signal: Signal, done: &mut BTreeSet<i32>) -> Result<bool, CgroupError> {
        let mut any = false;
        for pid in self.processes()? {
            if done.insert(pid.as_raw_nonzero().get()) {
                any = true;
                self.signal(pid, signal)?;
            }
        }
        Ok(any)
    }

    fn signal(&self, pid: Pid, signal: Signal) -> Result<(), CgroupError> {
        match kill_process(pid, signal) {
            // It ended by itself.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(source) => {
                let path = std::path::Path::new(self.path());
                let call = format!(
                    "send signal {} to process {}, of cgroup",
                    signal.as_raw(),
                    pid.as_raw_nonzero()
                );
                Err(node::file_error(call, path, source))
            }
        }
    }
}
