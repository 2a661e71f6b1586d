//! `POST /networks/{id}/disconnect`.

use api_types::network::NetworkDisconnectRequest;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn disconnect(mut call: Call) -> Result<Reply, ApiError> {
    let body: NetworkDisconnectRequest = call.json().await?;
    if body.container.is_empty() {
        return Err(ApiError::invalid("invalid name or ID supplied: \"\""));
    }
    engine::network::disconnect(call.engine(), call.name(), &body.container, body.force).await?;
    Ok(reply::empty(StatusCode::OK))
}
