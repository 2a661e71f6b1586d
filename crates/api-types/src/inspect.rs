//! `GET /containers/{id}/json`.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::ContainerConfig;
use crate::host_config::HostConfig;
use crate::mount::MountPoint;
use crate::network::NetworkSettings;

wire! {
    /// All that is known of one container.
    pub struct ContainerInspect {
        pub id: String,
        pub created: String,
        pub path: String,
        pub args: Vec<String>,
        pub state: State,
        /// The image's id.
        pub image: String,
        pub resolv_conf_path: String,
        pub hostname_path: String,
        pub hosts_path: String,
        pub log_path: String,
        /// With a leading slash.
        pub name: String,
        pub restart_count: i64,
        pub driver: String,
        pub platform: String,
        pub mount_label: String,
        pub process_label: String,
        pub app_armor_profile: String,
        #[serde(rename = "ExecIDs")]
        pub exec_ids: Option<Vec<String>>,
        pub host_config: HostConfig,
        pub graph_driver: GraphDriver,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub size_rw: Option<i64>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub size_root_fs: Option<i64>,
        pub mounts: Vec<MountPoint>,
        pub config: ContainerConfig,
        pub network_settings: NetworkSettings,
        /// Berth only: the inode numbers of the running container's namespaces, by name as in `/proc/PID/ns`.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub namespaces: BTreeMap<String, u64>,
        /// Berth only: the ranges of the container's user namespace.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub uid_map: Vec<crate::host_config::IdMap>,
        /// Berth only: as `uid_map`, for groups.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub gid_map: Vec<crate::host_config::IdMap>,
    }

    /// The state of a container.
    pub struct State {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        pub status: String,
        pub running: bool,
        pub paused: bool,
        pub restarting: bool,
        #[serde(rename = "OOMKilled")]
        pub oom_killed: bool,
        pub dead: bool,
        pub pid: i64,
        pub exit_code: i64,
        pub error: String,
        pub started_at: String,
        pub finished_at: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub health: Option<Health>,
    }

    pub struct Health {
        pub status: String,
        pub failing_streak: i64,
        pub log: Option<Vec<Value>>,
    }

    /// Where the layers lie.
    pub struct GraphDriver {
        pub data: Option<BTreeMap<String, String>>,
        pub name: String,
    }
}
