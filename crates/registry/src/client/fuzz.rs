//! What the fuzz target of headers calls: an answer's headers, read in every way that the client reads them.

use http::{HeaderMap, Uri};

use super::challenge::{MAX_CHALLENGES, challenges};
use super::header;
use super::origin::{Origin, join, shown};

/// Reads the headers of an answer.
///
/// # Panics
///
/// When something comes of them that may not.
pub fn headers(headers: &HeaderMap) {
    let found = challenges(headers);
    assert!(found.len() <= MAX_CHALLENGES, "more challenges than are allowed");
    let base = Uri::from_static("https://registry.example.com:5000/v2/a/b/tags/list?n=1");
    for realm in found.iter().filter_map(|challenge| challenge.parameter("realm")) {
        drop(join(&base, realm).and_then(|uri| Origin::of(&uri)));
    }
    if let Some((first, last, total)) = header::content_range(headers) {
        assert!(
            first <= last && total.is_none_or(|total| last < total),
            "no range"
        );
        assert!(last - first < u64::MAX, "a range without a length");
    }
    if let Some(target) = header::next_link(headers).and_then(|link| join(&base, &link)) {
        // What is shown has no query: it may be somebody's password.
        assert!(!shown(&target).contains('?'), "a query is shown");
        drop(Origin::of(&target).map(|origin| origin.to_string()));
    }
    let _ = header::upload_offset(headers);
    let _ = header::retry_after(headers);
    let _ = header::content_length(headers);
    drop(header::media_type(headers));
}
