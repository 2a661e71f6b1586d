//! `POST /networks/{id}/connect`.

use api_types::network::NetworkConnectRequest;
use engine::network::ConnectRequest;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate;
use crate::version::ApiVersion;

pub(crate) async fn connect(mut call: Call) -> Result<Reply, ApiError> {
    let body: NetworkConnectRequest = call.json().await?;
    if body.container.is_empty() {
        return Err(ApiError::invalid("invalid name or ID supplied: \"\""));
    }
    let mut settings = body.endpoint_config.unwrap_or_default();
    if call.version < ApiVersion::v1(44) {
        // It meant nothing then.
        settings.mac_address.clear();
    }
    let request = ConnectRequest {
        network: call.name().to_owned(),
        container: body.container,
        endpoint: translate::network::endpoint_from(settings)?,
    };
    engine::network::connect(call.engine(), request).await?;
    Ok(reply::empty(StatusCode::OK))
}
