//! Images.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

use crate::config::ContainerConfig;
use crate::inspect::GraphDriver;

wire! {
    /// One line of `GET /images/json`.
    pub struct ImageSummary {
        /// -1: not counted.
        pub containers: i64,
        /// Seconds since the Unix epoch.
        pub created: i64,
        pub id: String,
        pub labels: Option<BTreeMap<String, String>>,
        pub parent_id: String,
        pub repo_digests: Vec<String>,
        pub repo_tags: Vec<String>,
        /// -1: not counted.
        pub shared_size: i64,
        pub size: i64,
        /// Before API 1.44 only.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub virtual_size: Option<i64>,
    }

    /// The reply to `GET /images/{name}/json`.
    pub struct ImageInspect {
        pub id: String,
        pub repo_tags: Vec<String>,
        pub repo_digests: Vec<String>,
        pub parent: String,
        pub comment: String,
        pub created: String,
        pub docker_version: String,
        pub author: String,
        pub config: ContainerConfig,
        pub architecture: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub variant: String,
        pub os: String,
        pub size: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub virtual_size: Option<i64>,
        /// Before API 1.45 only; clients of that time read the key.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub container_config: Option<ContainerConfig>,
        pub graph_driver: GraphDriver,
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        pub metadata: ImageMetadata,
    }

    pub struct RootFs {
        #[serde(rename = "Type")]
        pub kind: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub layers: Vec<String>,
    }

    pub struct ImageMetadata {
        pub last_tag_time: String,
    }

    /// One entry of the reply to `DELETE /images/{name}`: one of the two is set.
    pub struct ImageDelete {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub untagged: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub deleted: String,
    }

    /// One line of `GET /images/{name}/history`.
    pub struct HistoryItem {
        pub id: String,
        pub created: i64,
        pub created_by: String,
        pub tags: Option<Vec<String>>,
        pub size: i64,
        pub comment: String,
    }

    /// The reply to `POST /images/prune`.
    pub struct ImagesPruneReply {
        pub images_deleted: Option<Vec<ImageDelete>>,
        pub space_reclaimed: u64,
    }
}

wire! {
    /// The body of `POST /images/pack` (Berth only): an image out of programs of the host. The reply is an
    /// [`crate::container::IdReply`] with status 201.
    pub struct ImagePackRequest {
        /// `name[:tag]`.
        pub reference: String,
        /// Absolute paths on the host.
        pub programs: Vec<String>,
        /// Dockerfile instructions (`--change`).
        pub changes: Vec<String>,
    }
}

wire! {
    /// The reply to `GET /images/{name}/blobs` (Berth only): what an image is made of.
    pub struct ImageBlobs {
        pub id: String,
        /// The manifest's digest.
        pub manifest: String,
        /// Manifest, configuration and layers, each once.
        pub blobs: Vec<ImageBlob>,
    }

    /// One blob of an image.
    pub struct ImageBlob {
        pub digest: String,
        pub size: u64,
    }

    /// The body of `POST /images/missing` (Berth only): which of these blobs are not there? Those that are, are kept until
    /// an image with this manifest is loaded. `GET /images/get?blobs=DIGEST,DIGEST` writes an archive of only those.
    pub struct MissingRequest {
        pub manifest: String,
        pub blobs: Vec<String>,
    }

    /// The reply to `POST /images/missing`.
    pub struct MissingReply {
        pub missing: Vec<String>,
    }
}
