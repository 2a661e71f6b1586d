//! `HostConfig`: all 69 properties of Docker, so that the ones which are set but not done yet can be refused by name.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

use crate::mount::Mount;
use crate::network::PortBinding;

wire! {
    /// How a container uses the host.
    pub struct HostConfig {
        pub binds: Option<Vec<String>>,
        #[serde(rename = "ContainerIDFile")]
        pub container_id_file: String,
        pub log_config: LogConfig,
        pub network_mode: String,
        pub port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
        pub restart_policy: RestartPolicy,
        pub auto_remove: bool,
        pub volume_driver: String,
        pub volumes_from: Option<Vec<String>>,
        /// Rows, columns.
        pub console_size: [u16; 2],
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub annotations: BTreeMap<String, String>,

        pub cap_add: Option<Vec<String>>,
        pub cap_drop: Option<Vec<String>>,
        pub cgroupns_mode: String,
        pub dns: Option<Vec<String>>,
        pub dns_options: Option<Vec<String>>,
        pub dns_search: Option<Vec<String>>,
        pub extra_hosts: Option<Vec<String>>,
        pub group_add: Option<Vec<String>>,
        pub ipc_mode: String,
        pub cgroup: String,
        pub links: Option<Vec<String>>,
        pub oom_score_adj: i64,
        pub pid_mode: String,
        pub privileged: bool,
        pub publish_all_ports: bool,
        pub readonly_rootfs: bool,
        pub security_opt: Option<Vec<String>>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub storage_opt: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub tmpfs: BTreeMap<String, String>,
        #[serde(rename = "UTSMode")]
        pub uts_mode: String,
        pub userns_mode: String,
        /// Bytes.
        pub shm_size: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub sysctls: BTreeMap<String, String>,
        pub runtime: String,

        pub isolation: String,

        pub cpu_shares: i64,
        /// Bytes.
        pub memory: i64,
        pub nano_cpus: i64,
        pub cgroup_parent: String,
        pub blkio_weight: u16,
        pub blkio_weight_device: Option<Vec<WeightDevice>>,
        pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
        pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
        /// Microseconds.
        pub cpu_period: i64,
        /// Microseconds.
        pub cpu_quota: i64,
        pub cpu_realtime_period: i64,
        pub cpu_realtime_runtime: i64,
        pub cpuset_cpus: String,
        pub cpuset_mems: String,
        pub devices: Option<Vec<DeviceMapping>>,
        pub device_cgroup_rules: Option<Vec<String>>,
        pub device_requests: Option<Vec<DeviceRequest>>,
        /// No longer in Docker's API; accepted from old clients so that it can be refused by name.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub kernel_memory: i64,
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "crate::lenient::is_empty")]
        pub kernel_memory_tcp: i64,
        pub memory_reservation: i64,
        /// Memory and swap together; -1 is without limit.
        pub memory_swap: i64,
        pub memory_swappiness: Option<i64>,
        pub oom_kill_disable: Option<bool>,
        /// `None` or 0 in a request: the default.
        pub pids_limit: Option<i64>,
        pub ulimits: Option<Vec<Ulimit>>,
        pub cpu_count: i64,
        pub cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        pub io_maximum_iops: i64,
        #[serde(rename = "IOMaximumBandwidth")]
        pub io_maximum_bandwidth: i64,

        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub mounts: Vec<Mount>,
        /// `None`: the default list.
        pub masked_paths: Option<Vec<String>>,
        /// `None`: the default list.
        pub readonly_paths: Option<Vec<String>>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub init: Option<bool>,

        /// Berth only: a host directory used as the root file system in place of an image: `DIR` (written to), or
        /// `DIR:O` (a throw-away overlay above it). `Image` must then be empty.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_rootfs: String,
        /// Berth only: offsets of the container's clocks, in nanoseconds: `boottime`, `monotonic`.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_time_offsets: BTreeMap<String, i64>,
        /// Berth only: the user ids of the container's user namespace, in place of a slot of its own.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_uid_maps: Vec<IdMap>,
        /// Berth only: as `berth_uid_maps`, for groups. One of the two lists alone is meant for both.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_gid_maps: Vec<IdMap>,
        /// Berth only: whether the container's UTS, IPC, network and user namespaces outlive its processes and are
        /// joined again by its next start.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_keep_namespaces: bool,
        /// Berth only: how much the container may receive, in bits per second; 0 is without limit.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_net_rate_in: i64,
        /// Berth only: how much the container may send, in bits per second; 0 is without limit.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_net_rate_out: i64,
        /// Berth only: how many bytes the container may receive in a time.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_net_budget_in: NetBudget,
        /// Berth only: how many bytes the container may send in a time.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_net_budget_out: NetBudget,
    }

    /// A number of bytes in a time (Berth only).
    pub struct NetBudget {
        /// How many; 0 is without limit, and in an update as it was; -1 in an update is without limit.
        pub bytes: i64,
        /// The time, which begins with its first byte; 0 is one that does not end.
        pub seconds: i64,
    }

    /// A log driver and its options.
    pub struct LogConfig {
        /// Empty: the daemon's default.
        #[serde(rename = "Type")]
        pub kind: String,
        pub config: BTreeMap<String, String>,
    }

    /// When a container is started again: `""`, `no`, `always`, `unless-stopped` or `on-failure`.
    pub struct RestartPolicy {
        pub name: String,
        pub maximum_retry_count: i64,
    }

    /// A share of the block I/O of one device.
    pub struct WeightDevice {
        pub path: String,
        pub weight: u16,
    }

    /// A limit of one device, in bytes or operations per second.
    pub struct ThrottleDevice {
        pub path: String,
        pub rate: u64,
    }

    /// A device of the host that the container gets.
    pub struct DeviceMapping {
        pub path_on_host: String,
        pub path_in_container: String,
        /// Any of `r`, `w`, `m`.
        pub cgroup_permissions: String,
    }

    /// Devices asked for by capability (`--gpus`, CDI).
    pub struct DeviceRequest {
        pub driver: String,
        pub count: i64,
        #[serde(rename = "DeviceIDs")]
        pub device_ids: Option<Vec<String>>,
        pub capabilities: Option<Vec<Vec<String>>>,
        pub options: BTreeMap<String, String>,
    }

    /// A resource limit of the container's processes.
    pub struct Ulimit {
        pub name: String,
        pub hard: i64,
        pub soft: i64,
    }

    /// A range of ids of a user namespace (Berth only).
    pub struct IdMap {
        pub container_id: u32,
        pub host_id: u32,
        pub size: u32,
    }

    /// The body of `POST /containers/{id}/update`; zero and `null` leave a value as it is.
    pub struct UpdateRequest {
        pub cpu_shares: i64,
        pub memory: i64,
        pub nano_cpus: i64,
        pub cgroup_parent: String,
        pub blkio_weight: u16,
        pub blkio_weight_device: Option<Vec<WeightDevice>>,
        pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
        pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
        pub cpu_period: i64,
        pub cpu_quota: i64,
        pub cpu_realtime_period: i64,
        pub cpu_realtime_runtime: i64,
        pub cpuset_cpus: String,
        pub cpuset_mems: String,
        pub devices: Option<Vec<DeviceMapping>>,
        pub device_cgroup_rules: Option<Vec<String>>,
        pub device_requests: Option<Vec<DeviceRequest>>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub kernel_memory: i64,
        pub memory_reservation: i64,
        pub memory_swap: i64,
        pub memory_swappiness: Option<i64>,
        pub oom_kill_disable: Option<bool>,
        pub pids_limit: Option<i64>,
        pub ulimits: Option<Vec<Ulimit>>,
        pub restart_policy: RestartPolicy,
        /// Berth's own: another size of `/dev/shm`.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub shm_size: i64,
        /// Berth's own: how much the container may receive, in bits per second; -1 is without limit.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_net_rate_in: i64,
        /// Berth's own: how much the container may send, in bits per second; -1 is without limit.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_net_rate_out: i64,
        /// Berth's own: how many bytes the container may receive in a time.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_net_budget_in: NetBudget,
        /// Berth's own: how many bytes the container may send in a time.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub berth_net_budget_out: NetBudget,
    }
}
