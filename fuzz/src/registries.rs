//! Headers of registries' answers and of requests to our own registry.

use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LINK,
    RANGE, RETRY_AFTER, WWW_AUTHENTICATE,
};

/// The headers that a line's first letter stands for.
const NAMES: [(u8, HeaderName); 8] = [
    (b'w', WWW_AUTHENTICATE),
    (b'l', LINK),
    (b'r', RANGE),
    (b'c', CONTENT_RANGE),
    (b'n', CONTENT_LENGTH),
    (b't', CONTENT_TYPE),
    (b'a', RETRY_AFTER),
    (b'A', AUTHORIZATION),
];

/// Lines of a letter and a value, as an answer that the client reads and as a request that the server reads. A line
/// that begins with `/` is the request's path.
pub fn registry_headers(data: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut path = String::from("/v2/");
    for line in data.split(|&byte| byte == b'\n') {
        let Some((&letter, value)) = line.split_first() else {
            continue;
        };
        if letter == b'/' {
            path = String::from_utf8_lossy(line).into_owned();
            continue;
        }
        let name = NAMES.iter().find(|(of, _)| *of == letter);
        if let (Some((_, name)), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name.clone(), value);
        }
    }
    registry::client::fuzz::headers(&headers);
    registry::server::fuzz::headers(&path, &headers);
}
