//! What a container was asked to be, in the words of the field: the durable part of a container.
//!
//! [`Config`] can travel to another machine and become part of an image; [`HostConfig`] says how this machine runs it.
//! Both are kept as JSON in the store, so a new field needs `#[serde(default)]`, which every struct here has.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use crate::ports::{PortNames, PortRequest, Protocol};

/// What runs in the container, independent of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// The host name inside; empty: the first 12 digits of the id (or the host's with `--uts host`/`--network host`).
    pub hostname: String,
    /// The NIS domain name.
    pub domainname: String,
    /// `USER`, as `name`, `uid`, `name:group` or `uid:gid`; empty: the image's, or root.
    pub user: String,
    /// Whether the client asked to be attached to stdin (kept for inspect).
    pub attach_stdin: bool,
    /// Whether the client asked to be attached to stdout (kept for inspect).
    pub attach_stdout: bool,
    /// Whether the client asked to be attached to stderr (kept for inspect).
    pub attach_stderr: bool,
    /// Whether the container has a terminal.
    pub tty: bool,
    /// Whether stdin stays open without a client.
    pub open_stdin: bool,
    /// Whether stdin is closed when the first attached client leaves.
    pub stdin_once: bool,
    /// `NAME=value`; a bare `NAME` removes the image's.
    pub env: Vec<String>,
    /// The command; `None`: the image's.
    pub cmd: Option<Vec<String>>,
    /// The entrypoint; `None`: the image's; one empty string or no string: none.
    pub entrypoint: Option<Vec<String>>,
    /// The image as the caller wrote it; empty with [`HostConfig::rootfs`].
    pub image: String,
    /// Directories that get an anonymous volume.
    pub volumes: BTreeSet<String>,
    /// The working directory; empty: the image's, or `/`.
    pub working_dir: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Ports as `80/tcp`; kept for inspect.
    pub exposed_ports: PortNames,
    /// The signal that stops it, by name or number; empty: the image's, or SIGTERM.
    pub stop_signal: String,
    /// Seconds between the stop signal and SIGKILL; `None`: 10; -1: for ever.
    pub stop_timeout: Option<i64>,
    /// The health check's command as docker writes it (`["CMD-SHELL", …]`); anything but `["NONE"]` is refused for now.
    pub healthcheck: Option<Vec<String>>,
    /// Whether the container gets no network.
    pub network_disabled: bool,
    /// The MAC address that was asked for on the network of `network_mode`, or empty.
    pub mac_address: String,
}

/// How this machine runs a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostConfig {
    /// `-v` in docker's spelling: `source:target[:options]`.
    pub binds: Vec<String>,
    /// `--mount`.
    pub mounts: Vec<MountRequest>,
    /// `--tmpfs`: target → options.
    pub tmpfs: BTreeMap<String, String>,
    /// `--volumes-from`: `container[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// `--volume-driver`; only empty and `local` are known.
    pub volume_driver: String,
    /// A root file system without an image.
    pub rootfs: Option<RootfsRequest>,
    /// `--read-only`.
    pub read_only_rootfs: bool,
    /// `--storage-opt`; refused for now unless empty.
    pub storage_opt: BTreeMap<String, String>,

    /// `--network`: empty or `default`, `none`, `host`, `container:ID`, `ns:PATH`, or a network's name or id, which is the
    /// first that the container joins.
    pub network_mode: String,
    /// What it asks of the networks it joins, by name or id as the caller wrote it; others than that of `network_mode` are
    /// joined as well.
    pub endpoints: BTreeMap<String, EndpointRequest>,
    /// `-p`.
    pub ports: Vec<PortRequest>,
    /// `-P`: every exposed port that `-p` does not name gets a port of the host.
    pub publish_all_ports: bool,
    /// `--net-rate-in`: how much it may receive on each of its networks, in bits per second; 0: without limit.
    pub net_rate_in: u64,
    /// `--net-rate-out`: how much it may send.
    pub net_rate_out: u64,
    /// `--net-budget-in`: how many bytes it may receive in a time, on all its networks together.
    pub net_budget_in: Option<NetBudget>,
    /// `--net-budget-out`: how many it may send.
    pub net_budget_out: Option<NetBudget>,
    /// `--dns`.
    pub dns: Vec<String>,
    /// `--dns-option`.
    pub dns_options: Vec<String>,
    /// `--dns-search`.
    pub dns_search: Vec<String>,
    /// `--add-host`: `name:address` (or `name=address`).
    pub extra_hosts: Vec<String>,
    /// `--link`: `container[:alias]`.
    pub links: Vec<String>,

    /// `--pid`: empty, `host`, `container:ID`, `ns:PATH`.
    pub pid_mode: String,
    /// `--ipc`: empty, `none`, `private`, `shareable`, `persistent`, `host`, `container:ID`, `ns:PATH`.
    pub ipc_mode: String,
    /// `--uts`: empty, `host` or `ns:PATH`.
    pub uts_mode: String,
    /// `--userns`: empty (the daemon's default), `host`, `private`.
    pub userns_mode: String,
    /// `--uidmap`: the user ids of a user namespace of its own; empty: a range that the engine gives out.
    pub uid_maps: Vec<IdMap>,
    /// `--gidmap`; one of the two lists alone is meant for both.
    pub gid_maps: Vec<IdMap>,
    /// `--time-offset`: a clock (`boottime`, `monotonic`) → nanoseconds.
    pub time_offsets: BTreeMap<String, i64>,
    /// `--keep-ns`: whether its UTS, IPC, network and user namespaces outlive its PID 1.
    pub keep_namespaces: bool,
    /// `--cgroupns`: empty, `private`, `host`.
    pub cgroupns_mode: String,
    /// `--cgroup-parent`; empty: the daemon's.
    pub cgroup_parent: String,

    /// `--privileged`.
    pub privileged: bool,
    /// `--cap-add`.
    pub cap_add: Vec<String>,
    /// `--cap-drop`.
    pub cap_drop: Vec<String>,
    /// `--group-add`.
    pub group_add: Vec<String>,
    /// `--security-opt`, with profiles already replaced by their content as docker's client does.
    pub security_opt: Vec<String>,
    /// Masked paths instead of the default ones; `Some([])` masks nothing.
    pub masked_paths: Option<Vec<String>>,
    /// Read-only paths instead of the default ones.
    pub readonly_paths: Option<Vec<String>>,
    /// `--sysctl`.
    pub sysctls: BTreeMap<String, String>,
    /// `--annotation`.
    pub annotations: BTreeMap<String, String>,
    /// `--runtime`; only empty and Berth's own names are known.
    pub runtime: String,
    /// `--oom-score-adj`.
    pub oom_score_adj: i32,
    /// `--init`; `None`: the daemon's default.
    pub init: Option<bool>,

    /// `--device`.
    pub devices: Vec<DeviceRequest>,
    /// `--device-cgroup-rule`.
    pub device_cgroup_rules: Vec<String>,
    /// `--gpus` and CDI, as text for the refusal.
    pub device_requests: Vec<String>,
    /// Limits.
    pub resources: Resources,
    /// `--ulimit`.
    pub ulimits: Vec<Ulimit>,
    /// `--shm-size` in bytes; `None` or 0: 64 MiB.
    pub shm_size: Option<u64>,

    /// `--log-driver` and `--log-opt`; an empty driver: the daemon's.
    pub log: LogRequest,
    /// `--restart`.
    pub restart: RestartRequest,
    /// `--rm`.
    pub auto_remove: bool,
    /// `--cidfile`'s path, kept for inspect.
    pub container_id_file: String,
    /// The terminal's first size (rows, columns).
    pub console_size: Option<(u16, u16)>,
}

/// `--uidmap` and `--gidmap`: a range of ids of a user namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMap {
    /// The first id inside.
    pub container: u32,
    /// The host's id that it is.
    pub host: u32,
    /// How many follow one another.
    pub size: u32,
}

/// `--rootfs DIR` or `--rootfs DIR:O`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsRequest {
    /// The directory.
    pub path: PathBuf,
    /// Whether writes go to a throw-away layer above it (`:O`).
    pub overlay: bool,
}

/// `--mount`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MountRequest {
    /// `bind`, `volume`, `tmpfs`; others are refused.
    pub kind: String,
    /// The host path or the volume's name.
    pub source: String,
    /// The path inside.
    pub target: String,
    /// Whether it is read-only.
    pub read_only: bool,
    /// `consistency`; accepted and without effect, as in docker on Linux.
    pub consistency: String,
    /// `bind-propagation`; empty: `rprivate`.
    pub propagation: String,
    /// Whether the bind leaves out mounts below the source.
    pub non_recursive: bool,
    /// Whether a missing source directory is made (`bind-create-src`).
    pub create_mountpoint: bool,
    /// Whether mounts below a read-only bind stay writable.
    pub read_only_non_recursive: bool,
    /// Whether the start fails if mounts below cannot be made read-only.
    pub read_only_force_recursive: bool,
    /// `volume-nocopy`.
    pub no_copy: bool,
    /// `volume-label`.
    pub labels: BTreeMap<String, String>,
    /// `volume-driver`.
    pub driver: String,
    /// `volume-opt`.
    pub driver_options: BTreeMap<String, String>,
    /// `volume-subpath`.
    pub subpath: String,
    /// `tmpfs-size` in bytes.
    pub tmpfs_size: Option<u64>,
    /// `tmpfs-mode`.
    pub tmpfs_mode: Option<u32>,
    /// `tmpfs-options` as docker sends them: pairs or single words.
    pub tmpfs_options: Vec<Vec<String>>,
}

/// `--device`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// The path on the host: a device node or a directory of them.
    pub path_on_host: String,
    /// The path inside; empty: the same.
    pub path_in_container: String,
    /// Of `r`, `w`, `m`; empty: `rwm`.
    pub permissions: String,
}

/// `--ulimit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// The soft limit; -1: none.
    pub soft: i64,
    /// The hard limit; -1: none.
    pub hard: i64,
}

/// `--log-driver` and `--log-opt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogRequest {
    /// The driver; empty: the daemon's.
    pub driver: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// `--restart`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestartRequest {
    /// `no` or empty, `always`, `unless-stopped`, `on-failure`.
    pub name: String,
    /// The most restarts with `on-failure`; 0: without limit.
    pub maximum_retry_count: u32,
}

/// A limit of one block device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceLimit {
    /// The device node on the host.
    pub path: String,
    /// Bytes or operations a second, or a weight.
    pub value: u64,
}

/// Limits, with docker's meaning of zero ("not set") and its units.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative CPU weight (default 1024).
    pub cpu_shares: i64,
    /// CPUs in billionths.
    pub nano_cpus: i64,
    /// CFS period in microseconds.
    pub cpu_period: i64,
    /// CFS quota in microseconds; -1: none.
    pub cpu_quota: i64,
    /// Real-time period in microseconds.
    pub cpu_realtime_period: i64,
    /// Real-time runtime in microseconds.
    pub cpu_realtime_runtime: i64,
    /// CPUs, as `0-3,6`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Memory in bytes.
    pub memory: i64,
    /// Soft limit in bytes.
    pub memory_reservation: i64,
    /// Memory plus swap in bytes; -1: unlimited; 0: twice the memory.
    pub memory_swap: i64,
    /// 0 to 100; `None` or -1: the kernel's.
    pub memory_swappiness: Option<i64>,
    /// `--kernel-memory`; refused unless 0.
    pub kernel_memory: i64,
    /// Whether the OOM killer is off.
    pub oom_kill_disable: Option<bool>,
    /// The most processes; `None`: the daemon's default; 0 or -1: without limit.
    pub pids_limit: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: u16,
    /// Weight for each device.
    pub blkio_weight_device: Vec<DeviceLimit>,
    /// Bytes read a second.
    pub blkio_device_read_bps: Vec<DeviceLimit>,
    /// Bytes written a second.
    pub blkio_device_write_bps: Vec<DeviceLimit>,
    /// Reads a second.
    pub blkio_device_read_iops: Vec<DeviceLimit>,
    /// Writes a second.
    pub blkio_device_write_iops: Vec<DeviceLimit>,
}

/// A number of bytes in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetBudget {
    /// How many.
    pub bytes: u64,
    /// The time in seconds; 0: as long as there is the container.
    pub seconds: u64,
}

/// What a container asks of one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointRequest {
    /// `--ip`.
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`.
    pub ipv6: Option<Ipv6Addr>,
    /// `--link-local-ip`: further addresses, of 169.254.0.0/16 or fe80::/10.
    pub link_local: Vec<IpAddr>,
    /// Addresses that were moved to it, on top of its own.
    pub floating: Vec<IpAddr>,
    /// `--mac-address`, as six bytes in hex with colons; empty: drawn at each start.
    pub mac: String,
    /// `--network-alias`.
    pub aliases: Vec<String>,
    /// `container[:alias]`: names that this container alone knows others by.
    pub links: Vec<String>,
    /// Options for the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Of several networks the one with the highest gives the default gateway.
    pub gw_priority: i64,
}
