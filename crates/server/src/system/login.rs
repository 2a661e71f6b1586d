//! `POST /auth`: whether a registry accepts credentials.

use api_types::registry::{AuthConfig, AuthReply};
use base::error::{Kind, Kinded, chain};
use http::StatusCode;

use crate::call::Call;
use crate::registry_auth;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn login(mut call: Call) -> Result<Reply, ApiError> {
    let auth: AuthConfig = call.json().await?;
    let server = auth.serveraddress.clone();
    let shown = registry_auth::from_config(auth).map_err(|problem| ApiError::invalid(problem.to_string()))?;
    match engine::system::login(call.engine(), &server, shown).await {
        Ok(login) => Ok(reply::ok(&AuthReply {
            status: login.status.to_owned(),
            identity_token: login
                .identity_token
                .map(|token| token.expose().to_owned())
                .unwrap_or_default(),
        })),
        // Clients ask for other credentials on 401 only.
        Err(error) if error.kind() == Kind::Denied => Err(ApiError::with_status(
            StatusCode::UNAUTHORIZED,
            chain(&error).to_string(),
        )),
        Err(error) => Err(error.into()),
    }
}
