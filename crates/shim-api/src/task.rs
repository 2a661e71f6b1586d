//! The task document: everything a shim needs to run, and run again, one container without the daemon.
//!
//! It is kept as `task.json` beside the container's other files; the shim reads it again for each restart and
//! keeps no parsed copy in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::clock::Timestamp;
use oci::endpoint;
use oci::rootfs::Rootfs;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

/// Everything that a shim needs to run one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// The container's id, 64 hex digits.
    pub id: String,
    /// The OCI runtime document. `root.path` is ignored in favour of `rootfs`; `process.user` is overridden by
    /// `user` and `groups` when those are set; of `linux.seccomp` only the flags count when `seccomp_filter` is set.
    pub spec: Spec,
    /// The root file system to put together.
    pub rootfs: Rootfs,
    /// `USER` as the image or the caller wrote it (`name`, `uid`, `name:group`, `uid:gid`): looked up in the
    /// container's own passwd and group files by the runtime; also sets HOME when the environment has none.
    pub user: Option<String>,
    /// Extra groups by name or number (`--group-add`).
    pub groups: Vec<String>,
    /// A compiled seccomp filter: the file that holds it as an array of little-endian `struct sock_filter`.
    pub seccomp_filter: Option<PathBuf>,
    /// The processes whose namespaces the document joins by `/proc/PID/…`. A number may be another process's by the time
    /// of a restart, which the shim then refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<JoinedProcess>,
    /// The namespaces that outlive PID 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeptNamespaces>,
    /// The networks that the container is plugged into, before its program runs and at each restart anew. `None`: it has
    /// what its network namespace has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Sandbox>,
    /// Whether PID 1 is Berth's own reaping, signal-forwarding init (`--init`).
    pub init: bool,
    /// Whether the container's stdin is a pipe that stays open (`-i`); otherwise it is `/dev/null`.
    pub stdin: bool,
    /// Whether stdin is closed when the first attached client that brought it leaves (`StdinOnce`).
    pub stdin_once: bool,
    /// Where output goes.
    pub log: LogConfig,
    /// When the container is started again.
    pub restart: RestartPolicy,
    /// Whether the container is removed after its exit: its exit record then needs no sync to the disk.
    pub auto_remove: bool,
    /// The socket on which the shim listens for daemons (below the exec root; at most 107 bytes).
    pub socket: PathBuf,
    /// Where the shim writes [`ExitRecord`] as JSON.
    pub exit_record: PathBuf,
    /// The task document's own path, read again for each restart.
    pub document: PathBuf,
}

/// Namespaces that outlive PID 1: held by mounts from the first start on, and joined again by the next ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptNamespaces {
    /// Where: `user`, `uts`, `ipc` and `net` in this directory, which the shim makes.
    pub directory: PathBuf,
    /// Which of those that the document makes new; the user namespace, if it is one of them, first.
    pub kinds: Vec<LinuxNamespaceType>,
}

/// What a container has of the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Where it is plugged in. In a namespace that was kept only what is missing is plugged in.
    pub endpoints: Vec<endpoint::Settings>,
    /// The socket of the process that answers its questions for names: it is given sockets for 127.0.0.11:53 in the
    /// container's namespace. `None`: nobody answers there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<PathBuf>,
    /// What the engine knows of it beyond this, in the engine's own words: it reads them again when its store is lost.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
}

/// A process whose namespaces are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedProcess {
    /// Its pid in the host's namespace.
    pub pid: i32,
    /// When it was made, in clock ticks since boot ([`sys::process::start_time`]).
    pub start_time: u64,
}

/// A log driver and its options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// `json-file`, `local` or `none`.
    pub driver: String,
    /// The current log file; rotated ones are `<path>.1`, `<path>.2`, …
    pub path: PathBuf,
    /// docker's options: `max-size`, `max-file`, `compress`, `mode`, `max-buffer-size`, `labels`, `env`, `tag`.
    /// Defaults of Berth: 20 MiB × 5.
    pub options: BTreeMap<String, String>,
    /// Extra `attrs` of each json-file record, already resolved from labels and env.
    pub attributes: BTreeMap<String, String>,
}

/// When a container is started again after its exit. Delays are docker's: 100 ms doubling to 1 min, reset after a run
/// of 10 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// Whenever it ends, and when the daemon starts.
    Always,
    /// Like `Always`, but not when it had been stopped before the daemon started.
    UnlessStopped,
    /// When the exit code is not 0, at most `maximum` times (0: without limit).
    OnFailure {
        /// The largest number of restarts, or 0.
        maximum: u32,
    },
}

/// How a container ended; durable before anyone is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// The exit code; 128 + signal when a signal ended it.
    pub code: u8,
    /// The signal that ended PID 1.
    pub signal: Option<i32>,
    /// Whether the kernel's OOM killer hit the container.
    pub oom_killed: bool,
    /// When PID 1 was started.
    pub started_at: Timestamp,
    /// When PID 1 ended.
    pub finished_at: Timestamp,
    /// How often the restart policy had started it again.
    pub restart_count: u32,
    /// Why a restart by policy could not be started, if that is how it ended.
    pub error: Option<String>,
}
