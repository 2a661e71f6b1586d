//! One blob on its way from the upstream to the disk, and to those who wait for it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use base::error::chain;
use base::file::FileError;
use bytes::Bytes;
use futures_util::stream;
use oci::Digest;
use oci::digest::HashWriter;
use tokio::sync::watch;

use super::super::fault::Fault;
use super::super::reply::{Body, PIECE};
use super::super::shared::{Shared, blocking};
use super::super::store::now;
use super::super::upload::show_blob;
use crate::client::{BlobBody, BlobRange, RegistryError, Repository};

/// How often a broken transfer is taken up again.
const ATTEMPTS: usize = 4;

/// How far a fetch is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The repository through which it is fetched.
    pub(crate) repository: String,
    /// The file that grows.
    pub(crate) file: Arc<File>,
    /// The size that the upstream announced.
    pub(crate) total: Option<u64>,
    /// How much is in the file.
    written: u64,
    /// Whether it became a blob, once that is known.
    pub(crate) outcome: Option<bool>,
}

/// Why a fetch did not begin.
#[derive(Debug)]
pub(crate) enum BeginError {
    Upstream(RegistryError),
    Own(Fault),
}

/// One fetch.
#[derive(Debug)]
pub(crate) struct Fetch {
    repository: Repository,
    name: String,
    digest: Digest,
    body: BlobBody,
    path: PathBuf,
    writer: Option<HashWriter<File>>,
    size: u64,
    limit: u64,
    progress: watch::Sender<Progress>,
}

impl Fetch {
    /// Asks the upstream for the blob and makes a file for it.
    pub(crate) async fn begin(
        shared: &Arc<Shared>,
        repository: Repository,
        name: &str,
        digest: &Digest,
    ) -> Result<Self, BeginError> {
        let body = repository
            .blob(digest, BlobRange::WHOLE)
            .await
            .map_err(BeginError::Upstream)?;
        let store = Arc::clone(&shared.store);
        let (path, file, copy) = blocking(move || {
            let id = base::id::random_hex::<16>()
                .map_err(|error| Fault::internal_text(format!("name a fetch: {error}")))?;
            let path = store.upload_path(&id);
            // No row names it: whatever becomes of this process, the next one removes it.
            drop(base::file::create_new(&path, 0o600)?);
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)
                .map_err(|error| FileError::new("open", &path, error))?;
            let copy = file
                .try_clone()
                .map_err(|error| FileError::new("open", &path, error))?;
            Ok((path, file, copy))
        })
        .await
        .map_err(BeginError::Own)?;
        let total = body.total();
        let progress = watch::Sender::new(Progress {
            repository: name.to_owned(),
            file: Arc::new(copy),
            total,
            written: 0,
            outcome: None,
        });
        Ok(Self {
            repository,
            name: name.to_owned(),
            digest: digest.clone(),
            body,
            path,
            writer: Some(HashWriter::new(file)),
            size: 0,
            limit: shared.uploads.limit(),
            progress,
        })
    }

    /// Returns how far it is, and every change of that.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Fetches the blob, and makes it one of the repository's if it is what it should be.
    pub(crate) async fn run(mut self, shared: &Arc<Shared>) {
        let done = match self.receive().await {
            Ok(()) => self.keep(shared).await,
            Err(problem) => Err(Fault::internal_text(problem)),
        };
        if let Err(fault) = &done {
            let cause = fault.cause.as_deref().unwrap_or("refused");
            shared.log.line(format_args!(
                "error: fetch blob {} of {}: {cause}",
                self.digest, self.name
            ));
            let path = self.path.clone();
            let removing = blocking(move || {
                // What stays is removed at the next start.
                drop(std::fs::remove_file(path));
                Ok(())
            });
            drop(removing.await);
        }
        self.progress
            .send_modify(|progress| progress.outcome = Some(done.is_ok()));
    }

    async fn receive(&mut self) -> Result<(), String> {
        let mut attempts = 0;
        loop {
            match self.body.chunk().await {
                Ok(Some(bytes)) => {
                    attempts = 0;
                    let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    if self.size.saturating_add(count) > self.limit {
                        return Err(format!("it is larger than {} bytes", self.limit));
                    }
                    self.write(bytes).await?;
                    self.size += count;
                    let size = self.size;
                    self.progress.send_modify(|progress| progress.written = size);
                }
                Ok(None) => return Ok(()),
                Err(error) if error.is_temporary() && attempts < ATTEMPTS => {
                    attempts += 1;
                    let range = BlobRange {
                        offset: self.size,
                        length: None,
                    };
                    let body = self.repository.blob(&self.digest, range).await;
                    match body {
                        Ok(body) if body.offset() == self.size => self.body = body,
                        Ok(_) => return Err(chain(&error).to_string()),
                        Err(error) => return Err(chain(&error).to_string()),
                    }
                }
                Err(error) => return Err(chain(&error).to_string()),
            }
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), String> {
        let Some(mut writer) = self.writer.take() else {
            return Err("an earlier write failed".to_owned());
        };
        let written = tokio::task::spawn_blocking(move || writer.write_all(&bytes).map(|()| writer)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(writer) => {
                self.writer = Some(writer);
                Ok(())
            }
            Err(error) => Err(format!("write \"{}\": {error}", self.path.display())),
        }
    }

    async fn keep(&mut self, shared: &Arc<Shared>) -> Result<(), Fault> {
        let Some(writer) = self.writer.take() else {
            return Err(Fault::internal_text("nothing was written".to_owned()));
        };
        let (wanted, name, path) = (self.digest.clone(), self.name.clone(), self.path.clone());
        let total = self.progress.borrow().total;
        shared
            .blocking(move |shared| {
                let (file, digest, size) = writer.finish();
                if digest != wanted || total.is_some_and(|total| total != size) {
                    return Err(Fault::internal_text(format!(
                        "the upstream sent {digest} with {size} bytes"
                    )));
                }
                file.sync_all()
                    .map_err(|error| FileError::new("sync", &path, error))?;
                let store = &shared.store;
                store.rows.add_blob(&name, digest.as_str(), size, None, now())?;
                show_blob(store, &path, &digest)?;
                shared
                    .log
                    .line(format_args!("cached blob {digest} size={size} in {name}"));
                Ok(())
            })
            .await
    }
}

/// Returns the bytes of a fetch as they come, the last one once the digest is known to be right.
pub(crate) fn body(progress: watch::Receiver<Progress>, file: Arc<File>, total: u64) -> Body {
    let pieces = stream::unfold(
        (progress, file, 0),
        move |(mut progress, file, offset)| async move {
            if offset == total {
                return None;
            }
            let readable = {
                let changed = progress
                    .wait_for(|progress| readable(progress, total) > offset || progress.outcome.is_some());
                match changed.await {
                    Ok(progress) => readable(&progress, total),
                    Err(_gone) => offset,
                }
            };
            if readable <= offset {
                let error = io::Error::new(io::ErrorKind::InvalidData, "the upstream failed");
                return Some((Err(error), (progress, file, total)));
            }
            let length = usize::try_from(readable - offset)
                .unwrap_or(usize::MAX)
                .min(PIECE);
            let copy = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; length];
                copy.read_exact_at(&mut bytes, offset)
                    .map(|()| Bytes::from(bytes))
            });
            let piece = read.await.map_err(io::Error::other).flatten();
            let next = match &piece {
                Ok(bytes) => offset + u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                Err(_) => total,
            };
            Some((piece, (progress, file, next)))
        },
    );
    Body::Stream {
        pieces: Box::pin(pieces),
        left: total,
    }
}

fn readable(progress: &Progress, total: u64) -> u64 {
    match progress.outcome {
        Some(true) => total,
        Some(false) => 0,
        None => progress.written.min(total.saturating_sub(1)),
    }
}
