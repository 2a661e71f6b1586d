//! Login: whether a registry accepts credentials.

use base::secret::Secret;
use http::StatusCode;

use super::auth::Authenticator;
use super::endpoint::Want;
use super::{Client, Credentials, RegistryError, host};

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
    ///
    /// A registry that asks for nothing accepts everything, as with docker.
    pub async fn login(&self, server: &str, credentials: Credentials) -> Result<Login, RegistryError> {
        let endpoint = self.endpoint(host::domain_of(server), Authenticator::for_login(credentials));
        let answer = endpoint.expect(Want::get("/v2/"), &[StatusCode::OK]).await?;
        answer.discard().await;
        Ok(Login {
            status: "Login Succeeded",
            identity_token: endpoint.auth.refresh_token().await,
        })
    }
}
