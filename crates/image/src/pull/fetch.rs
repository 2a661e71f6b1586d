//! The bytes of one layer: from the registry to the store and, at the same time, to whoever unpacks them.

use std::ops::Range;
use std::sync::Arc;

use archive::Limits;
use base::error::{Kind, Kinded};
use bytes::Bytes;
use content::BlobError;
use oci::digest::HashReader;
use registry::client::Repository;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot, watch};

use super::feed::{Feed, FeedReader, feed};
use super::layer::{Plan, Present};
use super::parts::{self, Piece};
use super::{PullError, Puller};
use crate::sink::StagedLayer;

/// Pieces from the network that may wait to be stored. What waits is lost if the daemon is killed, and fetched again.
const WAITING: usize = 2;

/// A layer that came.
pub(super) enum Fetched {
    /// It was unpacked already; only its blob was missing.
    There {
        /// The size of its files.
        size: u64,
    },
    /// It is unpacked and not shown.
    Staged(Box<dyn StagedLayer>),
}

/// Held as long as a thread works on a blob, also when nobody waits for it any more.
type BlobLock = Arc<OwnedMutexGuard<()>>;

/// Fetches a layer, or takes its blob from the store if it is there.
pub(super) async fn layer(
    puller: &Arc<Puller>,
    repository: &Repository,
    plan: &Plan,
    told: &watch::Sender<Present>,
    lock: BlobLock,
) -> Result<Fetched, PullError> {
    if puller.has_blob(plan) {
        match from_store(puller, plan, told, &lock).await {
            // It is damaged: what the registry has heals it.
            Err(error) if error.kind() == Kind::Invalid => {
                puller.store.content.remove_damaged(&plan.blob.digest)?;
            }
            other => return other,
        }
    }
    let (resumed, fetched) = from_registry(puller, repository, plan, told, &lock).await;
    match fetched {
        // The beginning that was here may have been the damaged part. It is gone now.
        Err(error) if resumed && error.kind() == Kind::Invalid => {
            told.send_modify(|present| (present.downloaded, present.extracted) = (0, 0));
            from_registry(puller, repository, plan, told, &lock).await.1
        }
        other => other,
    }
}

async fn from_store(
    puller: &Arc<Puller>,
    plan: &Plan,
    told: &watch::Sender<Present>,
    lock: &BlobLock,
) -> Result<Fetched, PullError> {
    told.send_modify(|present| present.downloaded = plan.blob.size);
    let (puller, plan, lock) = (Arc::clone(puller), plan.clone(), Arc::clone(lock));
    let unpacking = tokio::task::spawn_blocking(move || {
        let _lock = lock;
        let mut reader = HashReader::new(puller.store.content.reader(&plan.blob.digest)?);
        let fetched = unpack(&puller, &plan, &mut reader)?;
        // Another compression of the same content would be unpacked, and never be the blob that was asked for.
        let (_, digest, _) = reader.finish();
        if digest != plan.blob.digest {
            return Err(BlobError::Mismatch {
                expected: plan.blob.digest,
                actual: digest,
            }
            .into());
        }
        Ok(fetched)
    });
    unpacking.await.map_err(PullError::task)?
}

/// Also returns whether there was a beginning.
async fn from_registry(
    puller: &Arc<Puller>,
    repository: &Repository,
    plan: &Plan,
    told: &watch::Sender<Present>,
    lock: &BlobLock,
) -> (bool, Result<Fetched, PullError>) {
    let (feed, reader) = feed();
    let (sender, incoming) = mpsc::channel(WAITING);
    let (tell_start, start) = oneshot::channel();
    let storing = {
        let (puller, plan, lock) = (Arc::clone(puller), plan.clone(), Arc::clone(lock));
        tokio::task::spawn_blocking(move || {
            let _lock = lock;
            store(&puller, &plan, tell_start, incoming, feed)
        })
    };
    let unpacking = {
        let (puller, plan, lock, told) = (Arc::clone(puller), plan.clone(), Arc::clone(lock), told.clone());
        let reader = reader.counting(move |count| {
            let count = u64::try_from(count).unwrap_or(0);
            told.send_modify(|present| present.extracted += count);
        });
        tokio::task::spawn_blocking(move || {
            let _lock = lock;
            unpack::<FeedReader>(&puller, &plan, reader)
        })
    };
    let mut resumed = false;
    let received = match start.await {
        Ok(missing) => {
            resumed = missing.iter().map(|gap| gap.end - gap.start).sum::<u64>() < plan.blob.size;
            parts::receive(repository, plan, missing, sender, told, puller.split).await
        }
        Err(_storing_failed) => Ok(()),
    };
    let ended = async {
        let stored = storing.await.map_err(PullError::task)?;
        let unpacked = unpacking.await.map_err(PullError::task)?;
        match stored? {
            Stored::Complete => unpacked,
            Stored::Cut => {
                received?;
                // Whoever unpacks stopped first, and says why.
                unpacked
            }
            Stored::Unread => {
                if let Err(error) = &unpacked
                    && error.kind() == Kind::Invalid
                {
                    // Nobody knows which of its bytes are wrong.
                    puller.store.content.discard_partial(&plan.blob.digest)?;
                }
                unpacked
            }
        }
    };
    (resumed, ended.await)
}

/// Unpacks a layer, or only checks it where it is unpacked already.
fn unpack<R: std::io::Read + Send>(
    puller: &Puller,
    plan: &Plan,
    mut reader: R,
) -> Result<Fetched, PullError> {
    if let Some(size) = puller.sink.present(&plan.chain_id)? {
        let summary =
            archive::inspect_beside(&mut reader, &Limits::LAYER).map_err(|error| PullError::Wrong {
                digest: plan.blob.digest.clone(),
                problem: base::error::chain(&error).to_string(),
            })?;
        check_diff_id(plan, &summary.diff_id)?;
        finish_reading(&mut reader);
        return Ok(Fetched::There { size });
    }
    let staged = puller
        .sink
        .unpack(plan.parent.as_ref(), &plan.diff_id, None, &mut reader)?;
    check_diff_id(plan, staged.diff_id())?;
    finish_reading(&mut reader);
    Ok(Fetched::Staged(staged))
}

/// What follows the compressed stream belongs to the blob as well, and is hashed with it.
fn finish_reading(reader: &mut impl std::io::Read) {
    // If the download is cut off here, the download says so.
    drop(std::io::copy(reader, &mut std::io::sink()));
}

fn check_diff_id(plan: &Plan, found: &oci::Digest) -> Result<(), PullError> {
    if *found == plan.diff_id {
        return Ok(());
    }
    Err(PullError::Wrong {
        digest: plan.blob.digest.clone(),
        problem: format!("its content has the digest {found} instead of {}", plan.diff_id),
    })
}

/// How storing ended without an error of its own.
enum Stored {
    /// The blob is there.
    Complete,
    /// No more bytes came.
    Cut,
    /// Nobody reads them any more.
    Unread,
}

/// Stores what comes, after what came at an earlier try, and passes all of it on.
fn store(
    puller: &Puller,
    plan: &Plan,
    start: oneshot::Sender<Vec<Range<u64>>>,
    mut incoming: mpsc::Receiver<Piece>,
    feed: Feed,
) -> Result<Stored, PullError> {
    let content = &puller.store.content;
    let size = plan.blob.size;
    let mut is_read = true;
    let mut partial = content.partial::<BlobError>(&plan.blob.digest, size, |bytes| {
        is_read = is_read && feed.send(Bytes::copy_from_slice(bytes));
        Ok(())
    })?;
    if !is_read || start.send(partial.gaps(size)).is_err() {
        return Ok(if is_read { Stored::Cut } else { Stored::Unread });
    }
    while let Some(Piece { offset, bytes }) = incoming.blocking_recv() {
        if offset != partial.length() {
            partial.write_at(offset, &bytes)?;
            continue;
        }
        partial.append(&bytes)?;
        is_read = feed.send(bytes);
        partial.catch_up::<BlobError>(|bytes| {
            is_read = is_read && feed.send(Bytes::copy_from_slice(bytes));
            Ok(())
        })?;
        if !is_read {
            return Ok(Stored::Unread);
        }
    }
    if partial.length() < size {
        return Ok(Stored::Cut);
    }
    feed.end();
    content.finish(partial).map_err(|error| match error {
        BlobError::Mismatch { expected, actual } => PullError::Wrong {
            digest: expected,
            problem: format!("the bytes have the digest {actual}"),
        },
        other => other.into(),
    })?;
    Ok(Stored::Complete)
}
