//! Calls that concern registries, and the credentials that go with some of them.

use std::fmt;

use api_types::registry::{AUTH_HEADER, AuthConfig, AuthReply, DistributionInspect, SearchResult};
use http::{HeaderName, HeaderValue, Method};

use crate::transport::decode;
use crate::{Client, ClientError, Filters, Query};

/// Credentials for one registry as the header `X-Registry-Auth`. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryAuth(String);

impl RegistryAuth {
    /// Returns the header for these credentials; `serveraddress` should say whose they are.
    pub fn new(auth: &AuthConfig) -> Self {
        // A struct of strings always encodes.
        let text = serde_json::to_vec(auth).unwrap_or_default();
        Self(base::base64::encode_url_safe(&text))
    }

    /// Returns the header's name and value.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let name = HeaderName::from_bytes(AUTH_HEADER.as_bytes()).ok()?;
        let mut value = HeaderValue::from_str(&self.0).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    }
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RegistryAuth")
    }
}

impl Client {
    /// Lets the daemon try credentials against their registry.
    pub async fn login(&self, auth: &AuthConfig) -> Result<AuthReply, ClientError> {
        let query = Query::new(&["auth"]);
        let body = self.call_with(Method::POST, &query, auth).await?;
        decode(&body, query.as_str())
    }

    /// Searches a registry.
    pub async fn search_images(
        &self,
        term: &str,
        limit: Option<i64>,
        filters: &Filters,
        auth: &RegistryAuth,
    ) -> Result<Vec<SearchResult>, ClientError> {
        let query = Query::new(&["images", "search"])
            .with("term", term)
            .with_number("limit", limit)
            .with_filters(filters);
        let body = self.call_with_auth(Method::GET, &query, auth).await?;
        decode(&body, query.as_str())
    }

    /// Asks the registry of an image what it has under that name.
    pub async fn distribution(
        &self,
        image: &str,
        auth: &RegistryAuth,
    ) -> Result<DistributionInspect, ClientError> {
        let query = Query::new(&["distribution", image, "json"]);
        let body = self.call_with_auth(Method::GET, &query, auth).await?;
        decode(&body, query.as_str())
    }
}
