//! Blobs on their way out, and their removal.

use std::fs::File;

use db::Removal;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderMap, Response, StatusCode};
use oci::Digest;

use super::call::Call;
use super::fault::{Code, Fault};
use super::range::{Part, requested};
use super::reply::{self, Body, CONTENT_DIGEST, FileBody};

/// `GET` and `HEAD` of a blob.
pub(crate) async fn get(call: Call, name: String, digest: Digest) -> Result<Response<Body>, Fault> {
    let (repository, wanted) = (name.clone(), digest.clone());
    let opened = call
        .shared
        .blocking(move |shared| shared.store.open_blob(&repository, &wanted))
        .await;
    match (opened, &call.shared.cache) {
        (Ok((file, size)), _) => Ok(serve(&call.headers, &digest, file, size)),
        (Err(fault), Some(cache)) if fault.status == StatusCode::NOT_FOUND => {
            cache.blob(&call, &name, &digest).await
        }
        (Err(fault), _) => Err(fault),
    }
}

/// Answers with the part of a blob's file that is asked for.
pub(crate) fn serve(headers: &HeaderMap, digest: &Digest, file: File, size: u64) -> Response<Body> {
    if matches(headers, IF_NONE_MATCH, digest) {
        let mut response = reply::empty(StatusCode::NOT_MODIFIED);
        describe(&mut response, digest);
        return response;
    }
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
    // A part of something else than what the client has would be no use to it.
    let range = range.filter(|_| !headers.contains_key(IF_RANGE) || matches(headers, IF_RANGE, digest));
    let (status, start, length) = match requested(range, size) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Some { start, length } => (StatusCode::PARTIAL_CONTENT, start, length),
        Part::Nothing => {
            return Fault::new(Code::RangeInvalid)
                .header(CONTENT_RANGE, &format!("bytes */{size}"))
                .into_response();
        }
    };
    let mut response = Response::new(Body::File(FileBody::new(file, start, length)));
    *response.status_mut() = status;
    describe(&mut response, digest);
    reply::set(&mut response, CONTENT_TYPE, "application/octet-stream");
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {start}-{}/{size}", start + length - 1);
        reply::set(&mut response, CONTENT_RANGE, &range);
    }
    response
}

/// Sets the headers that every answer about a blob has.
pub(crate) fn describe(response: &mut Response<Body>, digest: &Digest) {
    reply::set(response, CONTENT_DIGEST, digest.as_str());
    reply::set(response, ETAG, &format!("\"{digest}\""));
    reply::set(response, ACCEPT_RANGES, "bytes");
    // What has a digest never changes.
    reply::set(response, CACHE_CONTROL, "max-age=31536000");
}

/// Returns whether a conditional header names what is there.
pub(crate) fn matches(headers: &HeaderMap, name: HeaderName, digest: &Digest) -> bool {
    let values = headers.get_all(name);
    values.iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',').any(|tag| {
            let tag = tag.trim();
            let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
            tag == "*" || tag == digest.as_str()
        })
    })
}

/// `DELETE` of a blob.
pub(crate) async fn remove(call: Call, name: String, digest: Digest) -> Result<Response<Body>, Fault> {
    let (repository, wanted) = (name.clone(), digest.clone());
    let removal = call
        .shared
        .blocking(move |shared| Ok(shared.store.rows.remove_blob(&repository, wanted.as_str())?))
        .await?;
    match removal {
        Removal::Done => {
            call.shared
                .log
                .line(format_args!("removed blob {digest} from {name}"));
            Ok(accepted())
        }
        Removal::Missing => Err(Fault::with_detail(
            Code::BlobUnknown,
            serde_json::json!({ "digest": digest.as_str() }),
        )),
        Removal::NeededBy(manifest) => Err(Fault::because(
            Code::Unsupported,
            format!("manifest {manifest} needs it"),
        )),
    }
}

/// The answer to a removal.
pub(crate) fn accepted() -> Response<Body> {
    let mut response = reply::empty(StatusCode::ACCEPTED);
    response.headers_mut().insert(CONTENT_LENGTH, 0.into());
    response
}
