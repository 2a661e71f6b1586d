//! `GET /networks`.

use api_types::network::Network;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate;
use crate::version::ApiVersion;

pub(crate) async fn list(call: Call) -> Result<Reply, ApiError> {
    let networks = engine::network::list(call.engine(), &call.query.filters()?)?;
    // Lists were long once.
    let with_containers = call.version < ApiVersion::v1(28);
    let networks: Vec<Network> = networks
        .iter()
        .map(|details| translate::network::network(details, with_containers))
        .collect();
    Ok(reply::ok(&networks))
}
