//! Uploads: in one piece, in pieces, resumed after a cut, or not at all because another repository has the blob.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use oci::Digest;

use super::endpoint::{Body, Target, Want};
use super::origin::{encode, join, shown};
use super::transport::Answer;
use super::{RegistryError, Repository, header};

/// Blobs up to this size go in the request that ends the upload. A larger one is sent first and then named, so that a
/// registry can keep what came before a cut.
const ONE_PIECE: u64 = 4 << 20;

/// Bytes to send.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// A blob that can be read again from any position, since an upload may have to go on after a cut.
pub trait BlobSource: Send + Sync {
    /// Returns the bytes from `offset` to the end.
    fn open(&self, offset: u64) -> std::io::Result<ByteStream>;
}

/// What became of the wish to mount a blob.
#[derive(Debug)]
pub enum Mount {
    /// The repository has the blob now.
    Mounted,
    /// It has not; this upload was begun instead.
    Started(Upload),
}

/// A begun upload.
#[derive(Debug)]
pub struct Upload {
    repository: Repository,
    location: Uri,
    offset: u64,
}

impl Upload {
    /// Returns how many bytes the registry has accepted so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Sends all bytes of `stream` as one piece, of `length` bytes if that is known, as they come.
    ///
    /// After a temporary error [`Self::resume`] tells from where to go on. If the registry took a part only, that is
    /// [`RegistryError::Interrupted`], and [`Self::offset`] tells which.
    pub async fn send(&mut self, stream: ByteStream, length: Option<u64>) -> Result<(), RegistryError> {
        let sent = Arc::new(AtomicU64::new(0));
        let mut headers = octets();
        if let Some(length) = length.filter(|length| *length > 0 && self.offset > 0) {
            let last = self.offset.saturating_add(length) - 1;
            if let Ok(range) = HeaderValue::from_str(&format!("{}-{last}", self.offset)) {
                headers.insert(CONTENT_RANGE, range);
            }
        }
        let want = Want {
            method: Method::PATCH,
            target: Target::Url(&self.location),
            headers,
            body: Body::Stream(counted(stream, &sent), length),
        };
        let good = [StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::CREATED];
        let answer = self.repository.registry().expect(want, &good).await?;
        let expected = self.offset.saturating_add(sent.load(Ordering::Relaxed));
        self.move_on(&answer)?;
        self.offset = header::upload_offset(&answer.headers).unwrap_or(expected);
        // "0-0" is what is said of one byte, too.
        if self.offset == 0 && expected == 1 {
            self.offset = 1;
        }
        if self.offset != expected {
            let part = std::io::Error::other(format!("the registry has {} of {expected} bytes", self.offset));
            return Err(answer.failed().interrupted(self.offset, part));
        }
        answer.discard().await;
        Ok(())
    }

    /// Asks the registry how many bytes it has, which may be less or more than it last confirmed.
    pub async fn resume(&mut self) -> Result<u64, RegistryError> {
        let want = Want {
            target: Target::Url(&self.location),
            ..Want::get("")
        };
        let good = [StatusCode::NO_CONTENT, StatusCode::OK, StatusCode::ACCEPTED];
        let answer = self.repository.registry().expect(want, &good).await?;
        self.move_on(&answer)?;
        self.offset = header::upload_offset(&answer.headers).unwrap_or(0);
        answer.discard().await;
        Ok(self.offset)
    }

    /// Ends the upload: the bytes sent so far are the blob `digest`, which the registry checks.
    pub async fn finish(self, digest: &Digest) -> Result<(), RegistryError> {
        self.put(digest, Body::None).await
    }

    /// Gives the upload up.
    pub async fn cancel(self) -> Result<(), RegistryError> {
        let want = Want {
            target: Target::Url(&self.location),
            ..Want::new(Method::DELETE, "")
        };
        let good = [
            StatusCode::NO_CONTENT,
            StatusCode::OK,
            StatusCode::ACCEPTED,
            StatusCode::NOT_FOUND,
        ];
        self.repository.registry().expect(want, &good).await.map(drop)
    }

    async fn put(&self, digest: &Digest, body: Body) -> Result<(), RegistryError> {
        let join = if self.location.query().is_some() { '&' } else { '?' };
        let text = format!("{}{join}digest={}", self.location, encode(digest.as_str()));
        let uri: Uri = text.parse().map_err(|_invalid| self.unusable())?;
        let mut headers = octets();
        if matches!(body, Body::None) {
            headers.insert(CONTENT_LENGTH, 0.into());
        }
        let want = Want {
            method: Method::PUT,
            target: Target::Url(&uri),
            headers,
            body,
        };
        let good = [StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT];
        let answer = self.repository.registry().expect(want, &good).await?;
        answer.discard().await;
        Ok(())
    }

    /// Takes the place where the upload goes on.
    fn move_on(&mut self, answer: &Answer) -> Result<(), RegistryError> {
        if let Some(location) = header::text(&answer.headers, LOCATION) {
            self.location = join(&answer.uri, location).ok_or_else(|| self.unusable())?;
        }
        Ok(())
    }

    fn unusable(&self) -> RegistryError {
        RegistryError::Protocol {
            method: "Patch".to_owned(),
            url: shown(&self.location),
            problem: "the registry gives no usable location for the upload".to_owned(),
        }
    }
}

impl Repository {
    /// Begins an upload of a blob whose digest or size need not be known yet.
    pub async fn start_upload(&self) -> Result<Upload, RegistryError> {
        let path = self.uploads_path();
        let answer = self.begin(&path, &[StatusCode::ACCEPTED]).await?;
        self.started(answer).await
    }

    /// Asks the registry to take the blob from its repository `from` (a path, as `library/debian`).
    ///
    /// The tokens must allow pulling from there ([`Self::mounting_from`]), or the registry just begins an upload.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<Mount, RegistryError> {
        let path = format!(
            "{}?mount={}&from={}",
            self.uploads_path(),
            encode(digest.as_str()),
            encode(from)
        );
        let answer = self
            .begin(&path, &[StatusCode::CREATED, StatusCode::ACCEPTED])
            .await?;
        if answer.status == StatusCode::CREATED {
            answer.discard().await;
            return Ok(Mount::Mounted);
        }
        self.started(answer).await.map(Mount::Started)
    }

    /// Uploads a blob of known digest and size, resuming where it is cut, or from its beginning where the registry
    /// does not keep what came.
    ///
    /// `started` is an upload that [`Self::mount`] began.
    pub async fn upload(
        &self,
        digest: &Digest,
        size: u64,
        source: &dyn BlobSource,
        started: Option<Upload>,
    ) -> Result<(), RegistryError> {
        let timeouts = self.registry().timeouts();
        let mut back_off = timeouts.back_off;
        let mut upload = match started {
            Some(upload) => upload,
            None => self.start_upload().await?,
        };
        for attempt in 1.. {
            let error = match upload.send_rest(digest, size, source).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if attempt >= timeouts.attempts || !(error.is_temporary() || error.status() == Some(416)) {
                return Err(error);
            }
            tracing::debug!(%digest, attempt, error = %base::error::chain(&error), "upload was cut");
            tokio::time::sleep(back_off).await;
            back_off = back_off.saturating_mul(2);
            // The cut may have come after the end of it.
            if self.has_blob(digest).await?.is_some() {
                return Ok(());
            }
            if !matches!(upload.resume().await, Ok(offset) if offset <= size) {
                upload = self.start_upload().await?;
            }
        }
        unreachable!("the loop has no end")
    }

    async fn begin(&self, path: &str, good: &[StatusCode]) -> Result<Answer, RegistryError> {
        let mut want = Want::new(Method::POST, path);
        want.headers.insert(CONTENT_LENGTH, 0.into());
        self.registry().expect(want, good).await
    }

    async fn started(&self, answer: Answer) -> Result<Upload, RegistryError> {
        let location =
            header::text(&answer.headers, LOCATION).and_then(|location| join(&answer.uri, location));
        let Some(location) = location else {
            return Err(answer
                .failed()
                .protocol("an upload begins without a usable location"));
        };
        answer.discard().await;
        Ok(Upload {
            repository: self.clone(),
            location,
            offset: 0,
        })
    }

    fn uploads_path(&self) -> String {
        format!("/v2/{}/blobs/uploads/", self.path())
    }
}

impl Upload {
    /// Sends what the registry has not yet, and ends the upload.
    async fn send_rest(
        &mut self,
        digest: &Digest,
        size: u64,
        source: &dyn BlobSource,
    ) -> Result<(), RegistryError> {
        let open = |upload: &Self| {
            source
                .open(upload.offset)
                .map_err(|source| RegistryError::Source {
                    url: shown(&upload.location),
                    source: Box::new(source),
                })
        };
        let left = size.saturating_sub(self.offset);
        if self.offset == 0 && left <= ONE_PIECE {
            let stream = open(self)?;
            return self.put(digest, Body::Stream(stream, Some(left))).await;
        }
        if left > 0 {
            let stream = open(self)?;
            self.send(stream, Some(left)).await?;
        }
        self.put(digest, Body::None).await
    }
}

fn octets() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers
}

fn counted(stream: ByteStream, sent: &Arc<AtomicU64>) -> ByteStream {
    let sent = Arc::clone(sent);
    Box::pin(stream.inspect(move |piece| {
        if let Ok(bytes) = piece {
            sent.fetch_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }))
}
