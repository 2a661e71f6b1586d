//! `GET /images/{name}/history`.

use api_types::image::HistoryItem;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::{list, signed};

pub(crate) async fn history(call: Call) -> Result<Reply, ApiError> {
    let entries = engine::image::history(call.engine(), call.name()).await?;
    let items = entries.into_iter().map(|entry| HistoryItem {
        id: entry.id,
        created: entry.created.unix_seconds(),
        created_by: entry.created_by,
        tags: list(&entry.tags),
        size: signed(entry.size),
        comment: entry.comment,
    });
    Ok(reply::ok(&items.collect::<Vec<_>>()))
}
