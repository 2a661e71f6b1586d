//! Exec sessions.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use crate::config::Words;

wire! {
    /// The body of `POST /containers/{id}/exec`; the reply is an [`crate::container::IdReply`].
    pub struct ExecCreateRequest {
        pub user: String,
        pub privileged: bool,
        pub tty: bool,
        /// Rows, columns.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub console_size: Option<[u16; 2]>,
        pub attach_stdin: bool,
        pub attach_stderr: bool,
        pub attach_stdout: bool,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub detach: bool,
        pub detach_keys: String,
        pub env: Option<Vec<String>>,
        pub working_dir: String,
        pub cmd: Option<Words>,
    }

    /// The body of `POST /exec/{id}/start`.
    pub struct ExecStartRequest {
        pub detach: bool,
        pub tty: bool,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub console_size: Option<[u16; 2]>,
    }

    /// The reply to `GET /exec/{id}/json`.
    pub struct ExecInspect {
        #[serde(rename = "ID")]
        pub id: String,
        pub running: bool,
        /// `null` while it runs or was never started.
        pub exit_code: Option<i64>,
        pub process_config: ProcessConfig,
        pub open_stdin: bool,
        pub open_stderr: bool,
        pub open_stdout: bool,
        pub can_remove: bool,
        #[serde(rename = "ContainerID")]
        pub container_id: String,
        pub detach_keys: String,
        pub pid: i64,
    }
}

wire! {
    "camelCase";

    /// What an exec runs.
    pub struct ProcessConfig {
        pub tty: bool,
        pub entrypoint: String,
        pub arguments: Option<Vec<String>>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub privileged: Option<bool>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub user: String,
    }
}
