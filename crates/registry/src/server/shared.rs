//! What all requests share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::auth::Guard;
use super::cache::Cache;
use super::config::{Deletion, Log, Mode};
use super::fault::Fault;
use super::store::Store;
use super::upload::Uploads;

/// How many bodies are received at once; more are asked to come again.
const RECEIVING_LIMIT: usize = 256;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) uploads: Uploads,
    pub(crate) guard: Guard,
    pub(crate) mode: Mode,
    pub(crate) deletion: Deletion,
    pub(crate) cache: Option<Cache>,
    pub(crate) log: Log,
    pub(crate) receiving: Semaphore,
}

impl Shared {
    /// Returns how many bodies may be received at once.
    pub(crate) fn receiving() -> Semaphore {
        Semaphore::new(RECEIVING_LIMIT)
    }

    /// Does something that waits for the disk on a thread of its own.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let shared = Arc::clone(self);
        blocking(move || work(&shared)).await
    }
}

/// Does something that waits for the disk on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Fault::internal_text(format!("a request failed: {error}"))),
    }
}
