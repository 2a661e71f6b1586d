//! `POST /images/create`: import; pull has an issue of its own.

use api_types::stream::Progress;
use engine::image::ImportRequest;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;

pub(crate) async fn create(call: Call) -> Result<Reply, ApiError> {
    let query = &call.query;
    if let Some(image) = query.get("fromImage") {
        let tag = query.get("tag").map(|tag| format!(":{tag}")).unwrap_or_default();
        return Err(ApiError::unsupported(format!(
            "pulling an image (\"{image}{tag}\") from a registry"
        )));
    }
    let source = query.get("fromSrc").unwrap_or_default().to_owned();
    if source != "-" {
        return Err(ApiError::unsupported(format!("importing from \"{source}\"")));
    }
    let reference = query.get("repo").map(|name| match query.get("tag") {
        Some(tag) => format!("{name}:{tag}"),
        None => name.to_owned(),
    });
    let request = ImportRequest {
        reference,
        changes: query
            .all("changes")
            .filter(|change| !change.is_empty())
            .map(str::to_owned)
            .collect(),
        message: query.get("message").unwrap_or_default().to_owned(),
        platform: query.get("platform").map(str::to_owned),
        source,
    };
    let engine = call.engine().clone();
    let id = engine::image::import(&engine, request, call.into_reader()).await?;
    Ok(reply::ok(&Progress {
        status: id,
        ..Progress::default()
    }))
}
