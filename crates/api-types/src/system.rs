//! The daemon itself: version, info, disk usage.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

use serde_json::Value;

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::volume::Volume;

wire! {
    /// The reply to `GET /version`.
    pub struct Version {
        pub platform: Platform,
        pub components: Vec<Component>,
        pub version: String,
        pub api_version: String,
        #[serde(rename = "MinAPIVersion")]
        pub min_api_version: String,
        pub git_commit: String,
        /// Docker's Go version; here the Rust version.
        pub go_version: String,
        pub os: String,
        pub arch: String,
        pub kernel_version: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub experimental: bool,
        pub build_time: String,
    }

    pub struct Platform {
        pub name: String,
    }

    /// A part of the engine and its version.
    pub struct Component {
        pub name: String,
        pub version: String,
        pub details: BTreeMap<String, String>,
    }

    /// The reply to `POST /system/check`, Berth's own.
    pub struct SystemCheck {
        /// How many blobs were read.
        pub blobs: u64,
        /// How many unpacked layers were compared with their archives.
        pub layers: u64,
        /// How many containers were looked at.
        pub containers: u64,
        pub damage: Vec<SystemDamage>,
    }

    /// A damaged object.
    pub struct SystemDamage {
        /// `image`, `blob`, `layer`, `container`, `store` or `record`.
        pub kind: String,
        pub object: String,
        pub problems: Vec<String>,
        pub images: Vec<String>,
        pub containers: Vec<String>,
        /// `damaged`, `repaired` or `failed`.
        pub outcome: String,
        /// Why it could not be mended, and what would help.
        pub reason: String,
    }

    /// The reply to `GET /info`.
    pub struct SystemInfo {
        #[serde(rename = "ID")]
        pub id: String,
        pub containers: i64,
        pub containers_running: i64,
        pub containers_paused: i64,
        pub containers_stopped: i64,
        pub images: i64,
        pub driver: String,
        /// Pairs of name and value.
        pub driver_status: Vec<(String, String)>,
        pub plugins: Plugins,
        pub memory_limit: bool,
        pub swap_limit: bool,
        pub cpu_cfs_period: bool,
        pub cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        pub pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        pub debug: bool,
        #[serde(rename = "NFd")]
        pub n_fd: i64,
        pub oom_kill_disable: bool,
        pub n_goroutines: i64,
        pub system_time: String,
        pub logging_driver: String,
        pub cgroup_driver: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub cgroup_version: String,
        pub n_events_listener: i64,
        pub kernel_version: String,
        pub operating_system: String,
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        #[serde(rename = "OSType")]
        pub os_type: String,
        pub architecture: String,
        pub index_server_address: String,
        pub registry_config: RegistryConfig,
        #[serde(rename = "NCPU")]
        pub n_cpu: i64,
        pub mem_total: i64,
        pub generic_resources: Option<Vec<Value>>,
        pub docker_root_dir: String,
        pub http_proxy: String,
        pub https_proxy: String,
        pub no_proxy: String,
        /// The host's name.
        pub name: String,
        pub labels: Vec<String>,
        pub experimental_build: bool,
        pub server_version: String,
        pub runtimes: BTreeMap<String, Runtime>,
        pub default_runtime: String,
        pub swarm: SwarmInfo,
        pub live_restore_enabled: bool,
        pub isolation: String,
        pub init_binary: String,
        pub containerd_commit: Commit,
        pub runc_commit: Commit,
        pub init_commit: Commit,
        pub security_options: Vec<String>,
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: Vec<String>,
        pub warnings: Option<Vec<String>>,
        /// Berth only: the hierarchy that carries each cgroup controller: `v1`, `v2`.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub cgroup_controllers: BTreeMap<String, String>,
    }

    pub struct Plugins {
        pub volume: Vec<String>,
        pub network: Vec<String>,
        pub authorization: Option<Vec<String>>,
        pub log: Vec<String>,
    }

    pub struct RegistryConfig {
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: Vec<String>,
        pub index_configs: BTreeMap<String, Value>,
        pub mirrors: Option<Vec<String>>,
    }

    pub struct SwarmInfo {
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub node_addr: String,
        pub local_node_state: String,
        pub control_available: bool,
        pub error: String,
        pub remote_managers: Option<Vec<Value>>,
    }

    /// The reply to `GET /system/df`.
    pub struct DiskUsage {
        pub layers_size: i64,
        pub images: Vec<ImageSummary>,
        pub containers: Vec<ContainerSummary>,
        pub volumes: Vec<Volume>,
        pub build_cache: Vec<Value>,
    }
}

wire! {
    "camelCase";

    /// An OCI runtime that the daemon knows.
    pub struct Runtime {
        pub path: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub status: Option<BTreeMap<String, String>>,
    }
}

wire! {
    /// The revision of a part.
    pub struct Commit {
        #[serde(rename = "ID")]
        pub id: String,
    }
}
