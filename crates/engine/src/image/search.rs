//! Search: what a registry has of a name.

use std::collections::BTreeMap;
use std::sync::Arc;

use registry::client::Credentials;
pub use registry::client::SearchResult;

use super::ImageError;
use super::pull::remote;
use crate::Engine;
use crate::system::{check_names, switch, value_error};

/// What to look for.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    /// `[host[:port]/]word`.
    pub term: String,
    /// Most results, 1 to 100; `None` or 0: 25.
    pub limit: Option<i64>,
    /// docker's filters `is-automated is-official stars`.
    pub filters: BTreeMap<String, Vec<String>>,
    /// For the registry that the term names.
    pub credentials: Credentials,
}

const DEFAULT_LIMIT: u32 = 25;
const MOST: u32 = 100;

/// Asks a registry.
pub async fn search(engine: &Arc<Engine>, request: SearchRequest) -> Result<Vec<SearchResult>, ImageError> {
    let limit = match request.limit {
        None | Some(0) => DEFAULT_LIMIT,
        Some(limit) => match u32::try_from(limit) {
            Ok(limit @ 1..=MOST) => limit,
            _ => {
                return Err(ImageError::Invalid {
                    text: format!("limit {limit} is outside the range of [1, {MOST}]"),
                });
            }
        },
    };
    let filters = &request.filters;
    check_names(filters, &["is-automated", "is-official", "stars"])?;
    let (automated, official) = (switch(filters, "is-automated")?, switch(filters, "is-official")?);
    let mut stars = 0;
    for value in filters.get("stars").into_iter().flatten() {
        let least: u64 = value
            .parse()
            .map_err(|_reason: std::num::ParseIntError| value_error("stars", value))?;
        stars = stars.max(least);
    }
    if request.term.is_empty() {
        return Err(ImageError::Invalid {
            text: "no term was given".to_owned(),
        });
    }
    let client = engine.registries.client().map_err(remote)?;
    let mut found = client
        .search(&request.term, limit, request.credentials)
        .await
        .map_err(remote)?;
    found.retain(|result| {
        automated.is_none_or(|automated| automated == result.is_automated)
            && official.is_none_or(|official| official == result.is_official)
            && result.star_count >= stars
    });
    Ok(found)
}
