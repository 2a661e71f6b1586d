//! What a shim remembers of its container: a few facts of the task, not the task.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base::clock::Timestamp;
use cgroup::{Cgroup, OomEvents};
use logs::options::Options;
use logs::record::Stream;
use logs::writer::Writer;
use runtime::Holder;
use shim_api::message::State;
use shim_api::task::{ExitRecord, LogConfig, RestartPolicy, Task};

/// The container of this shim.
#[derive(Debug)]
pub(crate) struct Container {
    /// Its id, which the process list shows.
    pub(crate) id: String,
    pub(crate) document: PathBuf,
    pub(crate) exit_record: PathBuf,
    pub(crate) is_removed_at_exit: bool,
    /// Whether every process of the container ends with PID 1.
    pub(crate) has_own_pids: bool,
    pub(crate) log: Log,
    pub(crate) policy: RestartPolicy,
    /// Whether a person has stopped it, so that no policy applies any more.
    pub(crate) is_stopped_by_person: bool,
    pub(crate) restart_count: u32,
    pub(crate) backoff: Backoff,
    pub(crate) phase: Phase,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) oom: Option<OomEvents>,
    /// How many OOM kills were known before this run, and how many are known now.
    pub(crate) oom_kills_before: u64,
    pub(crate) oom_kills: u64,
    pub(crate) leftovers: Leftovers,
    /// When things that can wait are done.
    pub(crate) settle_at: Option<Instant>,
}

/// What the start of a run has used, and is dropped when there is time.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "held, never used")]
pub(crate) struct Leftovers {
    pub(crate) mounts: Vec<OwnedFd>,
    pub(crate) holder: Option<Holder>,
}

/// Where a container is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// PID 1 runs.
    Running(Run),
    /// It ended and will be started again.
    Restarting {
        /// How it ended.
        last: ExitRecord,
        /// When it will be started.
        at: Instant,
    },
    /// It ended for good.
    Exited(ExitRecord),
}

/// One run of PID 1.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) started_at: Timestamp,
    pub(crate) began: Instant,
    /// The mount namespace. Taking it down waits for several RCU grace periods; while it is held here the kernel does
    /// not do that before it tells us that PID 1 has ended. Dropped after everyone was told.
    #[expect(dead_code, reason = "held, never used")]
    pub(crate) mounts: Option<OwnedFd>,
    /// What it has of the host's network.
    pub(crate) borrowed: crate::plug::Borrowed,
}

impl Container {
    /// Returns the present state as the protocol says it.
    pub(crate) fn state(&self) -> State {
        match &self.phase {
            Phase::Running(run) => State::Running {
                pid: run.pid,
                started_at: run.started_at,
                restart_count: self.restart_count,
            },
            Phase::Restarting { last, .. } => State::Restarting { last: last.clone() },
            Phase::Exited(record) => State::Exited {
                record: record.clone(),
            },
        }
    }

    /// Returns whether the policy wants another run after one that ended with `code`.
    pub(crate) fn should_restart(&self, code: u8) -> bool {
        if self.is_stopped_by_person {
            return false;
        }
        match self.policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { maximum } => {
                code != 0 && (maximum == 0 || self.restart_count < maximum)
            }
        }
    }
}

/// The growing delay before a restart: docker's 100 ms, doubled each time up to a minute.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    last: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    /// A run of this length starts the delays anew.
    const GOOD_RUN: Duration = Duration::from_secs(10);

    /// Returns the delay before the next run, after one that took `duration`.
    pub(crate) fn next(&mut self, duration: Duration) -> Duration {
        if duration >= Self::GOOD_RUN {
            self.last = Duration::ZERO;
        }
        self.last = if self.last.is_zero() {
            Self::FIRST
        } else {
            (self.last * 2).min(Self::LONGEST)
        };
        self.last
    }
}

/// The log, opened with the first output.
#[derive(Debug)]
pub(crate) struct Log {
    config: LogConfig,
    options: Options,
    writer: Option<Writer>,
}

impl Log {
    pub(crate) fn new(task: &Task) -> Result<Self, logs::options::OptionsError> {
        Ok(Self {
            options: Options::parse(&task.log.driver, &task.log.options)?,
            config: task.log.clone(),
            writer: None,
        })
    }

    /// Opens the log if it is not open yet.
    pub(crate) fn open(&mut self) -> &mut Writer {
        self.writer
            .get_or_insert_with(|| Writer::open(&self.config.path, &self.options, &self.config.attributes))
    }

    /// Takes output as it was read from the container.
    pub(crate) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        self.open().write(stream, bytes);
    }

    /// Returns how soon the writer wants to work; `None`: not at all.
    pub(crate) fn needs_work(&self) -> Option<Duration> {
        self.writer.as_ref().and_then(Writer::needs_work)
    }

    /// Does a piece of what can wait.
    pub(crate) fn work(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.work();
        }
    }

    /// Writes everything that is still held.
    pub(crate) fn finish(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.finish();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_dockers() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let delays: Vec<u128> = (0..12).map(|_| backoff.next(short).as_millis()).collect();
        assert_eq!(
            delays,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000
            ]
        );
        assert_eq!(backoff.next(Duration::from_secs(10)).as_millis(), 100);
    }
}
