//! `pull`: an image comes from a registry, every byte once.
//!
//! ```text
//!                 ┌─▶ the blob's beginning on the disk, hashed ─▶ the blob, synced ─┐
//! registry ─▶ bytes                                                                 ├─▶ the layer is shown
//!                 └─▶ decompress ─▶ hash ─▶ unpack in a staging directory ──────────┘
//! ```
//!
//! Nothing is read back from the disk but the beginning of a blob that was cut off before. A layer is shown when its
//! blob has its digest, its tar has its diff id and the layer below is shown; the image when all its layers are.
//!
//! A layer that several pulls want is one [`layer::Job`]: it goes on as long as one of them wants it.

mod error;
mod feed;
mod fetch;
mod layer;
mod parts;
mod progress;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base::error::Kinded;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use oci::{ChainId, Digest, Reference};
use registry::client::Repository;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::sink::LayerSink;
use crate::store::{Image, Store};
use content::Lease;

pub use error::PullError;
use layer::{Job, Plan};
use parts::Split;
use progress::Reporter;
pub use progress::{LayerState, PullEvent};
pub use resolve::Resolved;

/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// Pulls images into one store. Cheap to share; one for each store, so that concurrent pulls share what they can.
#[derive(Debug)]
pub struct Puller {
    store: Arc<Store>,
    sink: Arc<dyn LayerSink>,
    jobs: Mutex<HashMap<ChainId, Weak<Job>>>,
    /// One fetch of a blob at a time, also where it belongs to two layers.
    blobs: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    permits: Arc<Semaphore>,
    split: Split,
}

/// What a pull brought.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub image: Arc<Image>,
    /// Whether anything changed: a layer came, or the name meant something else before.
    pub is_new: bool,
}

impl Puller {
    /// Returns a puller that fetches up to `concurrent` layers at a time.
    pub fn new(store: Arc<Store>, sink: Arc<dyn LayerSink>, concurrent: usize) -> Self {
        Self {
            store,
            sink,
            jobs: Mutex::default(),
            blobs: Mutex::default(),
            split: Split::STANDARD,
            permits: Arc::new(Semaphore::new(concurrent.clamp(1, 64))),
        }
    }

    /// Fetches what [`Self::resolve`](Puller::resolve) found and is not here, and makes it an image with `name`, which
    /// has a tag or a digest. What happens is told through `report`; dropping its receiver, or this future, ends the
    /// pull, and what has come stays for the next one.
    pub async fn fetch(
        self: &Arc<Self>,
        repository: &Repository,
        resolved: &Resolved,
        name: &Reference,
        report: &mpsc::Sender<PullEvent>,
    ) -> Result<Pulled, PullError> {
        let lease = self.lease(resolved)?;
        let chain: Vec<ChainId> = resolved
            .layers
            .iter()
            .map(|layer| layer.chain_id.clone())
            .collect();
        let pin = self.sink.pin(&chain);
        let fetched = self.fetch_leased(repository, resolved, name, report).await;
        drop(pin);
        match &fetched {
            Ok(_) => lease.end()?,
            // Nothing of it can be used another time.
            Err(error) if error.kind() == base::error::Kind::Invalid => lease.end()?,
            // The next try goes on from here.
            Err(_) => drop(lease),
        }
        fetched
    }

    fn lease(&self, resolved: &Resolved) -> Result<Lease, PullError> {
        let blobs = resolved.layers.iter().map(|layer| layer.blob.digest.clone());
        let config = resolved.manifest.config.digest.clone();
        Ok(self
            .store
            .content
            .lease(&resolved.descriptor.digest, blobs.chain([config]))?)
    }

    async fn fetch_leased(
        self: &Arc<Self>,
        repository: &Repository,
        resolved: &Resolved,
        name: &Reference,
        report: &mpsc::Sender<PullEvent>,
    ) -> Result<Pulled, PullError> {
        let mut reporter = Reporter::new(report);
        let mut jobs: Vec<Option<Arc<Job>>> = Vec::with_capacity(resolved.layers.len());
        let mut sizes: BTreeMap<usize, u64> = BTreeMap::new();
        for (at, layer) in resolved.layers.iter().enumerate() {
            let present = self.sink.present(&layer.chain_id)?;
            let state = if let Some(size) = present.filter(|_| self.has_blob(layer)) {
                sizes.insert(at, size);
                LayerState::Present
            } else {
                LayerState::Listed
            };
            reporter.tell(&layer.blob.digest, state).await?;
        }
        let mut new = Vec::new();
        for (at, layer) in resolved.layers.iter().enumerate() {
            if sizes.contains_key(&at) {
                jobs.push(None);
                continue;
            }
            let below = at.checked_sub(1).and_then(|below| jobs.get(below)?.clone());
            let job = self.job(layer, below.as_deref(), &mut new);
            jobs.push(Some(job));
        }
        tokio::spawn(layer::begin(Arc::clone(self), repository.clone(), new));
        let mut wanted: FuturesUnordered<_> = jobs
            .iter()
            .enumerate()
            .filter_map(|(at, job)| {
                let job = Arc::clone(job.as_ref()?);
                Some(async move { (at, job.finished().await) })
            })
            .collect();
        let is_new = !wanted.is_empty();
        let mut ticks = tokio::time::interval(TICK);
        while !wanted.is_empty() {
            tokio::select! {
                biased;
                () = report.closed() => return Err(PullError::Cancelled),
                Some((at, finished)) = wanted.next() => {
                    let digest = &resolved.layers[at].blob.digest;
                    sizes.insert(at, finished?);
                    reporter.tell(digest, LayerState::Complete).await?;
                }
                _ = ticks.tick() => {
                    for (layer, job) in resolved.layers.iter().zip(&jobs) {
                        if let Some(job) = job {
                            reporter.tell(&layer.blob.digest, job.state()).await?;
                        }
                    }
                }
            }
        }
        self.adopt(resolved, name, sizes.into_values().collect(), is_new)
            .await
    }

    /// Stores the documents and makes them an image.
    async fn adopt(
        &self,
        resolved: &Resolved,
        name: &Reference,
        sizes: Vec<u64>,
        has_new_layers: bool,
    ) -> Result<Pulled, PullError> {
        let store = Arc::clone(&self.store);
        let (resolved, name) = (resolved.clone(), name.clone());
        let adopting = tokio::task::spawn_blocking(move || -> Result<Pulled, PullError> {
            let before = store.resolve(&name.to_string()).ok();
            store
                .content
                .store_exact(&resolved.config_bytes, &resolved.manifest.config.digest)?;
            store
                .content
                .store_exact(&resolved.manifest_bytes, &resolved.descriptor.digest)?;
            let digest = name.with_digest(&resolved.digest);
            let mut names = vec![digest.clone()];
            if name.digest().is_none() {
                names.push(name);
            }
            let image = store.adopt(&resolved.descriptor, &sizes, &names)?;
            let is_new = has_new_layers
                || before.is_none_or(|before| before.id != image.id || !before.digests.contains(&digest));
            Ok(Pulled { image, is_new })
        });
        adopting.await.map_err(PullError::task)?
    }

    /// Waits until one layer more may come.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, PullError> {
        let permits = Arc::clone(&self.permits);
        permits
            .acquire_owned()
            .await
            .map_err(|_closed| PullError::Cancelled)
    }

    fn has_blob(&self, layer: &Plan) -> bool {
        // A file of another size is damaged and fetched again.
        self.store
            .content
            .blob_size(&layer.blob.digest)
            .is_ok_and(|size| size == layer.blob.size)
    }

    /// Returns the job of a layer: one that is under way, or a new one, whose work is added to `new`.
    fn job(&self, layer: &Plan, below: Option<&Job>, new: &mut Vec<layer::Work>) -> Arc<Job> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, job| job.strong_count() > 0);
        if let Some(job) = jobs.get(&layer.chain_id).and_then(Weak::upgrade)
            && !job.has_failed()
        {
            return job;
        }
        let (job, work) = Job::new(layer.clone(), below);
        new.push(work);
        jobs.insert(layer.chain_id.clone(), Arc::downgrade(&job));
        job
    }

    /// Returns the lock of a blob.
    fn blob_lock(&self, digest: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = blobs.get(digest).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        blobs.insert(digest.clone(), Arc::downgrade(&lock));
        lock
    }
}
