//! `POST /volumes/prune`.

use api_types::volume::VolumesPruneReply;
use engine::volume::VolumePruneRequest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::list;
use crate::version::ApiVersion;

pub(crate) async fn prune(call: Call) -> Result<Reply, ApiError> {
    let mut filters = call.query.filters()?;
    if call.version < ApiVersion::v1(42) {
        // Volumes with a name went too before.
        filters
            .entry("all".to_owned())
            .or_insert_with(|| vec!["true".to_owned()]);
    }
    let pruned = engine::volume::prune(call.engine(), VolumePruneRequest { filters }).await?;
    Ok(reply::ok(&VolumesPruneReply {
        volumes_deleted: list(&pruned.removed),
        space_reclaimed: pruned.reclaimed,
    }))
}
