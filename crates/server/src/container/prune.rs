//! `POST /containers/prune`.

use api_types::container::ContainersPruneReply;
use engine::container::PruneRequest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::list;

pub(crate) async fn prune(call: Call) -> Result<Reply, ApiError> {
    let request = PruneRequest {
        filters: call.query.filters()?,
    };
    let pruned = engine::container::prune(call.engine(), request).await?;
    let ids: Vec<String> = pruned.removed.iter().map(ToString::to_string).collect();
    Ok(reply::ok(&ContainersPruneReply {
        containers_deleted: list(&ids),
        space_reclaimed: pruned.reclaimed,
    }))
}
