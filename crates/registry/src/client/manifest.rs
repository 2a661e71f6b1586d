//! Manifests: fetched with their exact bytes, checked, stored, removed.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use oci::{Digest, media_type};
use serde::Deserialize;
use sha2::{Digest as _, Sha512};

use super::endpoint::{Body, Endpoint, Want};
use super::error::error_of;
use super::origin::shown;
use super::repository::note_mirror;
use super::transport::Answer;
use super::{RegistryError, Repository, header};

/// Largest manifest, in bytes: what the specification asks registries to accept (OCI distribution 1.1).
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// What is understood, best first.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";
const DIGEST_HEADER: &str = "docker-content-digest";

/// Which manifest: by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// What a tag points to now.
    Tag(String),
    /// Exactly this one.
    Digest(Digest),
}

/// A manifest or index with its exact bytes.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The bytes as the registry sent them: at most 4 MiB, and they have the digest.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
    /// One of `oci::media_type`'s manifests or indexes.
    pub media_type: String,
}

/// What a registry says of a manifest without sending it.
#[derive(Clone, Debug)]
pub struct ManifestHead {
    /// The digest; not checked, since the bytes were not seen.
    pub digest: Digest,
    /// The media type.
    pub media_type: String,
    /// The size in bytes.
    pub size: u64,
}

/// The fields that tell what a document is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
}

impl Repository {
    /// Returns a manifest or an index. Schema 1 and what is neither is refused.
    pub async fn manifest(&self, target: &Target) -> Result<Fetched, RegistryError> {
        for mirror in self.mirrors() {
            match self.manifest_of(mirror, target).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) => note_mirror(mirror, &error),
            }
        }
        self.manifest_of(self.registry(), target)
            .await
            .map_err(|error| self.in_dockers_words(error, target))
    }

    /// Returns what the registry says of a manifest, `None` if there is none.
    pub async fn head_manifest(&self, target: &Target) -> Result<Option<ManifestHead>, RegistryError> {
        let path = self.manifest_path(target)?;
        let want = || Want {
            headers: accepting(),
            ..Want::new(Method::HEAD, &path)
        };
        let answer = match self.read(want, &[StatusCode::OK]).await {
            Ok(answer) => answer,
            Err(error) if error.status() == Some(404) => return Ok(None),
            Err(error) => return Err(self.in_dockers_words(error, target)),
        };
        let digest = stated_digest(&answer)?;
        let kind = header::media_type(&answer.headers);
        let (Some(digest), Some(media_type), Some(size)) =
            (digest, kind, header::content_length(&answer.headers))
        else {
            // A registry may leave all of it out of an answer to HEAD: then the manifest itself tells.
            let fetched = self.manifest(target).await?;
            return Ok(Some(ManifestHead {
                size: u64::try_from(fetched.bytes.len()).unwrap_or(u64::MAX),
                digest: fetched.digest,
                media_type: fetched.media_type,
            }));
        };
        if let Target::Digest(wanted) = target
            && *wanted != digest
        {
            return Err(wrong_digest(&answer, wanted.clone(), digest));
        }
        Ok(Some(ManifestHead {
            digest,
            media_type,
            size,
        }))
    }

    /// Stores a manifest and returns its digest, which is that of `bytes`.
    pub async fn put_manifest(
        &self,
        target: &Target,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<Digest, RegistryError> {
        let digest = match target {
            Target::Tag(_) => Digest::sha256(&bytes),
            Target::Digest(wanted) => digest_like(wanted, &bytes)?,
        };
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_MANIFEST {
            return Err(RegistryError::TooLarge {
                url: self.inner_name(target),
                what: "manifest",
                limit: format!("{MAX_MANIFEST} bytes"),
            });
        }
        let path = self.manifest_path(target)?;
        let mut want = Want::new(Method::PUT, &path);
        let kind = HeaderValue::from_str(media_type).map_err(|_invalid| RegistryError::MediaType {
            reference: self.inner_name(target),
            media_type: media_type.escape_default().take(200).collect(),
            hint: "",
        })?;
        want.headers.insert(CONTENT_TYPE, kind);
        want.body = Body::Bytes(bytes);
        let good = [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED];
        let answer = self.registry().expect(want, &good).await?;
        match stated_digest(&answer)? {
            Some(stated) if stated.algorithm() == digest.algorithm() && stated != digest => {
                Err(wrong_digest(&answer, digest, stated))
            }
            _ => {
                answer.discard().await;
                Ok(digest)
            }
        }
    }

    /// Removes a manifest.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), RegistryError> {
        let target = Target::Digest(digest.clone());
        let path = self.manifest_path(&target)?;
        let want = Want::new(Method::DELETE, &path);
        let good = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        let outcome = self.registry().expect(want, &good).await;
        outcome
            .map(drop)
            .map_err(|error| self.in_dockers_words(error, &target))
    }

    async fn manifest_of(&self, endpoint: &Endpoint, target: &Target) -> Result<Fetched, RegistryError> {
        let path = self.manifest_path(target)?;
        let want = Want {
            headers: accepting(),
            ..Want::get(&path)
        };
        let mut answer = endpoint.request(want).await?;
        if answer.status != StatusCode::OK {
            return Err(error_of(answer).await);
        }
        let stated = stated_digest(&answer)?;
        let bytes = answer.bytes(MAX_MANIFEST, "manifest").await?;
        // Whoever asked for a digest gets that one; a tag's digest is what its bytes have, and what the registry says
        // it is must agree.
        for wanted in [matches_digest(target), stated.as_ref()].into_iter().flatten() {
            let found = digest_like(wanted, &bytes)?;
            if found != *wanted {
                return Err(wrong_digest(&answer, wanted.clone(), found));
            }
        }
        let digest = matches_digest(target).or(stated.as_ref()).cloned();
        let media_type = self.kind_of(&answer, &bytes, target)?;
        Ok(Fetched {
            digest: digest.unwrap_or_else(|| Digest::sha256(&bytes)),
            bytes,
            media_type,
        })
    }

    /// Returns the media type of a document, which has exactly one reading.
    fn kind_of(&self, answer: &Answer, bytes: &[u8], target: &Target) -> Result<String, RegistryError> {
        let refuse = |media_type: &str, hint: &'static str| RegistryError::MediaType {
            reference: self.inner_name(target),
            media_type: media_type.escape_default().take(200).collect(),
            hint,
        };
        let header = header::media_type(&answer.headers).unwrap_or_default();
        let schema_1 =
            ": the image has the manifest format schema 1, which must be pushed again as schema 2 or OCI";
        if header.starts_with("application/vnd.docker.distribution.manifest.v1+") {
            return Err(refuse(&header, schema_1));
        }
        // The parser would take a list of the fields' values too.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(answer.failed().protocol("the manifest is no JSON object"));
        }
        let outline: Outline = serde_json::from_slice(bytes).map_err(|error| {
            answer
                .failed()
                .protocol(format!("the manifest is not understood: {error}"))
        })?;
        if outline.schema_version == Some(1) {
            return Err(refuse(&header, schema_1));
        }
        let known = |kind: &str| media_type::is_manifest(kind) || media_type::is_index(kind);
        let kind = match (known(&header), outline.media_type) {
            (true, Some(own)) if own != header => {
                return Err(refuse(
                    &header,
                    ", and the document says that it is something else",
                ));
            }
            (true, _) => header,
            // Registries of static files send a general type.
            (false, Some(own)) if known(&own) => own,
            (false, _) => return Err(refuse(&header, "")),
        };
        let is_index = media_type::is_index(&kind);
        let has_other = if is_index {
            outline.layers.is_some() || outline.config.is_some()
        } else {
            outline.manifests.is_some()
        };
        if has_other || outline.schema_version != Some(2) {
            return Err(refuse(
                &kind,
                ": the document is a manifest and an index at once, or of an unknown version",
            ));
        }
        Ok(kind)
    }

    /// Returns the path of a manifest; refuses a tag that is none, which could be another path.
    fn manifest_path(&self, target: &Target) -> Result<String, RegistryError> {
        if let Target::Tag(tag) = target {
            self.reference()
                .with_tag(tag)
                .map_err(|error| RegistryError::Config {
                    problem: error.to_string(),
                })?;
        }
        Ok(format!("/v2/{}/manifests/{target}", self.path()))
    }

    /// Returns the reference with `target`, as docker prints it.
    fn inner_name(&self, target: &Target) -> String {
        let name = self.reference().familiar_name();
        match target {
            Target::Tag(tag) => format!("{name}:{tag}"),
            Target::Digest(digest) => format!("{name}@{digest}"),
        }
    }

    /// Wraps a registry's error in what docker says around it.
    pub(crate) fn in_dockers_words(&self, error: RegistryError, target: &Target) -> RegistryError {
        let name = self.reference().familiar_name();
        let code = match &error {
            RegistryError::Answer { errors, .. } => errors.first().map(|first| first.code.clone()),
            RegistryError::Status { status: 404, .. } => Some("MANIFEST_UNKNOWN".to_owned()),
            _ => None,
        };
        let source = Box::new(error);
        match code.as_deref() {
            Some("DENIED") => RegistryError::AccessDenied { name, source },
            Some("MANIFEST_UNKNOWN" | "NOT_FOUND") => RegistryError::ManifestUnknown {
                reference: self.inner_name(target),
                source,
            },
            Some("NAME_UNKNOWN") => RegistryError::NameUnknown { name, source },
            _ => *source,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => formatter.write_str(tag),
            Self::Digest(digest) => formatter.write_str(digest.as_str()),
        }
    }
}

fn accepting() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
    headers
}

fn matches_digest(target: &Target) -> Option<&Digest> {
    match target {
        Target::Tag(_) => None,
        Target::Digest(digest) => Some(digest),
    }
}

/// Returns `Docker-Content-Digest`, which must be a digest if it is there.
fn stated_digest(answer: &Answer) -> Result<Option<Digest>, RegistryError> {
    let Some(text) = header::text(&answer.headers, DIGEST_HEADER) else {
        return Ok(None);
    };
    let parsed = text.parse().map(Some);
    parsed.map_err(|error: oci::digest::ParseDigestError| answer.failed().protocol(error.to_string()))
}

/// Returns the digest of `bytes` with the algorithm of `wanted`.
pub(crate) fn digest_like(wanted: &Digest, bytes: &[u8]) -> Result<Digest, RegistryError> {
    let config = |error: oci::digest::ParseDigestError| RegistryError::Config {
        problem: error.to_string(),
    };
    match wanted.algorithm() {
        "sha512" => format!("sha512:{}", base::id::hex(&Sha512::digest(bytes)))
            .parse()
            .map_err(config),
        _ => Ok(Digest::sha256(bytes)),
    }
}

pub(crate) fn wrong_digest(answer: &Answer, wanted: Digest, found: Digest) -> RegistryError {
    RegistryError::WrongDigest {
        url: shown(&answer.uri),
        wanted,
        found,
    }
}
