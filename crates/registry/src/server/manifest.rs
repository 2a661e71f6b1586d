//! Manifests: `GET`, `HEAD`, `PUT` and `DELETE`.
//!
//! A manifest is recorded, and its tag moved, in one transaction that has seen that the repository has all that it
//! names; that the files are there and have the sizes that it says was looked at before. So a tag points at a
//! complete manifest or at the one before.

use bytes::Bytes;
use db::{Child, Put, Removal};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use http::{Response, StatusCode};
use oci::Digest;
use serde_json::json;

use super::blob;
use super::call::Call;
use super::document::{self, Document, MANIFEST_LIMIT};
use super::failpoint;
use super::fault::{Code, Fault};
use super::reply::{self, Body, CONTENT_DIGEST, SUBJECT};
use super::route::Reference;
use super::shared::Shared;
use super::store::{Store, now};

/// How long a manifest's file is kept before it is recorded, in seconds.
const LEASE: i64 = 3600;

/// A manifest with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) digest: Digest,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// `GET` and `HEAD`.
pub(crate) async fn get(call: Call, name: String, reference: Reference) -> Result<Response<Body>, Fault> {
    let manifest = match &call.shared.cache {
        Some(cache) => cache.manifest(&call.shared, &name, &reference).await?,
        None => {
            call.shared
                .blocking(move |shared| find(&shared.store, &name, &reference))
                .await?
        }
    };
    let Manifest {
        digest,
        media_type,
        bytes,
    } = manifest;
    let mut response = if blob::matches(&call.headers, IF_NONE_MATCH, &digest) {
        reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        reply::typed(StatusCode::OK, &media_type, bytes)
    };
    reply::set(&mut response, CONTENT_DIGEST, digest.as_str());
    reply::set(&mut response, ETAG, &format!("\"{digest}\""));
    Ok(response)
}

/// Returns a manifest that the repository has.
pub(crate) fn find(store: &Store, name: &str, reference: &Reference) -> Result<Manifest, Fault> {
    let unknown = || {
        let detail = match reference {
            Reference::Tag(tag) => json!({ "name": name, "tag": tag }),
            Reference::Digest(digest) => json!({ "name": name, "digest": digest.as_str() }),
        };
        Fault::with_detail(Code::ManifestUnknown, detail)
    };
    let digest = match reference {
        Reference::Tag(tag) => store.rows.tag(name, tag)?.ok_or_else(unknown)?.manifest,
        Reference::Digest(digest) => digest.to_string(),
    };
    let row = store.rows.manifest(name, &digest)?.ok_or_else(unknown)?;
    let digest: Digest = digest
        .parse()
        .map_err(|error: oci::digest::ParseDigestError| Fault::internal(&error))?;
    let limit = u64::try_from(MANIFEST_LIMIT).unwrap_or(u64::MAX);
    // Checked against its digest each time: a damaged disk must not hand out another image.
    let bytes = match store.content.read_document(&digest, limit) {
        Err(content::BlobError::Missing { .. }) => {
            return Err(Fault::internal_text(format!(
                "the file of manifest {digest} is missing"
            )));
        }
        read => read?,
    };
    Ok(Manifest {
        digest,
        media_type: row.media_type,
        bytes: bytes.into(),
    })
}

/// `PUT`.
pub(crate) async fn put(call: Call, name: String, reference: Reference) -> Result<Response<Body>, Fault> {
    let shared = std::sync::Arc::clone(&call.shared);
    let content_type = call
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let bytes = call.document(MANIFEST_LIMIT).await?;
    shared
        .blocking(move |shared| {
            let digest = Digest::sha256(&bytes);
            let tag = match &reference {
                Reference::Tag(tag) => Some(tag.as_str()),
                Reference::Digest(wanted) if *wanted != digest => {
                    return Err(Fault::because(
                        Code::DigestInvalid,
                        format!("the content is {digest}"),
                    ));
                }
                Reference::Digest(_) => None,
            };
            let document = document::read(content_type.as_deref(), &bytes, &digest)?;
            let store = &shared.store;
            check_files(store, &document)?;
            record(store, &name, &document, document.children(), &bytes, tag)?;
            shared.log.line(format_args!(
                "stored manifest {digest} size={} in {name}{}{}",
                bytes.len(),
                if tag.is_some() { ":" } else { "" },
                tag.unwrap_or_default()
            ));
            let mut response = reply::empty(StatusCode::CREATED);
            reply::set(&mut response, LOCATION, &format!("/v2/{name}/manifests/{digest}"));
            reply::set(&mut response, CONTENT_DIGEST, digest.as_str());
            if let Some(subject) = &document.row.subject {
                reply::set(&mut response, SUBJECT, subject);
            }
            response.headers_mut().insert(CONTENT_LENGTH, 0.into());
            Ok(response)
        })
        .await
}

/// Refuses a manifest that names what has no file here, or says another size than the file has. Whether the
/// repository has it is seen later, in the transaction.
fn check_files(store: &Store, document: &Document) -> Result<(), Fault> {
    let mut unknown = Vec::new();
    for (child, digest, size) in &document.children {
        match store.file_size(digest) {
            Some(found) if found == *size => {}
            None if !child.is_required => {}
            None => unknown.push(json!({ "digest": digest.as_str() })),
            Some(found) => {
                return Err(Fault::because(
                    Code::ManifestInvalid,
                    format!("{digest} has {found} bytes, not {size}"),
                ));
            }
        }
    }
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Fault::several(Code::ManifestBlobUnknown, unknown))
    }
}

/// Stores a manifest's bytes and records it.
pub(crate) fn record(
    store: &Store,
    name: &str,
    document: &Document,
    children: Vec<Child>,
    bytes: &[u8],
    tag: Option<&str>,
) -> Result<(), Fault> {
    // From here on garbage collection leaves the file alone, whenever it comes.
    store.rows.lease(&document.row.digest, now() + LEASE)?;
    failpoint::reached("manifest.leased");
    store.content.store_document(&document.row.media_type, bytes)?;
    failpoint::reached("manifest.stored");
    let put = store
        .rows
        .put_manifest(name, &document.row, &children, tag, now())?;
    failpoint::reached("manifest.recorded");
    match put {
        Put::Stored => Ok(()),
        Put::Unknown(unknown) => Err(Fault::several(
            Code::ManifestBlobUnknown,
            unknown.into_iter().map(|digest| json!({ "digest": digest })),
        )),
    }
}

/// `DELETE`: of a tag, or of a manifest with all its tags.
pub(crate) async fn remove(call: Call, name: String, reference: Reference) -> Result<Response<Body>, Fault> {
    call.shared
        .blocking(move |shared: &Shared| {
            let removal = match &reference {
                Reference::Tag(tag) => match shared.store.rows.remove_tag(&name, tag)? {
                    true => Removal::Done,
                    false => Removal::Missing,
                },
                Reference::Digest(digest) => shared.store.rows.remove_manifest(&name, digest.as_str())?,
            };
            let what = match &reference {
                Reference::Tag(tag) => format!("tag {tag}"),
                Reference::Digest(digest) => format!("manifest {digest}"),
            };
            match removal {
                Removal::Done => {
                    shared.log.line(format_args!("removed {what} from {name}"));
                    Ok(blob::accepted())
                }
                Removal::Missing => Err(Fault::new(Code::ManifestUnknown)),
                Removal::NeededBy(index) => Err(Fault::because(
                    Code::Unsupported,
                    format!("index {index} needs it"),
                )),
            }
        })
        .await
}
