//! Volumes.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

use serde_json::Value;

wire! {
    /// One volume.
    pub struct Volume {
        pub created_at: String,
        pub driver: String,
        pub labels: Option<BTreeMap<String, String>>,
        pub mountpoint: String,
        pub name: String,
        pub options: Option<BTreeMap<String, String>>,
        pub scope: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub status: Option<BTreeMap<String, Value>>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub usage_data: Option<VolumeUsage>,
    }

    pub struct VolumeUsage {
        /// -1: not counted.
        pub ref_count: i64,
        /// -1: not counted.
        pub size: i64,
    }

    /// The body of `POST /volumes/create`.
    pub struct VolumeCreateRequest {
        pub name: String,
        pub driver: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub driver_opts: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub cluster_volume_spec: Option<Value>,
    }

    /// The reply to `GET /volumes`.
    pub struct VolumeList {
        pub volumes: Vec<Volume>,
        pub warnings: Option<Vec<String>>,
    }

    /// The reply to `POST /volumes/prune`.
    pub struct VolumesPruneReply {
        pub volumes_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }
}
