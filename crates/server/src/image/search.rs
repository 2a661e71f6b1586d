//! `GET /images/search`.

use api_types::registry::SearchResult;
use engine::image::SearchRequest;

use crate::call::Call;
use crate::registry_auth;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::signed;

pub(crate) async fn search(call: Call) -> Result<Reply, ApiError> {
    let term = call.query.get("term").unwrap_or_default().to_owned();
    // The registry's host before the first slash, as in an image's name.
    let domain = term.split_once('/').map(|(host, _)| host);
    let domain = domain.filter(|host| host.contains(['.', ':']) || *host == "localhost");
    let request = SearchRequest {
        limit: call.query.number("limit")?,
        filters: call.query.filters()?,
        credentials: registry_auth::credentials(&call.headers, domain.unwrap_or("docker.io"))
            .map_err(|problem| ApiError::invalid(problem.to_string()))?,
        term,
    };
    let found = engine::image::search(call.engine(), request).await?;
    let results: Vec<SearchResult> = found
        .into_iter()
        .map(|result| SearchResult {
            star_count: signed(result.star_count),
            is_official: result.is_official,
            name: result.name,
            is_automated: result.is_automated,
            description: result.description,
        })
        .collect();
    Ok(reply::ok(&results))
}
