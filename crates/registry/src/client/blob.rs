//! Blobs, whole or in part.

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use oci::Digest;

use super::endpoint::Want;
use super::manifest::{digest_like, wrong_digest};
use super::transport::Answer;
use super::{RegistryError, Repository, header};

/// Which bytes of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobRange {
    /// The first byte.
    pub offset: u64,
    /// How many, at least one; `None` up to the end.
    pub length: Option<u64>,
}

impl BlobRange {
    /// The whole blob.
    pub const WHOLE: Self = Self {
        offset: 0,
        length: None,
    };

    /// Everything from `offset` on.
    pub fn from(offset: u64) -> Self {
        Self { offset, length: None }
    }
}

/// The bytes of a blob as they arrive. They are not hashed here: the caller does so while storing them.
///
/// The length that the registry announced is enforced: a body that ends early is [`RegistryError::Interrupted`], one
/// that stalls is [`RegistryError::Stalled`]; after either the rest may be asked for from where it stopped.
#[derive(Debug)]
pub struct BlobBody {
    offset: u64,
    length: Option<u64>,
    total: Option<u64>,
    taken: u64,
    has_ranges: bool,
    answer: Answer,
}

impl BlobBody {
    /// Returns the position of the first byte in the blob: what was asked for, or 0 where a registry without ranges
    /// sends the whole blob. The caller must look.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes of this body, if the registry says it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Returns the size of the whole blob, if the registry says it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// Returns whether other parts of the blob can be asked for at the same time.
    pub fn has_ranges(&self) -> bool {
        self.has_ranges
    }

    /// Returns the next bytes (never empty), `None` after the last.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        let Some(bytes) = self.answer.chunk().await? else {
            return match self.length {
                Some(length) if self.taken < length => {
                    let early = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                    Err(self.answer.failed().interrupted(self.taken, early))
                }
                _ => Ok(None),
            };
        };
        self.taken = self
            .taken
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.length.is_some_and(|length| self.taken > length) {
            return Err(self.answer.failed().protocol("the body is longer than announced"));
        }
        Ok(Some(bytes))
    }
}

impl Repository {
    /// Opens a blob, or a part of it. Ranges are answered with at most what was asked for.
    pub async fn blob(&self, digest: &Digest, range: BlobRange) -> Result<BlobBody, RegistryError> {
        let path = self.blob_path(digest);
        let mut headers = HeaderMap::new();
        // A compressed transfer would not have the length and the ranges of the blob.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if range != BlobRange::WHOLE {
            let last = range
                .length
                .map(|length| range.offset.saturating_add(length.max(1)) - 1);
            let text = format!(
                "bytes={}-{}",
                range.offset,
                last.map(|last| last.to_string()).unwrap_or_default()
            );
            let value = HeaderValue::from_str(&text).map_err(|_invalid| RegistryError::Config {
                problem: "invalid range".to_owned(),
            })?;
            headers.insert(RANGE, value);
        }
        let want = || Want {
            headers: headers.clone(),
            ..Want::get(&path)
        };
        let answer = self
            .read(want, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT])
            .await?;
        body_of(answer, range)
    }

    /// Returns a small blob, such as a configuration, of at most `limit` bytes; it has the digest.
    pub async fn blob_bytes(&self, digest: &Digest, limit: u64) -> Result<Bytes, RegistryError> {
        let mut answer = self.blob(digest, BlobRange::WHOLE).await?.answer;
        let bytes = answer.bytes(limit, "blob").await?;
        let found = digest_like(digest, &bytes)?;
        if found == *digest {
            Ok(bytes)
        } else {
            Err(wrong_digest(&answer, digest.clone(), found))
        }
    }

    /// Returns the size of a blob on the registry itself, `None` if the repository has none of this digest.
    pub async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let path = self.blob_path(digest);
        let want = Want::new(Method::HEAD, &path);
        let answer = match self.registry().expect(want, &[StatusCode::OK]).await {
            Ok(answer) => answer,
            Err(error) if error.status() == Some(404) => return Ok(None),
            Err(error) => return Err(error),
        };
        match header::content_length(&answer.headers) {
            Some(size) => Ok(Some(size)),
            None => Err(answer.failed().protocol("no size in the answer")),
        }
    }

    fn blob_path(&self, digest: &Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.path())
    }
}

/// Checks that the head of an answer fits what was asked for.
fn body_of(answer: Answer, range: BlobRange) -> Result<BlobBody, RegistryError> {
    let lie = |problem: &str| Err(answer.failed().protocol(problem));
    let encoding = header::text(&answer.headers, CONTENT_ENCODING).unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        return lie("the blob is sent in an encoding that was not asked for");
    }
    let announced = header::content_length(&answer.headers);
    if answer.status == StatusCode::OK {
        return Ok(BlobBody {
            offset: 0,
            length: announced,
            total: announced,
            taken: 0,
            has_ranges: header::text(&answer.headers, ACCEPT_RANGES)
                .is_some_and(|units| units.eq_ignore_ascii_case("bytes")),
            answer,
        });
    }
    let Some((first, last, total)) = header::content_range(&answer.headers) else {
        return lie("a part of a blob without a usable Content-Range");
    };
    let length = last - first + 1;
    let too_long = range.length.is_some_and(|wanted| length > wanted.max(1));
    if range == BlobRange::WHOLE
        || first != range.offset
        || too_long
        || announced.is_some_and(|announced| announced != length)
    {
        return lie("another part of the blob than was asked for");
    }
    Ok(BlobBody {
        offset: first,
        length: Some(length),
        total,
        taken: 0,
        has_ranges: true,
        answer,
    })
}
