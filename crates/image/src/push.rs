//! `push`: an image goes to a registry, every byte that is missing there once.
//!
//! Each blob is asked for (`HEAD`), else mounted from a repository of the same registry that is known to have it, else
//! uploaded as it is kept, several at a time. The manifest goes last and exactly as it is kept, so whoever finds it
//! finds all of its blobs. Layers that are here only as plain tars are compressed first (see `compress`).

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::error::{Kind, Kinded};
use bytes::Bytes;
use content::{BlobError, Ingest};
use futures_util::StreamExt;
use oci::image::{Descriptor, Manifest};
use oci::{Digest, Reference};
use registry::client::{BlobSource, ByteStream, Mount, RegistryError, Repository, Target};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::io::ReaderStream;

use crate::compress::{self, CompressError, Compressed};
use crate::document::MAX_MANIFEST;
use crate::store::{Image, Store};

/// How many blobs are uploaded at a time, as docker does.
const AT_ONCE: usize = 5;
/// From how many repositories a blob is tried to be mounted.
const MOUNT_TRIES: usize = 3;
/// How often the progress of a layer is told.
const TICK: Duration = Duration::from_millis(100);
/// Bytes read from a blob at once.
const CHUNK: usize = 256 << 10;

/// What is told of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushEvent {
    /// The layer's diff id.
    pub layer: Digest,
    /// What happens to it.
    pub state: PushState,
}

/// What happens to a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushState {
    /// It is looked for, or compressed.
    Preparing,
    /// Others are uploaded first.
    Waiting,
    /// It is uploaded.
    Pushing {
        /// Bytes that were sent.
        current: u64,
        /// Bytes of the blob.
        total: u64,
    },
    /// It was uploaded.
    Pushed,
    /// The repository had it.
    Exists,
    /// The registry had it in another repository.
    Mounted {
        /// That repository's path.
        from: String,
    },
}

/// What a push left in the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The manifest's digest.
    pub digest: Digest,
    /// The manifest's size in bytes.
    pub size: u64,
}

/// Why a push failed. What was uploaded before stays in the registry for the next try.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The registry refused or failed; its texts are docker's.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A blob could not be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A layer could not be compressed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The index could not be written.
    #[error(transparent)]
    File(#[from] base::file::FileError),
    /// A task of the push died.
    #[error("a task of the push died")]
    Task(#[source] tokio::task::JoinError),
    /// Nobody waits for the push any more.
    #[error("context canceled")]
    Cancelled,
}

impl Kinded for PushError {
    fn kind(&self) -> Kind {
        match self {
            Self::Registry(error) => error.kind(),
            Self::Blob(error) => error.kind(),
            Self::Compress(error) => error.kind(),
            Self::File(error) => error.kind(),
            Self::Task(_) => Kind::Internal,
            Self::Cancelled => Kind::Cancelled,
        }
    }
}

impl Store {
    /// Uploads an image as `target` (with a tag, or with the manifest's digest) to `repository`, which must be the
    /// target's. Dropping this future ends the push.
    pub async fn push(
        self: &Arc<Self>,
        image: &Arc<Image>,
        target: &Reference,
        repository: &Repository,
        report: &mpsc::Sender<PushEvent>,
    ) -> Result<Pushed, PushError> {
        let ingest = self.content.begin_ingest();
        let (store, kept) = (Arc::clone(self), Arc::clone(image));
        let own = blocking(move || Ok(compress::own_manifest(&store, &kept)?)).await?;
        for layer in image.layers.iter().rev() {
            tell(report, &layer.diff_id, PushState::Preparing).await?;
        }
        let sources = self.sources(image, target);
        let repository = match mountable(&sources) {
            paths if paths.is_empty() => repository.clone(),
            paths => repository.mounting_from(&paths),
        };
        let push = Arc::new(Push {
            store: Arc::clone(self),
            repository: repository.clone(),
            sources,
            permits: Semaphore::new(AT_ONCE),
            compressing: tokio::sync::Mutex::default(),
            report: report.clone(),
            _ingest: ingest,
        });
        let mut tasks = JoinSet::new();
        let compress = own.is_some();
        // The largest first: what is left when the others are done is short.
        let mut order: Vec<_> = image.layers.iter().enumerate().collect();
        order.sort_by_key(|(_, layer)| std::cmp::Reverse(layer.blob.size));
        for (at, layer) in order {
            // The same blob twice in an image is one upload.
            let first = image
                .layers
                .iter()
                .position(|other| other.blob.digest == layer.blob.digest);
            let (push, layer) = (Arc::clone(&push), layer.clone());
            let is_first = first == Some(at);
            drop(tasks.spawn(async move { (at, push.layer(&layer, compress, is_first).await) }));
        }
        let config = Arc::clone(&push);
        let (id, at) = (image.id.clone(), image.layers.len());
        drop(tasks.spawn(async move { (at, config.config(&id).await) }));
        let (blobs, failure) = finish(tasks).await;
        let manifest = match own {
            Some(manifest) => remember(self, image, manifest, &blobs).await?,
            None => image.manifest.clone(),
        };
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.push_manifest(image, &manifest, target, &repository).await
    }

    async fn push_manifest(
        self: &Arc<Self>,
        image: &Image,
        manifest: &Descriptor,
        target: &Reference,
        repository: &Repository,
    ) -> Result<Pushed, PushError> {
        let bytes = self.content.read_document(&manifest.digest, MAX_MANIFEST)?;
        let size = manifest.size;
        let place = match target.tag() {
            Some(tag) => Target::Tag(tag.to_owned()),
            None => Target::Digest(manifest.digest.clone()),
        };
        let digest = repository
            .put_manifest(&place, &manifest.media_type, Bytes::from(bytes))
            .await?;
        let name = target.with_digest(&digest);
        let mut state = self.lock();
        let mut changed = state.clone();
        if let Some(present) = changed.images.get_mut(&image.id)
            && !present.digests.contains(&name)
        {
            let mut named = Image::clone(present);
            named.digests.push(name);
            named.digests.sort();
            *present = Arc::new(named);
            self.replace(&mut state, changed)?;
        }
        Ok(Pushed { digest, size })
    }

    /// Returns for each blob of the image the repositories of the target's registry that are known to have it.
    fn sources(&self, image: &Image, target: &Reference) -> BTreeMap<Digest, Vec<String>> {
        let state = self.lock();
        let mut sources: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for other in state.images.values() {
            let paths = other
                .digests
                .iter()
                .filter(|name| name.domain() == target.domain() && name.path() != target.path());
            for path in paths.map(Reference::path) {
                for layer in &other.layers {
                    if image.layers.iter().any(|own| own.diff_id == layer.diff_id) {
                        let known = sources.entry(layer.blob.digest.clone()).or_default();
                        if known.len() < MOUNT_TRIES && !known.iter().any(|own| own == path) {
                            known.push(path.to_owned());
                        }
                    }
                }
            }
        }
        sources
    }
}

fn mountable(sources: &BTreeMap<Digest, Vec<String>>) -> Vec<String> {
    let mut paths: Vec<String> = sources.values().flatten().cloned().collect();
    paths.sort();
    paths.dedup();
    // Each is one more right to ask for.
    paths.truncate(16);
    paths
}

/// What is to become of a layer's blob in the manifest: where in the list, and which.
type Done = (usize, Result<Option<Compressed>, PushError>);

/// Waits for all tasks; the first failure ends the others. Returns what was compressed in spite of it.
async fn finish(mut tasks: JoinSet<Done>) -> (BTreeMap<usize, Compressed>, Option<PushError>) {
    let (mut blobs, mut failure) = (BTreeMap::new(), None);
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok((at, Ok(compressed))) => blobs.extend(compressed.map(|compressed| (at, compressed))),
            Ok((_, Err(error))) if failure.is_none() => {
                failure = Some(error);
                tasks.abort_all();
            }
            Err(error) if !error.is_cancelled() && failure.is_none() => {
                failure = Some(PushError::Task(error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    (blobs, failure)
}

/// Puts the compressed blobs that there are into the image's manifest.
async fn remember(
    store: &Arc<Store>,
    image: &Arc<Image>,
    manifest: Manifest,
    compressed: &BTreeMap<usize, Compressed>,
) -> Result<Descriptor, PushError> {
    if compressed.is_empty() {
        return Ok(image.manifest.clone());
    }
    let layers = image.layers.iter().enumerate();
    let blobs: Vec<Descriptor> = layers
        .map(|(at, layer)| {
            compressed
                .get(&at)
                .map_or_else(|| layer.blob.clone(), |compressed| compressed.blob.clone())
        })
        .collect();
    let (store, image) = (Arc::clone(store), Arc::clone(image));
    let changed = blocking(move || Ok(compress::remember(&store, &image, manifest, blobs)?)).await?;
    Ok(changed.manifest.clone())
}

async fn tell(report: &mpsc::Sender<PushEvent>, layer: &Digest, state: PushState) -> Result<(), PushError> {
    let event = PushEvent {
        layer: layer.clone(),
        state,
    };
    report.send(event).await.map_err(|_gone| PushError::Cancelled)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PushError> + Send + 'static,
) -> Result<T, PushError> {
    tokio::task::spawn_blocking(work).await.map_err(PushError::Task)?
}

/// What the tasks of one push share.
struct Push {
    store: Arc<Store>,
    repository: Repository,
    sources: BTreeMap<Digest, Vec<String>>,
    permits: Semaphore,
    /// Each layer is compressed on all cores: those that wait hold no thread.
    compressing: tokio::sync::Mutex<()>,
    report: mpsc::Sender<PushEvent>,
    /// Blobs stay while they are read, also if their image is removed meanwhile.
    _ingest: Ingest,
}

impl Push {
    /// Brings a layer's blob to the registry; returns it if it was compressed for that.
    async fn layer(
        self: Arc<Self>,
        layer: &crate::store::Layer,
        compress: bool,
        is_first: bool,
    ) -> Result<Option<Compressed>, PushError> {
        let mut compressed = None;
        if compress && compress::is_plain(layer) {
            let _turn = self.compressing.lock().await;
            let (store, plain) = (Arc::clone(&self.store), layer.clone());
            compressed = Some(blocking(move || Ok(compress::compress_layer(&store, &plain)?)).await?);
        }
        let blob = compressed
            .as_ref()
            .map_or(&layer.blob, |compressed| &compressed.blob);
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_busy) => {
                tell(&self.report, &layer.diff_id, PushState::Waiting).await?;
                // Never closed.
                self.permits
                    .acquire()
                    .await
                    .map_err(|_closed| PushError::Cancelled)?
            }
        };
        let state = if is_first {
            self.blob(&blob.digest, blob.size, &layer.diff_id).await?
        } else {
            PushState::Exists
        };
        drop(permit);
        tell(&self.report, &layer.diff_id, state).await?;
        Ok(compressed)
    }

    async fn config(&self, id: &Digest) -> Result<Option<Compressed>, PushError> {
        if self.repository.has_blob(id).await?.is_none() {
            let size = self.store.content.blob_size(id)?;
            self.upload(id, size, None, None).await?;
        }
        Ok(None)
    }

    async fn blob(&self, digest: &Digest, size: u64, layer: &Digest) -> Result<PushState, PushError> {
        if self.repository.has_blob(digest).await?.is_some() {
            return Ok(PushState::Exists);
        }
        let mut started = None;
        for from in self.sources.get(digest).into_iter().flatten() {
            match self.repository.mount(digest, from).await {
                Ok(Mount::Mounted) => return Ok(PushState::Mounted { from: from.clone() }),
                Ok(Mount::Started(upload)) => {
                    started = Some(upload);
                    break;
                }
                // One that may not be read is no reason not to upload.
                Err(error) if !error.is_temporary() => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.upload(digest, size, started, Some(layer)).await?;
        Ok(PushState::Pushed)
    }

    async fn upload(
        &self,
        digest: &Digest,
        size: u64,
        started: Option<registry::client::Upload>,
        layer: Option<&Digest>,
    ) -> Result<(), PushError> {
        let source = Source {
            store: &self.store,
            digest,
            sent: Arc::default(),
        };
        let mut upload = std::pin::pin!(self.repository.upload(digest, size, &source, started));
        let Some(layer) = layer else {
            return Ok(upload.await?);
        };
        let begun = Instant::now();
        let mut ticks = tokio::time::interval_at((begun + TICK).into(), TICK);
        loop {
            tokio::select! {
                done = &mut upload => return Ok(done?),
                _ = ticks.tick() => {
                    let state = PushState::Pushing {
                        current: source.sent.load(Ordering::Relaxed).min(size),
                        total: size,
                    };
                    tell(&self.report, layer, state).await?;
                }
            }
        }
    }
}

/// A blob that is read from the disk.
struct Source<'a> {
    store: &'a Store,
    digest: &'a Digest,
    /// Up to where it was read.
    sent: Arc<AtomicU64>,
}

impl BlobSource for Source<'_> {
    fn open(&self, offset: u64) -> io::Result<ByteStream> {
        let mut file = self
            .store
            .content
            .open_blob(self.digest)
            .map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        self.sent.store(offset, Ordering::Relaxed);
        let sent = Arc::clone(&self.sent);
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(CHUNK);
        let stream = ReaderStream::with_capacity(file, CHUNK).inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                sent.fetch_add(u64::try_from(chunk.len()).unwrap_or_default(), Ordering::Relaxed);
            }
        });
        Ok(Box::pin(stream))
    }
}
