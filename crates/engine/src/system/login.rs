//! Login: whether a registry accepts credentials. Nothing of them is kept here.

use std::sync::Arc;

pub use registry::client::Login;
use registry::client::{Credentials, RegistryError};

use crate::Engine;

/// Shows `credentials` to the registry `server` (`host[:port]` or a URL; empty: Docker Hub).
pub async fn login(
    engine: &Arc<Engine>,
    server: &str,
    credentials: Credentials,
) -> Result<Login, RegistryError> {
    let server = if server.is_empty() { "docker.io" } else { server };
    engine.registries.client()?.login(server, credentials).await
}
