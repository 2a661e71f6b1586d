//! Mounts: as requested (`HostConfig.Mounts`) and as they are (`Mounts` of an inspected container).
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

use serde_json::Value;

wire! {
    /// One `--mount`.
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe` or `cluster`.
        #[serde(rename = "Type")]
        pub kind: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub source: String,
        pub target: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub read_only: bool,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub consistency: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub image_options: Option<ImageOptions>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub tmpfs_options: Option<TmpfsOptions>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub cluster_options: Option<Value>,
    }

    pub struct BindOptions {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub propagation: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub non_recursive: bool,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub create_mountpoint: bool,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub read_only_force_recursive: bool,
    }

    pub struct VolumeOptions {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub no_copy: bool,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub subpath: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub driver_config: Option<VolumeDriver>,
    }

    pub struct VolumeDriver {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub name: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub options: BTreeMap<String, String>,
    }

    pub struct ImageOptions {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub subpath: String,
    }

    pub struct TmpfsOptions {
        /// 0: without limit.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub size_bytes: i64,
        /// Permission bits, as a number.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub mode: u32,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub options: Vec<Vec<String>>,
    }

    /// A mount that a container has.
    pub struct MountPoint {
        #[serde(rename = "Type")]
        pub kind: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub name: String,
        pub source: String,
        pub destination: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub driver: String,
        pub mode: String,
        #[serde(rename = "RW")]
        pub rw: bool,
        pub propagation: String,
    }
}
