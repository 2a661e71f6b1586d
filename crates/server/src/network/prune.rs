//! `POST /networks/prune`.

use api_types::network::NetworksPruneReply;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::list;

pub(crate) async fn prune(call: Call) -> Result<Reply, ApiError> {
    let removed = engine::network::prune(call.engine(), &call.query.filters()?).await?;
    Ok(reply::ok(&NetworksPruneReply {
        networks_deleted: list(&removed),
    }))
}
