//! Events: one JSON document per line.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;

wire! {
    /// One event.
    pub struct Event {
        /// The action again, for old clients; only of containers and images.
        #[serde(rename = "status", skip_serializing_if = "crate::lenient::is_empty")]
        pub status: String,
        /// The object's id again, for old clients.
        #[serde(rename = "id", skip_serializing_if = "crate::lenient::is_empty")]
        pub id: String,
        /// The container's image, for old clients.
        #[serde(rename = "from", skip_serializing_if = "crate::lenient::is_empty")]
        pub from: String,
        /// `container`, `image`, `volume`, `network`, `daemon`, …
        #[serde(rename = "Type")]
        pub kind: String,
        pub action: String,
        pub actor: Actor,
        #[serde(rename = "scope")]
        pub scope: String,
        /// Seconds since the Unix epoch.
        #[serde(rename = "time")]
        pub time: i64,
        #[serde(rename = "timeNano")]
        pub time_nano: i64,
    }

    /// What the event happened to.
    pub struct Actor {
        #[serde(rename = "ID")]
        pub id: String,
        pub attributes: BTreeMap<String, String>,
    }
}
