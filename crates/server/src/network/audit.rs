//! `GET /berth/networks/audit`: what the outside can reach.

use api_types::network::{Exposure, NetworkAudit};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn audit(call: Call) -> Result<Reply, ApiError> {
    let found = engine::network::audit(call.engine()).await?;
    let exposures = found.into_iter().map(|one| Exposure {
        address: one.address.to_string(),
        port: if one.first == one.last {
            one.first.to_string()
        } else {
            format!("{}-{}", one.first, one.last)
        },
        protocol: one.protocol.to_owned(),
        container: one.container,
        because: one.because,
        blocked_by: one.blocked_by.unwrap_or_default(),
    });
    Ok(reply::ok(&NetworkAudit {
        exposures: exposures.collect(),
    }))
}
