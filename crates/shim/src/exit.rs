//! The end of processes: reaping, the exit record, what the policy says, and the telling, in this order.

use std::time::{Duration, Instant};

use base::clock::Timestamp;
use base::file::{Durability, write_atomic};
use rustix::process::Signal;
use shim_api::message::{Event, Failure};
use shim_api::task::ExitRecord;
use sys::process::Ended;

use crate::container::{Container, Leftovers, Phase};
use crate::exec::read_task;
use crate::launch::{CGROUP_PATIENCE, Launched, Ready, has_own_pids, launch};
use crate::plug::give_back;
use crate::session::Owner;
use crate::shim::Shim;

/// How long those who wait for a container's end have the processors to themselves: what is left of it takes grace periods
/// and directories of ten hierarchies to take down.
const MOMENT: Duration = Duration::from_millis(2);

impl Shim {
    /// Reaps every process that has ended: PID 1, those of execs, and orphans.
    pub(crate) fn reap(&mut self) {
        let mut container_ended = None;
        while let Ok(Some((pid, ended))) = sys::process::try_wait_any() {
            let pid = pid.as_raw_nonzero().get();
            let is_container = self
                .container
                .as_ref()
                .is_some_and(|container| matches!(&container.phase, Phase::Running(run) if run.pid == pid));
            if is_container {
                container_ended = Some(ended);
            } else {
                self.exec_ended(pid, ended);
            }
        }
        if let Some(ended) = container_ended {
            self.container_ended(ended);
        }
    }

    fn exec_ended(&mut self, process: i32, ended: Ended) {
        let position = self
            .sessions
            .iter()
            .position(|session| matches!(&session.owner, Owner::Exec { pid, .. } if *pid == process));
        let Some(position) = position else {
            return;
        };
        // What it wrote is in the pipes by now. Another process may hold them for long: it is not waited for.
        self.sessions[position].drain(None);
        let Owner::Exec { id, .. } = &self.sessions[position].owner else {
            return;
        };
        let event = Event::ExecExited {
            exec_id: id.clone(),
            code: ended.code(),
        };
        self.broadcast(&event);
        let late = self.sessions[position].close();
        self.closing.extend(late);
    }

    fn container_ended(&mut self, ended: Ended) {
        let finished_at = Timestamp::now();
        let Some(container) = &mut self.container else {
            return;
        };
        let Phase::Running(run) = &container.phase else {
            return;
        };
        let (started_at, duration) = (run.started_at, run.began.elapsed());
        if !container.has_own_pids
            && let Some(cgroup) = &container.cgroup
        {
            // A shared PID namespace does not end with its PID 1, but the container does.
            cgroup.kill(Signal::KILL).ok();
        }
        for session in &mut self.sessions {
            if matches!(session.owner, Owner::Container) {
                session.drain(Some(&mut container.log));
            }
        }
        container.log.finish();
        let news = look_for_oom_kills(container);
        if let Phase::Running(run) = &container.phase {
            // Before anybody is told: who waits for the end expects to have them back.
            give_back(&run.borrowed);
        }
        let record = ExitRecord {
            code: ended.code(),
            signal: match ended {
                Ended::Signaled(signal) => Some(signal),
                Ended::Exited(_) => None,
            },
            oom_killed: container.oom_kills > container.oom_kills_before,
            started_at,
            finished_at,
            restart_count: container.restart_count,
            error: None,
        };
        write_record(container, &record);
        let restarts = container.should_restart(record.code);
        let (phase, event) = if restarts {
            let at = Instant::now() + container.backoff.next(duration);
            let last = record.clone();
            (Phase::Restarting { last, at }, Event::Restarting { last: record })
        } else {
            (Phase::Exited(record.clone()), Event::Exited { record })
        };
        let former = std::mem::replace(&mut container.phase, phase);
        if news {
            self.broadcast(&Event::OutOfMemory);
        }
        self.broadcast(&event);
        self.close_container_sessions();
        if !restarts {
            std::thread::sleep(MOMENT);
        }
        drop(former);
        let is_spent = self
            .container
            .as_ref()
            .is_some_and(|container| !container.has_own_pids);
        if !restarts {
            self.clean_up();
        } else if is_spent {
            // Once killed, a v2 group kills whatever is cloned into it (Linux 6.14 to 6.18 compare its kill count with
            // that of the parent's group): the next run gets a new one.
            self.remove_cgroup();
        }
    }

    /// Starts the container again when its policy's delay is over.
    pub(crate) fn restart_if_due(&mut self, now: Instant) {
        let Some(container) = &mut self.container else {
            return;
        };
        let Phase::Restarting { last, at } = &container.phase else {
            return;
        };
        if *at > now {
            return;
        }
        let last = last.clone();
        container.restart_count = container.restart_count.saturating_add(1);
        let launched = read_task(container).and_then(|mut task| {
            container.has_own_pids = has_own_pids(&task.spec);
            let cgroup = container.cgroup.as_ref();
            let mut ready = Ready::make(&task, None)?;
            if cgroup.is_none() {
                ready.group(&task, self.layout.as_ref())?;
            }
            launch(&mut task, ready, cgroup, None)
        });
        match launched {
            Ok(launched) => self.run_again(launched),
            Err(failure) => self.restart_failed(last, &failure),
        }
    }

    /// Drops a pending restart.
    pub(crate) fn stop_restarting(&mut self) {
        let Some(container) = &mut self.container else {
            return;
        };
        let Phase::Restarting { last, .. } = &container.phase else {
            return;
        };
        let record = last.clone();
        container.phase = Phase::Exited(record.clone());
        self.broadcast(&Event::Exited { record });
        self.clean_up();
    }

    /// Removes what a container leaves behind, after everyone was told.
    pub(crate) fn clean_up(&mut self) {
        let Some(container) = &mut self.container else {
            return;
        };
        container.leftovers = Leftovers::default();
        container.settle_at = None;
        self.remove_cgroup();
    }

    fn remove_cgroup(&mut self) {
        let Some(container) = &mut self.container else {
            return;
        };
        container.oom = None;
        (container.oom_kills_before, container.oom_kills) = (0, 0);
        if let Some(cgroup) = container.cgroup.take() {
            // What cannot be removed now is removed by the engine, by path.
            cgroup.remove(CGROUP_PATIENCE).ok();
        }
    }

    fn run_again(&mut self, launched: Launched) {
        let Some(container) = &mut self.container else {
            return;
        };
        let event = Event::Running {
            pid: launched.run.pid,
            started_at: launched.run.started_at,
            restart_count: container.restart_count,
        };
        container.oom_kills_before = container.oom_kills;
        container.phase = Phase::Running(launched.run);
        container.leftovers = launched.leftovers;
        if launched.cgroup.is_some() {
            container.cgroup = launched.cgroup;
        }
        self.sessions.push(launched.session);
        self.settle_soon();
        self.broadcast(&event);
    }

    fn restart_failed(&mut self, last: ExitRecord, failure: &Failure) {
        let Some(container) = &mut self.container else {
            return;
        };
        let record = ExitRecord {
            // docker's codes for a container that cannot be run.
            code: match (failure.step.as_str(), failure.errno) {
                ("exec", libc::ENOENT) => 127,
                ("exec", _) => 126,
                _ => 128,
            },
            signal: None,
            restart_count: container.restart_count,
            error: Some(failure.to_string()),
            ..last
        };
        write_record(container, &record);
        container.phase = Phase::Exited(record.clone());
        self.broadcast(&Event::Exited { record });
        self.clean_up();
    }

    /// Ends the sessions of PID 1 and of every exec, whose processes have ended with it.
    fn close_container_sessions(&mut self) {
        for session in &mut self.sessions {
            if matches!(session.owner, Owner::Container) {
                let late = session.close();
                self.closing.extend(late);
            }
        }
    }
}

/// Counts the OOM kills; returns whether there are new ones.
pub(crate) fn look_for_oom_kills(container: &mut Container) -> bool {
    if let Some(oom) = &container.oom {
        oom.drain();
    }
    let count = container
        .cgroup
        .as_ref()
        .and_then(|cgroup| cgroup.oom_kill_count().ok());
    let before = container.oom_kills;
    container.oom_kills = count.unwrap_or(before).max(before);
    container.oom_kills > before
}

/// Makes the record durable. If the disk refuses it the event is all there is, and it is sent all the same: silence
/// would be worse.
fn write_record(container: &Container, record: &ExitRecord) {
    let durability = if container.is_removed_at_exit {
        Durability::Crash
    } else {
        Durability::Power
    };
    if let Ok(bytes) = serde_json::to_vec(record) {
        write_atomic(&container.exit_record, &bytes, 0o600, durability)
            .or_else(|_| write_atomic(&container.exit_record, &bytes, 0o600, Durability::Crash))
            .ok();
    }
}
