//! What the fuzz target of headers calls: a request's path and headers, read in every way that the server reads them.

use http::header::{AUTHORIZATION, CONTENT_RANGE, HeaderMap, RANGE};

use super::auth::credentials;
use super::range::{self, Part};
use super::route::{self, Query};

/// Reads the head of a request: a path with its query, and headers.
///
/// # Panics
///
/// When something comes of them that may not.
pub fn headers(path: &str, headers: &HeaderMap) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    if let Ok(Some(route)) = route::parse(path) {
        let name = route.repository().unwrap_or_default();
        let safe = name
            .split('/')
            .all(|word| !matches!(word, "." | "..") && !word.contains('\0'));
        assert!(safe && !name.starts_with('/'), "no name of a repository: {name}");
        assert!(!route.methods().is_empty(), "nothing can be asked of it");
    }
    let query = Query::parse(query);
    for name in ["n", "last", "mount", "from", "digest", "artifactType"] {
        drop(query.get(name).map(route::digest));
    }
    for size in [0, 1, 10, 1 << 30, u64::MAX] {
        for value in headers.get_all(RANGE) {
            if let Part::Some { start, length } = range::requested(value.to_str().ok(), size) {
                let fits = start.checked_add(length).is_some_and(|end| end <= size);
                assert!(length > 0 && fits, "a part that is not there");
            }
        }
    }
    for value in headers
        .get_all(CONTENT_RANGE)
        .iter()
        .filter_map(|value| value.to_str().ok())
    {
        if let Some((first, length)) = range::chunk(value) {
            assert!(
                length > 0 && first.checked_add(length).is_some(),
                "no range of a chunk"
            );
        }
    }
    for scheme in ["Basic", "Bearer"] {
        let _ = credentials(headers.get(AUTHORIZATION), scheme).map(str::len);
    }
}
