//! Registries: credentials, search results, and what a registry says of an image.
#![expect(missing_docs, reason = "Docker's API reference documents its own fields")]

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Credentials for one registry: the body of `POST /auth`, and the JSON in the headers `X-Registry-Auth` (one of these)
/// and `X-Registry-Config` (a map from registry to these), each as padded URL-safe base64. Never printed.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthConfig {
    #[serde(
        default,
        deserialize_with = "crate::lenient::value",
        skip_serializing_if = "String::is_empty"
    )]
    pub username: String,
    #[serde(
        default,
        deserialize_with = "crate::lenient::value",
        skip_serializing_if = "String::is_empty"
    )]
    pub password: String,
    /// base64 of `username:password`; old clients send it instead.
    #[serde(
        default,
        deserialize_with = "crate::lenient::value",
        skip_serializing_if = "String::is_empty"
    )]
    pub auth: String,
    /// The registry that these are for.
    #[serde(
        default,
        deserialize_with = "crate::lenient::value",
        skip_serializing_if = "String::is_empty"
    )]
    pub serveraddress: String,
    /// An OAuth2 refresh token instead of a password.
    #[serde(
        default,
        deserialize_with = "crate::lenient::value",
        skip_serializing_if = "String::is_empty"
    )]
    pub identitytoken: String,
    /// A bearer token that is sent as it is.
    #[serde(
        default,
        deserialize_with = "crate::lenient::value",
        skip_serializing_if = "String::is_empty"
    )]
    pub registrytoken: String,
}

impl fmt::Debug for AuthConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AuthConfig")
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}

/// The header with the credentials for one registry.
pub const AUTH_HEADER: &str = "X-Registry-Auth";
/// The header with the credentials for several registries.
pub const CONFIG_HEADER: &str = "X-Registry-Config";

/// The reply to `POST /auth`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AuthReply {
    #[serde(default)]
    pub status: String,
    /// What to keep instead of the password, if the registry gave it.
    #[serde(default)]
    pub identity_token: String,
}

impl fmt::Debug for AuthReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AuthReply")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

wire! {
    "snake_case";

    /// One result of `GET /images/search`.
    pub struct SearchResult {
        pub star_count: i64,
        pub is_official: bool,
        pub name: String,
        pub is_automated: bool,
        pub description: String,
    }
}

wire! {
    /// The reply to `GET /distribution/{name}/json`.
    pub struct DistributionInspect {
        pub descriptor: DistributionDescriptor,
        pub platforms: Option<Vec<DistributionPlatform>>,
    }
}

wire! {
    "camelCase";

    pub struct DistributionDescriptor {
        pub media_type: String,
        pub digest: String,
        pub size: i64,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub urls: Vec<String>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub annotations: BTreeMap<String, String>,
    }

    pub struct DistributionPlatform {
        pub architecture: String,
        pub os: String,
        #[serde(rename = "os.version", skip_serializing_if = "crate::lenient::is_empty")]
        pub os_version: String,
        #[serde(rename = "os.features", skip_serializing_if = "crate::lenient::is_empty")]
        pub os_features: Vec<String>,
        #[serde(skip_serializing_if = "crate::lenient::is_empty")]
        pub variant: String,
    }

    /// What a push says at its end (`aux` of its last message).
    pub struct PushResult {
        #[serde(rename = "Tag")]
        pub tag: String,
        #[serde(rename = "Digest")]
        pub digest: String,
        #[serde(rename = "Size")]
        pub size: i64,
    }
}
