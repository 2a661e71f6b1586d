//! Receives what is missing of a blob: in one stream where that is fast enough, else in parts at the same time.
//!
//! ```text
//! one stream ──(slow, and the registry has ranges)──▶ its second half becomes a part of its own ──▶ … up to MAX_PARTS
//! ```
//!
//! A part that is cut off goes on at the byte where it stopped. What is slow is the network: time in which whoever stores
//! the bytes was waited for does not count.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use registry::client::{BlobRange, Repository};
use tokio::sync::{mpsc, watch};

use super::PullError;
use super::layer::{Plan, Present};

/// How often a download is tried again without having come further.
const ATTEMPTS: u32 = 5;
/// Bytes that count as having come further.
const PROGRESS: u64 = 64 << 10;
/// Most parts of one blob at a time.
const MAX_PARTS: usize = 4;

/// Bytes of a blob, and where they belong.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

/// When a blob is fetched in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// How often it is looked how fast it goes.
    pub(super) every: Duration,
    /// What it must be expected to take still.
    pub(super) longer_than: Duration,
    /// Bytes of the smallest part that is worth a request.
    pub(super) smallest: u64,
}

impl Split {
    pub(super) const STANDARD: Self = Self {
        every: Duration::from_millis(500),
        longer_than: Duration::from_secs(2),
        smallest: 8 << 20,
    };
}

/// What all parts of one blob have in common.
struct Source<'a> {
    repository: &'a Repository,
    plan: &'a Plan,
    sender: mpsc::Sender<Piece>,
    told: &'a watch::Sender<Present>,
    /// Whether the registry has shown that it knows ranges.
    has_ranges: AtomicBool,
}

/// A part on its way. All of it happens in one task: numbers only change between two pieces.
#[derive(Debug)]
struct Part {
    next: AtomicU64,
    end: AtomicU64,
    /// How long the network was waited for, in microseconds.
    waited: AtomicU64,
}

impl Part {
    fn new(range: &Range<u64>) -> Arc<Self> {
        Arc::new(Self {
            next: AtomicU64::new(range.start),
            end: AtomicU64::new(range.end),
            waited: AtomicU64::new(0),
        })
    }

    fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    fn left(&self) -> u64 {
        self.end.load(Ordering::Relaxed).saturating_sub(self.next())
    }
}

/// Receives `missing`. Ends without an error when all of it came, or when nobody stores it any more.
pub(super) async fn receive(
    repository: &Repository,
    plan: &Plan,
    missing: Vec<Range<u64>>,
    sender: mpsc::Sender<Piece>,
    told: &watch::Sender<Present>,
    split: Split,
) -> Result<(), PullError> {
    let wanted: u64 = missing.iter().map(|gap| gap.end - gap.start).sum();
    told.send_modify(|present| present.downloaded = plan.blob.size.saturating_sub(wanted));
    let source = &Source {
        repository,
        plan,
        sender,
        told,
        has_ranges: AtomicBool::new(false),
    };
    let mut parts: Vec<Arc<Part>> = missing.iter().map(Part::new).collect();
    let mut waiting = parts.clone().into_iter();
    let mut running: FuturesUnordered<_> = waiting
        .by_ref()
        .take(MAX_PARTS)
        .map(|part| fetch(source, part))
        .collect();
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + split.every, split.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = Look::now(&parts);
    loop {
        tokio::select! {
            biased;
            ended = running.next() => match ended {
                None => return Ok(()),
                Some(Ok(Ended::Unread)) => return Ok(()),
                Some(Ok(Ended::Complete)) => running.extend(waiting.next().map(|part| fetch(source, part))),
                Some(Err(error)) => return Err(error),
            },
            _ = ticks.tick() => {
                let look = Look::now(&parts);
                let is_slow = look.is_slow_since(&last, running.len(), &split);
                last = look;
                if is_slow && running.len() < MAX_PARTS && source.has_ranges.load(Ordering::Relaxed)
                    && let Some(part) = halve(&parts, split.smallest)
                {
                    parts.push(Arc::clone(&part));
                    running.push(fetch(source, part));
                }
            }
        }
    }
}

/// How far all parts together are at some moment.
struct Look {
    at: Instant,
    left: u64,
    waited: u64,
}

impl Look {
    fn now(parts: &[Arc<Part>]) -> Self {
        Self {
            at: Instant::now(),
            left: parts.iter().map(|part| part.left()).sum(),
            waited: parts.iter().map(|part| part.waited.load(Ordering::Relaxed)).sum(),
        }
    }

    /// Returns whether the network was waited for most of the time since `last`, and will be for long.
    fn is_slow_since(&self, last: &Self, streams: usize, split: &Split) -> bool {
        let passed = self.at.duration_since(last.at);
        let waited = Duration::from_micros(self.waited.saturating_sub(last.waited));
        let came = last.left.saturating_sub(self.left).max(1);
        let streams = u32::try_from(streams.max(1)).unwrap_or(u32::MAX);
        let times = u32::try_from(self.left / came).unwrap_or(u32::MAX);
        waited * 2 > passed * streams && passed.saturating_mul(times) > split.longer_than
    }
}

/// Takes the second half from the part that has most left, if both halves are large enough.
fn halve(parts: &[Arc<Part>], smallest: u64) -> Option<Arc<Part>> {
    let largest = parts.iter().max_by_key(|part| part.left())?;
    let half = largest.left() / 2;
    if half < smallest {
        return None;
    }
    let (middle, end) = (largest.next() + half, largest.end.load(Ordering::Relaxed));
    largest.end.store(middle, Ordering::Relaxed);
    Some(Part::new(&(middle..end)))
}

enum Ended {
    Complete,
    /// Nobody stores what comes.
    Unread,
}

/// Fetches a part to its end, which may move; tries again as long as something comes.
async fn fetch(source: &Source<'_>, part: Arc<Part>) -> Result<Ended, PullError> {
    let mut attempt = 0;
    while part.left() > 0 {
        let before = part.next();
        let error = match stream(source, &part).await {
            Ok(Ended::Unread) => return Ok(Ended::Unread),
            Ok(Ended::Complete) if part.left() == 0 => break,
            Ok(Ended::Complete) => wrong(
                source,
                format!(
                    "the registry sent {} of {} bytes",
                    part.next(),
                    source.plan.blob.size
                ),
            ),
            Err(PullError::Registry(error)) if error.is_temporary() => PullError::Registry(error),
            Err(error) => return Err(error),
        };
        attempt = if part.next() - before >= PROGRESS {
            1
        } else {
            attempt + 1
        };
        if attempt >= ATTEMPTS {
            return Err(error);
        }
        let wait = Duration::from_millis(250 << attempt);
        source
            .told
            .send_modify(|present| present.retry = Some(wait.as_secs().max(1)));
        tokio::time::sleep(wait).await;
        source.told.send_modify(|present| present.retry = None);
    }
    Ok(Ended::Complete)
}

/// Reads one answer as far as the part reaches.
async fn stream(source: &Source<'_>, part: &Part) -> Result<Ended, PullError> {
    let (size, digest) = (source.plan.blob.size, &source.plan.blob.digest);
    let offset = part.next();
    let range = BlobRange {
        offset,
        // To the end without saying so: a registry without ranges then sends no other answer than to anybody else.
        length: Some(part.left()).filter(|length| offset + length < size),
    };
    let mut body = waiting(part, source.repository.blob(digest, range)).await?;
    if let Some(total) = body.total().filter(|total| *total != size) {
        return Err(wrong(
            source,
            format!("the registry has {total} bytes instead of {size}"),
        ));
    }
    source.has_ranges.store(body.has_ranges(), Ordering::Relaxed);
    // A registry without ranges sends the whole blob again.
    let mut skip = offset
        .checked_sub(body.offset())
        .ok_or_else(|| wrong(source, "the registry sent another range".to_owned()))?;
    while part.left() > 0 {
        let Some(mut bytes) = waiting(part, body.chunk()).await? else {
            return Ok(Ended::Complete);
        };
        let length = |bytes: &Bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let skipped = skip.min(length(&bytes));
        skip -= skipped;
        drop(bytes.split_to(usize::try_from(skipped).unwrap_or(usize::MAX)));
        if bytes.is_empty() {
            continue;
        }
        let (next, left) = (part.next(), part.left());
        if next + length(&bytes) > size {
            return Err(wrong(source, format!("the registry sent more than {size} bytes")));
        }
        // What is behind the end belongs to another part by now.
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let length = length(&bytes);
        let piece = Piece { offset: next, bytes };
        part.next.store(next + length, Ordering::Relaxed);
        if source.sender.send(piece).await.is_err() {
            return Ok(Ended::Unread);
        }
        source.told.send_modify(|present| present.downloaded += length);
    }
    Ok(Ended::Complete)
}

/// Counts the time for which the network is waited.
async fn waiting<T>(part: &Part, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let result = work.await;
    let waited = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    part.waited.fetch_add(waited, Ordering::Relaxed);
    result
}

fn wrong(source: &Source<'_>, problem: String) -> PullError {
    PullError::Wrong {
        digest: source.plan.blob.digest.clone(),
        problem,
    }
}
