//! Search: Docker's index, and the catalog of registries that have none.

use http::StatusCode;
use serde::Deserialize;

use super::auth::Authenticator;
use super::endpoint::{Endpoint, Want};
use super::error::error_of;
use super::list::{MAX_PAGE, next_query};
use super::origin::encode;
use super::{Client, Credentials, RegistryError, host};

/// Names of a catalog that are asked for at once: docker's registry allows no more.
const PAGE: u32 = 1_000;
/// Most pages of a catalog that are looked through.
const MAX_PAGES: u32 = 100;

/// One repository that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchResult {
    /// Its name as it is pulled.
    pub name: String,
    /// What it says of itself, in one line.
    pub description: String,
    /// How many people like it.
    pub star_count: u64,
    /// Whether it is an official image.
    pub is_official: bool,
    /// Whether it is built automatically.
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Results {
    #[serde(default)]
    results: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    star_count: Option<u64>,
    #[serde(default)]
    is_official: Option<bool>,
    #[serde(default)]
    is_automated: Option<bool>,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

impl Client {
    /// Looks for `term`, which may begin with a registry's host (`host:port/word`), Docker's index otherwise; returns
    /// at most `limit` (1 to 100) results.
    pub async fn search(
        &self,
        term: &str,
        limit: u32,
        credentials: Credentials,
    ) -> Result<Vec<SearchResult>, RegistryError> {
        let (registry, word) = split(term);
        let limit = limit.clamp(1, 100);
        let auth = Authenticator::new(credentials, vec!["registry:catalog:*".to_owned()]);
        // Docker's index is another server than its registry.
        let endpoint = match registry {
            None => Endpoint::new(
                &self.shared,
                host::DOCKER_INDEX.to_owned(),
                self.safety(host::DOCKER_INDEX),
                auth,
            ),
            Some(registry) => self.endpoint(registry, auth),
        };
        let path = format!("/v1/search?q={}&n={limit}", encode(word));
        let mut answer = endpoint.request(Want::get(&path)).await?;
        let most = usize::try_from(limit).unwrap_or(100);
        match (answer.status, registry) {
            (StatusCode::OK, _) => {
                let bytes = answer.bytes(MAX_PAGE, "search result").await?;
                let results: Results = serde_json::from_slice(&bytes).map_err(|error| {
                    answer
                        .failed()
                        .protocol(format!("the search result is not understood: {error}"))
                })?;
                let entries = results.results.unwrap_or_default().into_iter();
                Ok(entries.filter_map(result_of).take(most).collect())
            }
            (
                StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST,
                Some(registry),
            ) => {
                answer.discard().await;
                search_catalog(&endpoint, registry, word, most).await
            }
            _ => Err(error_of(answer).await),
        }
    }
}

/// Splits a registry's host off, by the rule of image names.
fn split(term: &str) -> (Option<&str>, &str) {
    let term = term
        .strip_prefix("https://")
        .or_else(|| term.strip_prefix("http://"))
        .unwrap_or(term);
    match term.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            match host::domain_of(first) {
                host::DOCKER => (None, rest),
                domain => (Some(domain), rest),
            }
        }
        // As docker does: what is official is known without its prefix.
        Some(("library", rest)) => (None, rest),
        _ => (None, term),
    }
}

fn result_of(entry: Entry) -> Option<SearchResult> {
    let line = |text: String| -> String {
        let shown = |character: char| if character.is_control() { ' ' } else { character };
        text.chars().take(1024).map(shown).collect()
    };
    Some(SearchResult {
        name: line(entry.name?),
        description: entry.description.map(line).unwrap_or_default(),
        star_count: entry.star_count.unwrap_or(0),
        is_official: entry.is_official.unwrap_or(false),
        is_automated: entry.is_automated.unwrap_or(false),
    })
}

/// Looks through the names that a registry has (OCI distribution knows no search).
async fn search_catalog(
    endpoint: &Endpoint,
    registry: &str,
    word: &str,
    most: usize,
) -> Result<Vec<SearchResult>, RegistryError> {
    let word = word.to_lowercase();
    let fits =
        |name: &String| name.contains(&word) && oci::Reference::parse(&format!("{registry}/{name}")).is_ok();
    let mut found = Vec::new();
    let mut query = format!("n={PAGE}");
    for _ in 0..MAX_PAGES {
        let path = format!("/v2/_catalog?{query}");
        let mut answer = endpoint.expect(Want::get(&path), &[StatusCode::OK]).await?;
        let bytes = answer.bytes(MAX_PAGE, "catalog").await?;
        let catalog: Catalog = serde_json::from_slice(&bytes).map_err(|error| {
            answer
                .failed()
                .protocol(format!("the catalog is not understood: {error}"))
        })?;
        let names = catalog.repositories.unwrap_or_default().into_iter();
        found.extend(
            names
                .filter(fits)
                .take(most - found.len())
                .map(|name| SearchResult {
                    name: format!("{registry}/{name}"),
                    description: String::new(),
                    star_count: 0,
                    is_official: false,
                    is_automated: false,
                }),
        );
        match next_query(&answer)? {
            Some(next) if found.len() < most && next != query => query = next,
            _ => break,
        }
    }
    Ok(found)
}
