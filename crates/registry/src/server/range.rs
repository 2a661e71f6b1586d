//! `Range` of downloads (RFC 9110, section 14) and `Content-Range` of uploads (the specification, "Pushing a blob in
//! chunks", which has no unit and no total).

/// The part of a blob that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// `length` bytes from `start` on; never empty.
    Some {
        /// The first byte.
        start: u64,
        /// How many.
        length: u64,
    },
    /// Nothing that it has.
    Nothing,
}

/// Reads a `Range` header for a blob of `size` bytes. What is not one range of bytes is answered with the whole, as
/// the standard allows.
pub(crate) fn requested(header: Option<&str>, size: u64) -> Part {
    let Some((first, last)) = header
        .and_then(|text| text.trim().strip_prefix("bytes="))
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || !is_number(last) || first.is_empty() && last.is_empty() {
        return Part::Whole;
    }
    // Numbers beyond 64 bits lie behind any end.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let (start, end) = if first.is_empty() {
        (size.saturating_sub(number(last)), size)
    } else if last.is_empty() {
        (number(first), size)
    } else if number(last) < number(first) {
        return Part::Whole;
    } else {
        (number(first), number(last).saturating_add(1).min(size))
    };
    if start >= end {
        return Part::Nothing;
    }
    Part::Some {
        start,
        length: end - start,
    }
}

/// Reads the `Content-Range` of a chunk, `<first>-<last>`, both inclusive; also with `bytes ` before and a total
/// behind, as some clients write it. Returns the first byte and the number of bytes.
pub(crate) fn chunk(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text
        .strip_prefix("bytes")
        .map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let text = text.split_once('/').map_or(text, |(range, _total)| range);
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let (first, last) = (number(first)?, number(last)?);
    let length = last.checked_sub(first)?.checked_add(1)?;
    first.checked_add(length)?;
    Some((first, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn im_08_ranges_of_downloads() {
        let some = |start, length| Part::Some { start, length };
        for (header, expected) in [
            ("bytes=0-0", some(0, 1)),
            ("bytes=2-4", some(2, 3)),
            ("bytes=8-", some(8, 2)),
            ("bytes=-3", some(7, 3)),
            ("bytes=-99", some(0, 10)),
            ("bytes=5-99", some(5, 5)),
            ("bytes=5-18446744073709551615", some(5, 5)),
            ("bytes=10-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=99999999999999999999999-", Part::Nothing),
            ("bytes=4-2", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("items=0-1", Part::Whole),
        ] {
            assert_eq!(requested(Some(header), 10), expected, "{header}");
        }
        assert_eq!(requested(None, 10), Part::Whole);
        assert_eq!(requested(Some("bytes=0-"), 0), Part::Nothing);
    }

    #[test]
    fn im_08_ranges_of_chunks() {
        for (header, expected) in [
            ("0-9", Some((0, 10))),
            ("10-10", Some((10, 1))),
            ("bytes 5-9/20", Some((5, 5))),
            ("bytes=5-9", Some((5, 5))),
            ("9-8", None),
            ("-1", None),
            ("1-", None),
            ("a-b", None),
            ("", None),
            ("0-18446744073709551615", None),
            ("18446744073709551615-18446744073709551615", None),
        ] {
            assert_eq!(chunk(header), expected, "{header}");
        }
    }
}
