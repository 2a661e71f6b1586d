//! What an archive of images holds: documents in memory, everything else as blobs.
//!
//! One thread reads the archive; others store what it read and unpack it at once, side by side, if it looks like a layer.
//! Which blobs are layers is only known at the archive's end: what looked like one and is none costs nothing else.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use archive::{Compression, Decoder, Entry, EntryKind, Limits, ReadError, TarReader};
use content::{Draft, Stored};
use oci::{Digest, media_type};

use super::{LoadError, LoadEvent, LoadOptions, short, wrong};
use crate::create::CreateError;
use crate::document;
use crate::sink::StagedLayer;
use crate::store::Store;

/// Documents at the top of the archive that are read as a whole.
const DOCUMENTS: [&str; 3] = ["manifest.json", "index.json", "oci-layout"];
/// Most members of an archive of images.
const MAX_MEMBERS: u64 = 200_000;
/// How many members wait to be stored: each is an open file.
const AHEAD: usize = 16;
/// How often progress is told.
const TICK: Duration = Duration::from_millis(100);

/// What the archive held.
pub(super) struct Contents {
    documents: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, (Digest, u64)>,
    links: BTreeMap<String, String>,
    /// What is known of blobs that look like layers.
    layers: BTreeMap<Digest, Result<Found, LoadError>>,
}

/// A layer that was read through.
pub(super) struct Found {
    pub(super) compression: Compression,
    pub(super) diff_id: Digest,
    pub(super) size: u64,
    /// Its files, if they were unpacked on the way.
    pub(super) staged: Option<Box<dyn StagedLayer>>,
}

impl Contents {
    pub(super) fn read(
        store: &Store,
        archive: impl Read,
        options: &LoadOptions<'_>,
    ) -> Result<Self, LoadError> {
        let decoder = Decoder::new(archive).map_err(|source| ReadError::Source { offset: 0, source })?;
        let limits = Limits {
            entries: MAX_MEMBERS,
            ..Limits::LAYER
        };
        let mut tar = TarReader::new(decoder, limits);
        let mut contents = Self {
            documents: BTreeMap::new(),
            blobs: BTreeMap::new(),
            links: BTreeMap::new(),
            layers: BTreeMap::new(),
        };
        let done = Done::default();
        let (jobs, queue) = sync_channel(AHEAD);
        let queue = Mutex::new(queue);
        let read: Result<(), LoadError> = std::thread::scope(|scope| {
            // Dropped with this closure, which is what ends the workers.
            let jobs = jobs;
            // One more than there are processors, since storing waits for the disk.
            let workers = std::thread::available_parallelism().map_or(1, usize::from) + 1;
            let (queue, done) = (&queue, &done);
            for _ in 0..workers {
                std::thread::Builder::new()
                    .spawn_scoped(scope, move || work(store, options, queue, done))
                    .map_err(|source| LoadError::Temporary {
                        doing: "start a thread for a",
                        source,
                    })?;
            }
            let mut send = |job| {
                if done.failed.load(Ordering::Relaxed) {
                    return Err(wrong("a member could not be stored"));
                }
                jobs.send(job)
                    .map_err(|_gone| wrong("a member could not be stored"))
            };
            while let Some(entry) = tar.next_entry()? {
                contents.member(store, &mut tar, &entry, options, &mut send)?;
            }
            tar.drain()?;
            Ok(())
        });
        let Done { failure, results, .. } = done;
        // Why a worker failed says more than that the reader stopped.
        if let Some(failure) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        read?;
        for (path, digest, size, found) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Some(found) = found {
                contents.layers.insert(digest.clone(), found);
            }
            contents.blobs.insert(path, (digest, size));
        }
        Ok(contents)
    }

    fn member<R: Read>(
        &mut self,
        store: &Store,
        tar: &mut TarReader<R>,
        entry: &Entry,
        options: &LoadOptions<'_>,
        send: &mut impl FnMut(Job) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let path =
            normal(b"", &entry.path).ok_or_else(|| wrong("a member's name leads out of the archive"))?;
        match entry.kind {
            EntryKind::File => self.file(store, tar, path, entry, options, send)?,
            EntryKind::Symlink => {
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let target = normal(parent.as_bytes(), &entry.link);
                self.links.extend(target.map(|target| (path, target)));
            }
            EntryKind::HardLink => {
                let target = normal(b"", &entry.link);
                self.links.extend(target.map(|target| (path, target)));
            }
            _ => {}
        }
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        store: &Store,
        tar: &mut TarReader<R>,
        path: String,
        entry: &Entry,
        options: &LoadOptions<'_>,
        send: &mut impl FnMut(Job) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        if entry.sparse.is_some() {
            return Err(wrong("it has a sparse member"));
        }
        if DOCUMENTS.contains(&path.as_str()) {
            if entry.size > document::MAX_CONFIG {
                return Err(wrong(format!(
                    "{path} is larger than {} bytes",
                    document::MAX_CONFIG
                )));
            }
            let mut content = Vec::new();
            tar.read_to_end(&mut content)
                .map_err(|source| LoadError::Temporary {
                    doing: "read into",
                    source,
                })?;
            self.documents.insert(path, content);
            return Ok(());
        }
        // Docker's oldest format repeats in each layer's directory what nobody reads any more.
        if path == "repositories" || path.ends_with("/VERSION") || path.ends_with("/json") {
            return Ok(());
        }
        let expected = match path.strip_prefix("blobs/") {
            None => None,
            Some(rest) => {
                let name = rest.replacen('/', ":", 1);
                Some(name.parse::<Digest>().map_err(|error| wrong(error.to_string()))?)
            }
        };
        let mut draft = store.content.draft().map_err(CreateError::from)?;
        let head = copy(tar, &mut draft, &path, entry.size, options)?;
        send(Job {
            path,
            draft,
            expected,
            head,
        })
    }

    /// Returns whether the archive has a document.
    pub(super) fn has_document(&self, name: &str) -> bool {
        self.documents.contains_key(name)
    }

    /// Returns a document.
    pub(super) fn document<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, LoadError> {
        let Some(content) = self.documents.get(name) else {
            return Ok(None);
        };
        serde_json::from_slice(content)
            .map(Some)
            .map_err(|source| LoadError::Document {
                file: name.to_owned(),
                source,
            })
    }

    /// Returns the blob that a member became; links between members are followed.
    pub(super) fn blob(&self, name: &str) -> Result<(Digest, u64), LoadError> {
        let missing = || wrong(format!("it has no member \"{}\"", short(name)));
        let mut path = normal(b"", name.as_bytes()).ok_or_else(missing)?;
        for _ in 0..8 {
            if let Some(found) = self.blobs.get(&path) {
                return Ok(found.clone());
            }
            path.clone_from(self.links.get(&path).ok_or_else(missing)?);
        }
        Err(missing())
    }

    /// Returns what is known of a layer; its blob is read through if it did not look like one.
    pub(super) fn layer(&mut self, store: &Store, digest: &Digest) -> Result<&mut Found, LoadError> {
        let found = match self.layers.remove(digest) {
            Some(found) => found?,
            // A receiver may have had it all along.
            None => match known(store, digest) {
                Some(found) => found,
                None => inspect(store, digest)?,
            },
        };
        let entry = self.layers.entry(digest.clone()).or_insert(Ok(found));
        match entry {
            Ok(found) => Ok(found),
            // It was removed just above.
            Err(_) => Err(wrong("a layer was read twice")),
        }
    }
}

/// A member on its way to the disk.
struct Job {
    path: String,
    draft: Draft,
    /// The digest in its name.
    expected: Option<Digest>,
    /// Its first bytes.
    head: Vec<u8>,
}

/// What the workers made.
#[derive(Default)]
struct Done {
    failed: AtomicBool,
    failure: Mutex<Option<LoadError>>,
    results: Mutex<Vec<Kept>>,
}

/// A member's path, its blob, the blob's size, and what is known of it if it looks like a layer.
type Kept = (String, Digest, u64, Option<Result<Found, LoadError>>);

fn work(store: &Store, options: &LoadOptions<'_>, queue: &Mutex<Receiver<Job>>, done: &Done) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        match keep(store, options, job) {
            Ok(stored) => done
                .results
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(stored),
            Err(error) => {
                let mut failure = done.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                done.failed.store(true, Ordering::Relaxed);
            }
        }
    }
}

fn keep(store: &Store, options: &LoadOptions<'_>, job: Job) -> Result<Kept, LoadError> {
    let stored = store
        .content
        .store_and_tell(job.draft, job.expected.as_ref())
        .map_err(CreateError::from)?;
    let found =
        layer_compression(&job.head).map(|compression| read_through(store, options, &stored, compression));
    Ok((job.path, stored.digest, stored.size, found))
}

/// Reads a layer once: unpacks it if that is possible before its parents are known.
fn read_through(
    store: &Store,
    options: &LoadOptions<'_>,
    stored: &Stored,
    compression: Compression,
) -> Result<Found, LoadError> {
    let digest = &stored.digest;
    if let Some(found) = known(store, digest) {
        return Ok(found);
    }
    let Some(sink) = options.sink.filter(|sink| !sink.needs_parent()) else {
        return inspect(store, digest);
    };
    let mut blob = store.content.reader(digest).map_err(CreateError::from)?;
    // What has just been hashed on its way to the disk is not hashed again; one that was there may be damaged.
    let known = stored.is_new.then_some(digest);
    let staged = sink.unpack(None, digest, known, &mut blob)?;
    Ok(Found {
        compression,
        diff_id: staged.diff_id().clone(),
        size: staged.size(),
        staged: Some(staged),
    })
}

/// Returns what is known of a layer that an image has.
fn known(store: &Store, digest: &Digest) -> Option<Found> {
    let state = store.lock();
    let layer = state
        .images
        .values()
        .flat_map(|image| &image.layers)
        .find(|layer| layer.blob.digest == *digest)?;
    let compression = match layer.blob.media_type.as_str() {
        media_type::OCI_LAYER_ZSTD => Compression::Zstd,
        media_type::OCI_LAYER_GZIP | media_type::DOCKER_LAYER_GZIP => Compression::Gzip,
        _ => Compression::Plain,
    };
    Some(Found {
        compression,
        diff_id: layer.diff_id.clone(),
        size: layer.size,
        staged: None,
    })
}

/// Reads a layer's blob through: finds its diff id and size, and whether it is a tar at all.
fn inspect(store: &Store, digest: &Digest) -> Result<Found, LoadError> {
    let file = store.content.open_blob(digest).map_err(CreateError::from)?;
    let summary = archive::inspect(file, &Limits::LAYER)?;
    Ok(Found {
        compression: summary.compression,
        diff_id: summary.diff_id,
        size: summary.content_bytes,
        staged: None,
    })
}

/// Returns the compression of what looks like a layer by its first bytes.
fn layer_compression(head: &[u8]) -> Option<Compression> {
    match Compression::detect(head) {
        Ok(Compression::Plain) => (head.get(257..262) == Some(b"ustar")).then_some(Compression::Plain),
        Ok(compression) => Some(compression),
        Err(_) => None,
    }
}

/// Copies a member and returns its first bytes; tells how far it is.
fn copy<R: Read>(
    tar: &mut TarReader<R>,
    draft: &mut Draft,
    path: &str,
    size: u64,
    options: &LoadOptions<'_>,
) -> Result<Vec<u8>, LoadError> {
    let failed = |doing| move |source| LoadError::Temporary { doing, source };
    let (mut head, mut buffer) = (Vec::new(), vec![0; 256 << 10]);
    let (mut current, mut told) = (0_u64, Instant::now());
    loop {
        let count = match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed("write")(error)),
        };
        let bytes = &buffer[..count];
        let missing = 512_usize.saturating_sub(head.len()).min(count);
        head.extend_from_slice(&bytes[..missing]);
        draft.write_all(bytes).map_err(failed("write"))?;
        current += u64::try_from(count).unwrap_or_default();
        let complete = current == size;
        if (complete || told.elapsed() >= TICK) && layer_compression(&head).is_some() {
            told = Instant::now();
            (options.report)(LoadEvent {
                layer: label(path),
                current,
                total: size,
            });
        }
    }
    Ok(head)
}

/// Returns what progress calls a member: twelve digits of the digest or id in its path, as docker has it.
fn label(path: &str) -> String {
    let component = path
        .split('/')
        .find(|component| component.len() >= 12 && component.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let component = component.or_else(|| path.split('/').next_back()).unwrap_or(path);
    component.chars().take(12).collect()
}

/// Returns `path` relative to the archive's top, taken from the directory `parent`; `None` if it leads out.
fn normal(parent: &[u8], path: &[u8]) -> Option<String> {
    let mut components: Vec<&[u8]> = Vec::new();
    let start: &[u8] = if path.starts_with(b"/") { b"" } else { parent };
    for component in start
        .split(|&byte| byte == b'/')
        .chain(path.split(|&byte| byte == b'/'))
    {
        match component {
            b"" | b"." => {}
            b".." => {
                components.pop()?;
            }
            name => components.push(name),
        }
    }
    String::from_utf8(components.join(&b'/')).ok()
}
