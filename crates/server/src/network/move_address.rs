//! `POST /berth/networks/addresses/move`: gives an address to another container.

use api_types::network::AddressMoveRequest;
use engine::network::MoveRequest;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn move_address(mut call: Call) -> Result<Reply, ApiError> {
    let body: AddressMoveRequest = call.json().await?;
    let request = MoveRequest {
        address: body.address.parse().map_err(|_bad: std::net::AddrParseError| {
            ApiError::invalid(format!("invalid address \"{}\"", body.address.escape_default()))
        })?,
        network: body.network,
        container: body.container,
    };
    engine::network::move_address(call.engine(), request).await?;
    Ok(reply::empty(StatusCode::OK))
}
