//! `GET /containers/json`.

use engine::container::ListRequest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::summary;

pub(crate) async fn list(call: Call) -> Result<Reply, ApiError> {
    let limit: Option<i64> = call.query.number("limit")?;
    let request = ListRequest {
        all: call.query.flag("all"),
        // Docker takes 0 and -1 for no limit.
        limit: limit
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0),
        size: call.query.flag("size"),
        filters: call.query.filters()?,
    };
    let summaries = engine::container::list(call.engine(), request).await?;
    let rows: Vec<_> = summaries
        .iter()
        .map(|row| summary::container(call.engine(), row, call.version))
        .collect();
    Ok(reply::ok(&rows))
}
