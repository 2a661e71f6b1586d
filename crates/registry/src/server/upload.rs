//! Blobs on their way in: `POST`, `PATCH`, `PUT`, `GET` and `DELETE` of uploads, and mounts.
//!
//! An upload is a row (its id and repository) and a file that grows. How much was received is the file's size and
//! nothing else, so a server that was killed knows it again; the hash is made anew from the file then. The steps of
//! the end are: verify, sync the file, commit the blob's row (which ends the upload), give the file its name among the
//! blobs, sync the directory, answer. Killed in between, the client gets no answer and asks again: a row without a
//! file is no blob, a file without a row is garbage.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::file::FileError;
use bytes::Bytes;
use db::UploadRow;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use oci::Digest;
use oci::digest::HashWriter;
use tokio::sync::OwnedMutexGuard;

use super::call::Call;
use super::failpoint;
use super::fault::{Code, Fault};
use super::range;
use super::reply::{self, Body, CONTENT_DIGEST, UPLOAD_ID};
use super::route;
use super::shared::{Shared, blocking};
use super::store::{Store, now};

/// How much is received before it is written.
const BATCH: usize = 512 << 10;

/// How long a client may be silent in the middle of a body.
const IDLE: Duration = Duration::from_secs(60);

/// How long a request waits for another one on the same upload, whose client may be gone.
const TURN: Duration = Duration::from_secs(10);

/// How many uploads keep their file open and their hash in memory between requests.
const OPEN_LIMIT: usize = 256;

/// How many uploads there may be at a time.
const UPLOAD_LIMIT: u64 = 10_000;

/// How long an upload that nobody finishes is kept.
const KEEP: i64 = 7 * 24 * 3600;

/// The uploads that are known to this process.
#[derive(Debug)]
pub(crate) struct Uploads {
    sessions: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Session>>>>,
    /// The largest blob that is taken.
    limit: u64,
}

/// One upload between and during requests.
#[derive(Debug, Default)]
struct Session {
    /// The file and the hash of what is in it; `None`: to be made from the file.
    writer: Option<HashWriter<File>>,
    /// How much is in the file.
    size: u64,
    /// Whether it has become a blob or was given up.
    is_over: bool,
}

type Turn = OwnedMutexGuard<Session>;

impl Uploads {
    /// Returns no uploads; blobs may have `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            sessions: Mutex::default(),
            limit,
        }
    }

    /// Returns the largest blob that is taken.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Waits until no other request works on the upload.
    async fn turn(&self, id: &str) -> Result<Turn, Fault> {
        let session = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(sessions.entry(id.to_owned()).or_default())
        };
        let turn = tokio::time::timeout(TURN, session.lock_owned())
            .await
            .map_err(|_elapsed| {
                Fault::because(Code::BlobUploadInvalid, "another request sends to this upload")
                    .status(StatusCode::CONFLICT)
            })?;
        if turn.is_over {
            return Err(Fault::new(Code::BlobUploadUnknown));
        }
        Ok(turn)
    }

    fn forget(&self, id: &str) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.remove(id);
    }

    /// Gives up what must not be kept open between requests.
    fn rest(&self, turn: &mut Turn) {
        let count = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).len();
        if count > OPEN_LIMIT {
            turn.writer = None;
        }
    }
}

/// `POST /v2/<name>/blobs/uploads/`: begins an upload, mounts a blob, or takes a whole one.
pub(crate) async fn begin(call: Call, name: String) -> Result<Response<Body>, Fault> {
    if let Some(digest) = call.query.get("mount") {
        let digest = route::digest(digest)?;
        if let Some(from) = call.query.get("from")
            && let Ok(from) = route::repository_name(from)
            && call.may_mount
            && let Some(response) = mount(&call, &name, &from, digest).await?
        {
            return Ok(response);
        }
    }
    let digest = call.query.get("digest").map(route::digest).transpose()?;
    let id = {
        let name = name.clone();
        call.shared
            .blocking(move |shared| start(&shared.store, &name))
            .await?
    };
    let Some(digest) = digest else {
        let mut response = status(StatusCode::ACCEPTED, &name, &id, 0);
        response.headers_mut().insert(CONTENT_LENGTH, 0.into());
        return Ok(response);
    };
    let taken = finish(call, &name, &id, &digest).await;
    if let Err((shared, fault)) = taken {
        // Nobody knows its id.
        drop(give_up(&shared, &id).await);
        return Err(fault);
    }
    Ok(created(&name, &digest))
}

async fn mount(call: &Call, name: &str, from: &str, digest: Digest) -> Result<Option<Response<Body>>, Fault> {
    let (to, source, wanted) = (name.to_owned(), from.to_owned(), digest.clone());
    let mounted = call
        .shared
        .blocking(move |shared| {
            let store = &shared.store;
            if store.rows.mount(&source, &to, wanted.as_str(), now())?.is_none() {
                return Ok(false);
            }
            // The row keeps the file, if it was there when the row came.
            Ok(store.file_size(&wanted).is_some())
        })
        .await?;
    if !mounted {
        return Ok(None);
    }
    call.shared
        .log
        .line(format_args!("mounted blob {digest} from {from} in {name}"));
    Ok(Some(created(name, &digest)))
}

/// Makes an upload and returns its id.
fn start(store: &Store, name: &str) -> Result<String, Fault> {
    if store.rows.upload_count()? >= UPLOAD_LIMIT {
        return Err(busy("too many uploads have begun"));
    }
    let id = base::id::random_hex::<16>()
        .map_err(|error| Fault::internal_text(format!("name an upload: {error}")))?;
    base::file::create_new(&store.upload_path(&id), 0o600)?;
    failpoint::reached("upload.file");
    store.rows.begin_upload(&UploadRow {
        id: id.clone(),
        repository: name.to_owned(),
        since: now(),
    })?;
    failpoint::reached("upload.begun");
    Ok(id)
}

fn busy(reason: &str) -> Fault {
    Fault::because(Code::TooManyRequests, reason).header(RETRY_AFTER, "1")
}

/// `GET`: how much was received.
pub(crate) async fn show(call: Call, name: String, id: String) -> Result<Response<Body>, Fault> {
    let turn = join(&call.shared, &name, &id).await?;
    Ok(status(StatusCode::NO_CONTENT, &name, &id, turn.size))
}

/// `PATCH`: takes a chunk, or all of the blob.
pub(crate) async fn append(call: Call, name: String, id: String) -> Result<Response<Body>, Fault> {
    let Call {
        shared,
        headers,
        body,
        ..
    } = call;
    let mut turn = join(&shared, &name, &id).await?;
    let announced = announced(&headers, &turn, &name, &id)?;
    receive(&shared, &mut turn, &id, body, announced).await?;
    shared.uploads.rest(&mut turn);
    let mut response = status(StatusCode::ACCEPTED, &name, &id, turn.size);
    response.headers_mut().insert(CONTENT_LENGTH, 0.into());
    Ok(response)
}

/// `PUT`: takes the last chunk, if there is one, and makes the upload a blob.
pub(crate) async fn complete(call: Call, name: String, id: String) -> Result<Response<Body>, Fault> {
    let Some(digest) = call.query.get("digest") else {
        return Err(Fault::because(
            Code::DigestInvalid,
            "the parameter \"digest\" is missing",
        ));
    };
    let digest = route::digest(digest)?;
    finish(call, &name, &id, &digest)
        .await
        .map_err(|(_, fault)| fault)?;
    Ok(created(&name, &digest))
}

/// `DELETE`: forgets an upload.
pub(crate) async fn cancel(call: Call, name: String, id: String) -> Result<Response<Body>, Fault> {
    drop(join(&call.shared, &name, &id).await?);
    give_up(&call.shared, &id).await?;
    call.shared
        .log
        .line(format_args!("gave up upload {id} in {name}"));
    Ok(reply::empty(StatusCode::NO_CONTENT))
}

async fn give_up(shared: &Arc<Shared>, id: &str) -> Result<(), Fault> {
    let mut turn = shared.uploads.turn(id).await?;
    turn.is_over = true;
    turn.writer = None;
    shared.uploads.forget(id);
    let id = id.to_owned();
    shared
        .blocking(move |shared| {
            shared.store.rows.end_upload(&id)?;
            remove_file(&shared.store, &id)
        })
        .await
}

fn remove_file(store: &Store, id: &str) -> Result<(), Fault> {
    let path = store.upload_path(id);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new("remove", &path, error).into())
        }
        _ => Ok(()),
    }
}

/// Waits for one's turn on an upload of that repository, with its size known.
async fn join(shared: &Arc<Shared>, name: &str, id: &str) -> Result<Turn, Fault> {
    let known = {
        let (name, id) = (name.to_owned(), id.to_owned());
        shared
            .blocking(move |shared| {
                let row = shared.store.rows.upload(&id)?;
                // Another repository's upload is none of this one's.
                Ok(row.is_some_and(|row| row.repository == name))
            })
            .await?
    };
    if !known {
        return Err(Fault::new(Code::BlobUploadUnknown));
    }
    let mut turn = shared.uploads.turn(id).await?;
    if turn.writer.is_none() {
        let path = shared.store.upload_path(id);
        turn.size = blocking(move || match std::fs::metadata(&path) {
            Ok(file) => Ok(file.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Fault::new(Code::BlobUploadUnknown))
            }
            Err(error) => Err(FileError::new("look at", &path, error).into()),
        })
        .await
        .inspect_err(|_| shared.uploads.forget(id))?;
    }
    Ok(turn)
}

/// Returns how many bytes the headers promise, if they do; refuses a chunk that does not begin where the last ended.
fn announced(headers: &HeaderMap, turn: &Turn, name: &str, id: &str) -> Result<Option<u64>, Fault> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    let Some(range) = headers.get(CONTENT_RANGE) else {
        return Ok(length);
    };
    let refused = || {
        Fault::new(Code::RangeInvalid)
            .header(LOCATION, &location(name, id))
            .header(RANGE, &received(turn.size))
            .header(UPLOAD_ID, id)
    };
    let chunk = range.to_str().ok().and_then(range::chunk);
    match chunk {
        Some((start, count)) if start == turn.size => match length {
            Some(length) if length != count => Err(Fault::because(
                Code::SizeInvalid,
                format!("the range has {count} bytes and the body {length}"),
            )),
            _ => Ok(Some(count)),
        },
        _ => Err(refused()),
    }
}

/// Appends a body to the upload. What came before a failure stays, unless it is more than was promised.
async fn receive(
    shared: &Arc<Shared>,
    turn: &mut Turn,
    id: &str,
    mut body: Incoming,
    announced: Option<u64>,
) -> Result<(), Fault> {
    let Ok(_slot) = shared.receiving.try_acquire() else {
        return Err(busy("too many uploads are being received"));
    };
    let start = turn.size;
    let too_large = |size: u64| size > shared.uploads.limit;
    let refuse_size = || {
        Fault::because(
            Code::SizeInvalid,
            format!("a blob may have {} bytes", shared.uploads.limit),
        )
        .status(StatusCode::PAYLOAD_TOO_LARGE)
    };
    if announced.is_some_and(|count| too_large(start.saturating_add(count))) {
        return Err(refuse_size());
    }
    let mut batch = Vec::new();
    let mut waiting = 0;
    loop {
        let frame = match tokio::time::timeout(IDLE, body.frame()).await {
            Ok(frame) => frame,
            Err(_elapsed) => {
                write(shared, turn, id, std::mem::take(&mut batch)).await?;
                return Err(Fault::because(Code::BlobUploadInvalid, "the client fell silent")
                    .status(StatusCode::REQUEST_TIMEOUT));
            }
        };
        match frame {
            Some(Ok(frame)) => {
                let Ok(bytes) = frame.into_data() else { continue };
                waiting += bytes.len();
                batch.push(bytes);
            }
            Some(Err(error)) => {
                write(shared, turn, id, std::mem::take(&mut batch)).await?;
                return Err(Fault::because(
                    Code::BlobUploadInvalid,
                    format!("the body ended early: {error}"),
                ));
            }
            None => break,
        }
        let count = u64::try_from(waiting).unwrap_or(u64::MAX);
        let size = turn.size.saturating_add(count);
        if too_large(size) {
            return Err(refuse_size());
        }
        if announced.is_some_and(|announced| size - start > announced) {
            break;
        }
        if waiting >= BATCH {
            write(shared, turn, id, std::mem::take(&mut batch)).await?;
            waiting = 0;
        }
    }
    let came = turn.size - start + u64::try_from(waiting).unwrap_or(u64::MAX);
    if announced.is_some_and(|announced| announced != came) {
        cut(shared, turn, id, start).await?;
        return Err(Fault::because(
            Code::SizeInvalid,
            "the body does not have the length that was announced",
        ));
    }
    write(shared, turn, id, batch).await?;
    failpoint::reached("upload.received");
    Ok(())
}

/// Writes and hashes what has come.
async fn write(shared: &Arc<Shared>, turn: &mut Turn, id: &str, batch: Vec<Bytes>) -> Result<(), Fault> {
    if batch.is_empty() {
        return Ok(());
    }
    let writer = turn.writer.take();
    let (store, id) = (Arc::clone(&shared.store), id.to_owned());
    let (writer, count) = blocking(move || {
        let mut writer = match writer {
            Some(writer) => writer,
            None => open(&store, &id)?,
        };
        let mut count = 0;
        for bytes in batch {
            writer
                .write_all(&bytes)
                .map_err(|error| FileError::new("write", &store.upload_path(&id), error))?;
            count += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        }
        Ok((writer, count))
    })
    .await?;
    turn.writer = Some(writer);
    turn.size += count;
    Ok(())
}

/// Opens an upload's file and hashes what is in it.
fn open(store: &Store, id: &str) -> Result<HashWriter<File>, Fault> {
    let path = store.upload_path(id);
    let failed = |doing| {
        let path = path.clone();
        move |error| Fault::from(FileError::new(doing, &path, error))
    };
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(failed("open"))?;
    let mut hash = HashWriter::new(std::io::sink());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut buffer).map_err(failed("read"))?;
        if count == 0 {
            break;
        }
        hash.write_all(&buffer[..count]).map_err(failed("hash"))?;
    }
    file.seek(std::io::SeekFrom::End(0)).map_err(failed("seek in"))?;
    Ok(hash.with_inner(file))
}

/// Takes back what came since the upload had `size` bytes.
async fn cut(shared: &Arc<Shared>, turn: &mut Turn, id: &str, size: u64) -> Result<(), Fault> {
    turn.writer = None;
    let path = shared.store.upload_path(id);
    blocking(move || {
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(size))
            .map_err(|error| FileError::new("shorten", &path, error).into())
    })
    .await?;
    turn.size = size;
    Ok(())
}

/// Takes the rest of a blob, checks it and makes it one of the repository's.
async fn finish(call: Call, name: &str, id: &str, digest: &Digest) -> Result<(), (Arc<Shared>, Fault)> {
    let Call {
        shared,
        headers,
        body,
        ..
    } = call;
    let done = async {
        let mut turn = join(&shared, name, id).await?;
        let announced = announced(&headers, &turn, name, id)?;
        receive(&shared, &mut turn, id, body, announced).await?;
        let (writer, size) = (turn.writer.take(), turn.size);
        let (store, name_of, id_of, wanted) = (
            Arc::clone(&shared.store),
            name.to_owned(),
            id.to_owned(),
            digest.clone(),
        );
        let stored = blocking(move || {
            let writer = match writer {
                Some(writer) => writer,
                None => open(&store, &id_of)?,
            };
            store_blob(&store, writer, &name_of, &id_of, &wanted)
        })
        .await;
        match stored {
            Ok(()) => turn.is_over = true,
            // What is wrong stays wrong, whatever is appended.
            Err(fault) if fault.status == StatusCode::BAD_REQUEST => {
                drop(turn);
                drop(give_up(&shared, id).await);
                return Err(fault);
            }
            Err(fault) => return Err(fault),
        }
        shared.uploads.forget(id);
        shared
            .log
            .line(format_args!("stored blob {digest} size={size} in {name}"));
        Ok(())
    };
    done.await.map_err(|fault| (Arc::clone(&shared), fault))
}

/// Makes an upload's file a blob of the repository, if it is what it should be.
fn store_blob(
    store: &Store,
    writer: HashWriter<File>,
    name: &str,
    id: &str,
    wanted: &Digest,
) -> Result<(), Fault> {
    let path = store.upload_path(id);
    let (file, digest, size) = writer.finish();
    if digest != *wanted {
        return Err(Fault::because(
            Code::DigestInvalid,
            format!("the content is {digest}"),
        ));
    }
    failpoint::reached("upload.verified");
    file.sync_all()
        .map_err(|error| FileError::new("sync", &path, error))?;
    failpoint::reached("upload.synced");
    store
        .rows
        .add_blob(name, digest.as_str(), size, Some(id), now())?;
    failpoint::reached("upload.recorded");
    show_blob(store, &path, &digest)?;
    failpoint::reached("upload.shown");
    Ok(())
}

/// Gives a verified and synced file its name among the blobs. A file that is there already is replaced: it may be
/// damaged, and this one is not.
pub(crate) fn show_blob(store: &Store, path: &std::path::Path, digest: &Digest) -> Result<(), Fault> {
    let place = store.content.blob_path(digest)?;
    std::fs::rename(path, &place).map_err(|error| FileError::new("rename", path, error))?;
    base::file::sync_parent(&place)?;
    Ok(())
}

fn created(name: &str, digest: &Digest) -> Response<Body> {
    let mut response = reply::empty(StatusCode::CREATED);
    reply::set(&mut response, LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    reply::set(&mut response, CONTENT_DIGEST, digest.as_str());
    response.headers_mut().insert(CONTENT_LENGTH, 0.into());
    response
}

fn status(status: StatusCode, name: &str, id: &str, size: u64) -> Response<Body> {
    let mut response = reply::empty(status);
    reply::set(&mut response, LOCATION, &location(name, id));
    reply::set(&mut response, RANGE, &received(size));
    reply::set(&mut response, UPLOAD_ID, id);
    response
}

fn location(name: &str, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// The range that was received, both ends inclusive; nothing at all is written as `0-0`, as it always was.
fn received(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// Removes uploads that nobody has sent to for a week, and with `is_start`, before anything is served, files that no
/// row names.
pub(crate) fn sweep(store: &Store, uploads: &Uploads, is_start: bool) -> Result<usize, Fault> {
    let oldest = now() - KEEP;
    let mut removed = 0;
    for row in store.rows.uploads(oldest)? {
        let path = store.upload_path(&row.id);
        let touched = std::fs::metadata(&path)
            .and_then(|file| file.modified())
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .and_then(|since| i64::try_from(since.as_secs()).ok());
        if touched.is_none_or(|touched| touched < oldest) {
            uploads.forget(&row.id);
            store.rows.end_upload(&row.id)?;
            remove_file(store, &row.id)?;
            removed += 1;
        }
    }
    if is_start {
        let failed = |error| FileError::new("list", &store.uploads, error);
        for entry in std::fs::read_dir(&store.uploads).map_err(failed)? {
            let Ok(id) = entry.map_err(failed)?.file_name().into_string() else {
                continue;
            };
            if store.rows.upload(&id)?.is_none() {
                remove_file(store, &id)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}
