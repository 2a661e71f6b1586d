//! `POST /images/prune`.

use api_types::image::ImagesPruneReply;
use engine::image::ImagePruneRequest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn prune(call: Call) -> Result<Reply, ApiError> {
    let request = ImagePruneRequest {
        filters: call.query.filters()?,
    };
    let pruned = engine::image::prune(call.engine(), request).await?;
    let removed = super::remove::to_api(pruned.removed);
    Ok(reply::ok(&ImagesPruneReply {
        images_deleted: Some(removed).filter(|removed| !removed.is_empty()),
        space_reclaimed: pruned.reclaimed,
    }))
}
