//! The part of a container's configuration that does not depend on the host: what an image may carry too.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

wire! {
    /// `ContainerConfig`: what runs, as whom, with which environment. Also the `Config` of images.
    pub struct ContainerConfig {
        pub hostname: String,
        pub domainname: String,
        pub user: String,
        pub attach_stdin: bool,
        pub attach_stdout: bool,
        pub attach_stderr: bool,
        /// `"80/tcp": {}`.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub exposed_ports: BTreeMap<String, Map<String, Value>>,
        pub tty: bool,
        pub open_stdin: bool,
        pub stdin_once: bool,
        pub env: Option<Vec<String>>,
        /// `None`: the image's.
        pub cmd: Option<Words>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub healthcheck: Option<Healthcheck>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub args_escaped: bool,
        pub image: String,
        /// `"/data": {}`: paths that get an anonymous volume.
        pub volumes: Option<BTreeMap<String, Map<String, Value>>>,
        pub working_dir: String,
        /// `None`: the image's; `[""]` or `[]` in a request: none.
        pub entrypoint: Option<Words>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub network_disabled: bool,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub mac_address: String,
        pub on_build: Option<Vec<String>>,
        pub labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub stop_signal: String,
        /// Seconds; -1 waits for ever.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub stop_timeout: Option<i64>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub shell: Option<Words>,
    }

    /// `HealthConfig`; times in nanoseconds.
    pub struct Healthcheck {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub test: Option<Words>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub interval: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub timeout: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub start_period: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub start_interval: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub retries: i64,
    }
}

/// A list of strings that old clients may send as one string (Docker's `StrSlice`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Words(pub Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Many(Vec<String>),
            One(String),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Many(many) => Self(many),
            Form::One(one) => Self(vec![one]),
        })
    }
}

impl From<Vec<String>> for Words {
    fn from(words: Vec<String>) -> Self {
        Self(words)
    }
}

impl Deref for Words {
    type Target = Vec<String>;

    fn deref(&self) -> &Vec<String> {
        &self.0
    }
}
