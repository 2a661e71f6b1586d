//! The messages. A frame is a 4-byte little-endian length and that many bytes of JSON; at most 4 MiB.
//!
//! ```text
//! daemon ── SpawnRequest + 1 fd (stream socket) ──▶ zygote ── fork ──▶ shim serves that socket
//! daemon ── Request::Prepare ──▶ shim (no reply)
//! daemon ── Request::Start + n fds (one per attach) ──▶ shim ── Reply::Started | Reply::Failed
//! daemon ── connect(task.socket), Request::… ──▶ shim ── Reply, then Event, Event, …  (after Subscribe)
//! ```
//!
//! A connection carries requests and replies in order; a request may be followed by another before its reply.
//! `Attach` and `Exec` with `attach` hand over the other end of a socket pair (one fd, SCM_RIGHTS, sent with the
//! frame's first byte). On that stream the shim writes output in Docker's own wire format (raw bytes with a TTY;
//! otherwise frames of `[stream, 0, 0, 0, big-endian u32 length]`) and reads raw stdin bytes, so that the daemon only
//! copies. A half-close by the client closes stdin as docker does: that of an exec always, the container's if
//! [`Task::stdin_once`], and never a TTY. The shim closes the stream when the output is at its end, or at once when the
//! detach keys were typed. A client that was attached with `Start` holds the container up when it does not read, as a
//! pipe would, but not for longer than 30 s without any progress; one that came later for 1 s; then it is dropped.

use base::clock::Timestamp;
use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

use crate::task::{ExitRecord, RestartPolicy, Task};

/// What a client wants of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachOptions {
    /// Whether bytes from the client go to stdin.
    pub stdin: bool,
    /// Whether stdout is sent.
    pub stdout: bool,
    /// Whether stderr is sent.
    pub stderr: bool,
    /// The bytes that detach (docker's default: 16, 17 — ctrl-p ctrl-q); empty: none. Only used with a TTY.
    pub detach_keys: Vec<u8>,
}

/// Something the daemon asks of a shim. The name comes first and not among the fields, so that a task is decoded as it is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Says what `Start` will run, while the daemon is still at its own steps: what the task names need not be there yet.
    /// The first request to a new shim. It makes nothing outside its processes. No reply.
    Prepare {
        /// The task; boxed because it is large.
        task: Box<Task>,
        /// The initial terminal size (rows, columns).
        console_size: Option<(u16, u16)>,
    },
    /// Runs the container that was prepared. One fd per entry of `attaches`. The attached clients get every byte from the
    /// first on.
    Start {
        /// Streams that were attached before the start.
        attaches: Vec<AttachOptions>,
        /// How often the policy has restarted the container so far.
        restart_count: u32,
    },
    /// Adds a stream (one fd) to the running container. Reply: `Done`.
    Attach(AttachOptions),
    /// Runs another process in the container. One fd if `attach` is set. Reply: `Started` or `Failed`; its end is an
    /// [`Event::ExecExited`] to every subscriber.
    Exec(Box<ExecRequest>),
    /// Sets the terminal size of the container or of an exec. Reply: `Done`.
    Resize {
        /// The exec, or the container itself.
        exec_id: Option<String>,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Sends a signal to PID 1 or to an exec's process. Reply: `Done` or `Failed` (step `signal`).
    Signal {
        /// The exec, or PID 1.
        exec_id: Option<String>,
        /// The signal's number.
        signal: i32,
        /// Whether every process of the container's cgroup gets it (used with SIGKILL).
        all: bool,
    },
    /// Marks the container as stopped by a person: no restart policy applies any more, a pending restart is dropped
    /// (the shim then ends as after an exit). Reply: `Done`.
    StopRestarting,
    /// Replaces the restart policy. Reply: `Done`.
    SetRestartPolicy(RestartPolicy),
    /// Asks for the present state. Reply: `State`.
    State,
    /// Asks for [`Event`] frames between the replies, beginning with the present state as [`Event::Running`], or
    /// [`Event::Restarting`] or [`Event::Exited`] (nothing before `Start`). No reply.
    Subscribe,
    /// Acknowledges [`Event::Exited`]: the shim may end. Reply: `Done`, after the cgroup was removed and the socket
    /// file too, so that the container can be started again at once; `Failed` while it runs. Without it the shim ends
    /// by itself once the exit record is written and no connection is left. Before `Start` it takes back what `Prepare` has
    /// made, and the shim ends.
    Release,
}

/// Another process to run in the container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The exec's id.
    pub id: String,
    /// The process; `user` of the document is overridden by `user` below when set.
    pub process: Process,
    /// As [`Task::user`].
    pub user: Option<String>,
    /// As [`Task::groups`].
    pub groups: Vec<String>,
    /// Whether the process gets every capability the container may have and no seccomp filter (`--privileged`).
    pub privileged: bool,
    /// The stream; `None`: output is thrown away, stdin is `/dev/null`.
    pub attach: Option<AttachOptions>,
    /// The initial terminal size (rows, columns).
    pub console_size: Option<(u16, u16)>,
}

/// A shim's answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// The process runs: its `execve` has succeeded.
    Started {
        /// Its pid in the host's namespace.
        pid: i32,
        /// When it was started.
        started_at: Timestamp,
        /// What was done otherwise than asked, for the person who asked.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// The request failed; after a failed `Start` nothing of the container is left and the shim ends.
    Failed(Failure),
    /// The request was carried out.
    Done,
    /// The present state.
    State(State),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{step}: {message}")]
pub struct Failure {
    /// The step that failed, a fixed word such as `mount`, `exec`, `user`, `cgroup`, `seccomp`.
    pub step: String,
    /// What failed on what and why, as one line.
    pub message: String,
    /// The errno, 0 if there was none. `step` `exec` with ENOENT or EACCES decides between exit codes 127 and 126.
    pub errno: i32,
}

/// The present state of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// PID 1 runs.
    Running {
        /// Its pid in the host's namespace.
        pid: i32,
        /// When it was started.
        started_at: Timestamp,
        /// How often the policy has restarted the container.
        restart_count: u32,
    },
    /// It ended and will be started again by its policy.
    Restarting {
        /// How the last run ended.
        last: ExitRecord,
    },
    /// It ended.
    Exited {
        /// How.
        record: ExitRecord,
    },
}

/// Something that happened, sent to subscribers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// PID 1 runs (also after a restart by policy).
    Running {
        /// Its pid in the host's namespace.
        pid: i32,
        /// When it was started.
        started_at: Timestamp,
        /// How often the policy has restarted the container.
        restart_count: u32,
    },
    /// It ended and waits for its policy's delay. The exit record is already written.
    Restarting {
        /// How it ended.
        last: ExitRecord,
    },
    /// It ended for good. The exit record is already written.
    Exited {
        /// How.
        record: ExitRecord,
    },
    /// The kernel killed a process of the container for want of memory.
    OutOfMemory,
    /// An exec's process ended. Its output was handed to its stream, which is closed after this event.
    ExecExited {
        /// The exec.
        exec_id: String,
        /// The exit code; 128 + signal when a signal ended it.
        code: u8,
    },
}
