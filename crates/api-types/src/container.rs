//! Requests and short replies about containers.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::ContainerConfig;
use crate::host_config::HostConfig;
use crate::mount::MountPoint;
use crate::network::{EndpointSettings, NetworkingConfig};

/// The body of `POST /containers/create`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateRequest {
    #[serde(flatten)]
    pub config: ContainerConfig,
    #[serde(default, deserialize_with = "crate::lenient::value")]
    pub host_config: HostConfig,
    #[serde(default, deserialize_with = "crate::lenient::value")]
    pub networking_config: NetworkingConfig,
}

wire! {
    /// The reply to a create.
    pub struct CreateReply {
        pub id: String,
        pub warnings: Vec<String>,
    }

    /// One line of `GET /containers/json`.
    pub struct ContainerSummary {
        pub id: String,
        /// Each with a leading slash.
        pub names: Vec<String>,
        pub image: String,
        #[serde(rename = "ImageID")]
        pub image_id: String,
        pub command: String,
        /// Seconds since the Unix epoch.
        pub created: i64,
        pub ports: Vec<Port>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub size_rw: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub size_root_fs: i64,
        pub labels: BTreeMap<String, String>,
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        pub state: String,
        /// For people: `Up 5 minutes`.
        pub status: String,
        pub host_config: SummaryHostConfig,
        pub network_settings: SummaryNetworks,
        pub mounts: Vec<MountPoint>,
    }

    /// A port that a container has published or exposed.
    pub struct Port {
        #[serde(rename = "IP", skip_serializing_if = "crate::lenient::is_empty")]
        pub ip: String,
        pub private_port: u16,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub public_port: u16,
        #[serde(rename = "Type")]
        pub kind: String,
    }

    pub struct SummaryHostConfig {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub network_mode: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub annotations: BTreeMap<String, String>,
    }

    pub struct SummaryNetworks {
        pub networks: BTreeMap<String, EndpointSettings>,
    }

    /// The reply to a wait, sent when the container has stopped.
    pub struct WaitReply {
        pub status_code: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub error: Option<WaitError>,
    }

    pub struct WaitError {
        pub message: String,
    }

    /// The reply to an update.
    pub struct UpdateReply {
        pub warnings: Option<Vec<String>>,
    }

    /// The reply to top.
    pub struct TopReply {
        pub titles: Vec<String>,
        pub processes: Vec<Vec<String>>,
    }

    /// One changed path.
    pub struct Change {
        pub path: String,
        /// 0 modified, 1 added, 2 deleted.
        pub kind: u8,
    }

    /// The reply to a prune.
    pub struct ContainersPruneReply {
        pub containers_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }

    /// A reply that carries nothing but an id (exec create, commit).
    pub struct IdReply {
        pub id: String,
    }
}

wire! {
    "snake_case";

    /// The body of every error reply.
    pub struct ErrorReply {
        pub message: String,
    }
}

wire! {
    "camelCase";

    /// What a path in a container is: JSON in base64 in the header `X-Docker-Container-Path-Stat`.
    pub struct PathStat {
        pub name: String,
        pub size: i64,
        /// Go's `os.FileMode`.
        pub mode: u32,
        /// RFC 3339 with nanoseconds.
        pub mtime: String,
        /// Where a symbolic link leads in the end, inside of the container.
        pub link_target: String,
    }
}
