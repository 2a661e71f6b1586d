//! Search: Docker's index, and the catalog of registries that have none.

use super::{Client, Credentials, RegistryError};

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

impl Client {
    /// Looks for `term`, which may begin with a registry's host (`host:port/word`), Docker's index otherwise; returns
    /// at most `limit` (1 to 100) results.
    pub async fn search(
        &self,
        term: &str,
        limit: u32,
        credentials: Credentials,
    ) -> Result<Vec<SearchResult>, RegistryError> {
        todo!("{term} {limit} {credentials:?}")
    }
}
