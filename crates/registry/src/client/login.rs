//! Login: whether a registry accepts credentials.

use base::secret::Secret;

use super::{Client, Credentials, RegistryError};

/// An accepted login.
#[derive(Clone, Debug)]
pub struct Login {
    /// Docker's words: `Login Succeeded`.
    pub status: &'static str,
    /// A refresh token to keep instead of the password, if the registry gives one.
    pub identity_token: Option<Secret>,
}

impl Client {
    /// Shows `credentials` to the registry `server` (`docker.io`, `https://index.docker.io/v1/`, `host:port`, or a URL).
    pub async fn login(&self, server: &str, credentials: Credentials) -> Result<Login, RegistryError> {
        todo!("{server} {credentials:?}")
    }
}
