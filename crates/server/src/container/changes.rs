//! `GET /containers/{id}/changes`.

use api_types::container::Change;
use engine::container::ChangeKind;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn changes(call: Call) -> Result<Reply, ApiError> {
    let changes = engine::container::changes(call.engine(), call.name()).await?;
    let changes: Vec<Change> = changes
        .into_iter()
        .map(|change| Change {
            path: change.path.to_string_lossy().into_owned(),
            kind: match change.kind {
                ChangeKind::Modified => 0,
                ChangeKind::Added => 1,
                ChangeKind::Deleted => 2,
            },
        })
        .collect();
    // As in docker, no change is `null`.
    Ok(reply::ok(&Some(changes).filter(|changes| !changes.is_empty())))
}
