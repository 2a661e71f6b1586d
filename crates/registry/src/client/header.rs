//! Small headers whose values registries make up: `Link`, `Content-Range`, `Range` of an upload, `Retry-After`.

use std::time::Duration;

use base::clock::Timestamp;
use http::HeaderMap;
use http::header::{AsHeaderName, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, RANGE, RETRY_AFTER};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Returns a header's value, if it is there and is text.
pub(crate) fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Returns the media type in lower case, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = text(headers, CONTENT_TYPE)?;
    let value = value.split(';').next().unwrap_or_default().trim();
    (!value.is_empty()).then(|| value.to_ascii_lowercase())
}

/// Returns `Content-Length`.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    number(text(headers, CONTENT_LENGTH)?)
}

/// Returns the first and the last byte and the total of `Content-Range: bytes 0-9/10` (RFC 9110, section 14.4).
pub(crate) fn content_range(headers: &HeaderMap) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text(headers, CONTENT_RANGE)?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let (first, last) = bounds(range.trim())?;
    // The last of 2^64 bytes has no length that fits.
    last.checked_add(1)?;
    let total = match total.trim() {
        "*" => None,
        total => Some(number(total)?),
    };
    (total.is_none_or(|total| last < total)).then_some((first, last, total))
}

/// Returns how many bytes an upload has, by `Range: 0-9` (OCI distribution 1.1: bounds are inclusive; `0-0` is what
/// registries say for none and for one byte alike, so it counts as none: one byte sent twice is refused, not lost).
pub(crate) fn upload_offset(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, RANGE)?;
    let (first, last) = bounds(range.strip_prefix("bytes=").unwrap_or(range))?;
    match (first, last) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}

/// Returns the target of `Link: <…>; rel="next"` (RFC 8288).
pub(crate) fn next_link(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LINK).iter().take(8);
    values.filter_map(|value| value.to_str().ok()).find_map(next_of)
}

/// Returns how long to wait by `Retry-After`: seconds or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, RETRY_AFTER)?;
    if let Some(seconds) = number(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = time::PrimitiveDateTime::parse(value, HTTP_DATE).ok()?;
    let wait = date.assume_utc().unix_timestamp() - Timestamp::now().unix_seconds();
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

fn next_of(value: &str) -> Option<String> {
    let mut rest = value;
    // A link's target may hold commas and semicolons: only angle brackets end it.
    for _ in 0..16 {
        let start = rest.find('<')?;
        let end = start + rest[start..].find('>')?;
        let target = &rest[start + 1..end];
        let after = &rest[end + 1..];
        let parameters = after.find(",").map_or(after, |comma| &after[..comma]);
        let is_next = parameters.split(';').any(|parameter| {
            parameter.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split(' ')
                        .any(|word| word.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target.to_owned());
        }
        rest = after;
    }
    None
}

fn bounds(range: &str) -> Option<(u64, u64)> {
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first.trim())?, number(last.trim())?);
    (first <= last).then_some((first, last))
}

/// Digits only: Rust would take a sign too.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(name, value);
        }
        headers
    }

    #[test]
    fn ranges_are_parsed_strictly() {
        let of = |value: &str| content_range(&headers(CONTENT_RANGE, value));
        assert_eq!(of("bytes 2-4/9"), Some((2, 4, Some(9))));
        assert_eq!(of("bytes 2-4/*"), Some((2, 4, None)));
        for value in [
            "",
            "bytes",
            "bytes */9",
            "bytes 4-2/9",
            "bytes 2-9/9",
            "bytes -1-2/9",
            "bytes +1-2/9",
            "items 0-1/2",
            "bytes 0-18446744073709551616/*",
            "bytes 0-18446744073709551615/*",
            "bytes 0-1",
            "bytes 0-1/x",
        ] {
            assert_eq!(of(value), None, "{value}");
        }
        let of = |value: &str| upload_offset(&headers(RANGE, value));
        assert_eq!(
            (of("0-9"), of("bytes=0-9"), of("0-0")),
            (Some(10), Some(10), Some(0))
        );
        for value in ["", "9", "1-9", "0--1", "-", "0-18446744073709551615", "0-x"] {
            assert_eq!(of(value), None, "{value}");
        }
    }

    #[test]
    fn links_to_the_next_page() {
        let of = |value: &str| next_link(&headers(LINK, value));
        assert_eq!(
            of("</v2/a/tags/list?last=b&n=2>; rel=\"next\"").as_deref(),
            Some("/v2/a/tags/list?last=b&n=2")
        );
        assert_eq!(
            of("<x>; rel=prev, <y,;z>; title=a; REL=\"last next\"").as_deref(),
            Some("y,;z")
        );
        for value in ["", "<x", "x>; rel=next", "<x>", "<x>; rel=prev", "<x>; rel"] {
            assert_eq!(of(value), None, "{value}");
        }
        assert_eq!(of(&"<a>,".repeat(1000)), None);
    }

    #[test]
    fn waits_are_seconds_or_dates() {
        let of = |value: &str| retry_after(&headers(RETRY_AFTER, value));
        assert_eq!(of("7"), Some(Duration::from_secs(7)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert!(of("Fri, 01 Jan 2100 00:00:00 GMT").unwrap() > Duration::from_secs(1000));
        assert_eq!((of("-1"), of("soon"), of("1.5")), (None, None, None));
    }

    proptest! {
        #[test]
        fn nothing_panics(value in "[ -~]{0,120}") {
            next_link(&headers(LINK, &value));
            content_range(&headers(CONTENT_RANGE, &value));
            upload_offset(&headers(RANGE, &value));
            retry_after(&headers(RETRY_AFTER, &value));
            media_type(&headers(CONTENT_TYPE, &value));
        }

        #[test]
        fn ranges_come_back(first in 0u64..1 << 62, length in 1u64..1 << 60, more in 0u64..1 << 60) {
            let (last, total) = (first + length - 1, first + length + more);
            let value = format!("bytes {first}-{last}/{total}");
            prop_assert_eq!(content_range(&headers(CONTENT_RANGE, &value)), Some((first, last, Some(total))));
        }

        #[test]
        fn links_come_back(target in "/[!-;=?-~]{0,60}", before in "(<[a-z,;]{0,9}>; rel=\"prev\", ){0,3}") {
            let value = format!("{before}<{target}>; rel=\"next\"");
            prop_assert_eq!(next_link(&headers(LINK, &value)), Some(target));
        }
    }
}
