//! Progress messages of load, import and pull: one JSON document per line.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use serde_json::Value;

wire! {
    "camelCase";

    /// One progress message. `stream` is text to print as it is; `status` (with `id` and `progress_detail`) is a line.
    pub struct Progress {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub stream: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub status: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub progress_detail: Option<ProgressDetail>,
        /// The progress as a text, for old clients.
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub progress: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub id: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub error_detail: Option<ErrorDetail>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub error: String,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub aux: Option<Value>,
    }

    pub struct ProgressDetail {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub current: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub total: i64,
    }

    /// Why the operation failed; the stream ends after it.
    pub struct ErrorDetail {
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub code: i64,
        pub message: String,
    }
}
