//! `POST /commit`.

use api_types::config::ContainerConfig;
use api_types::container::IdReply;
use engine::container::CommitRequest;
use http::StatusCode;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate;

pub(crate) async fn commit(mut call: Call) -> Result<Reply, ApiError> {
    let config: Option<Option<ContainerConfig>> = call.json_or_nothing().await?;
    let config = config.flatten().map(translate::config::from_api).transpose()?;
    let query = &call.query;
    let reference = query.get("repo").map(|name| match query.get("tag") {
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    });
    let request = CommitRequest {
        reference,
        author: query.get("author").unwrap_or_default().to_owned(),
        comment: query.get("comment").unwrap_or_default().to_owned(),
        changes: query
            .all("changes")
            .filter(|change| !change.is_empty())
            .map(str::to_owned)
            .collect(),
        pause: query.flag_or("pause", true),
        config,
    };
    let name = query.get("container").unwrap_or_default().to_owned();
    let id = engine::container::commit(call.engine(), &name, request).await?;
    Ok(reply::json(StatusCode::CREATED, &IdReply { id }))
}
