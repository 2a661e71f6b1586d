//! Times in queries.

use base::clock::Timestamp;

use crate::query::Query;
use crate::status::ApiError;

/// Returns the time that `name` holds: seconds since the Unix epoch with up to nine decimals, or RFC 3339.
pub(crate) fn from_query(query: &Query, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = query.get(name).filter(|text| *text != "0") else {
        return Ok(None);
    };
    let time = from_unix(text).or_else(|| text.parse().ok());
    match time {
        Some(time) => Ok(Some(time)),
        None => Err(ApiError::invalid(format!(
            "invalid value for query parameter {name}: \"{text}\" is not a time"
        ))),
    }
}

fn from_unix(text: &str) -> Option<Timestamp> {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 9 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u32 = format!("{decimals:0<9}").parse().ok()?;
    Some(Timestamp::from_unix(seconds.parse().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        for (text, seconds, nanos) in [("12", 12, 0), ("12.5", 12, 500_000_000), ("12.000000007", 12, 7)] {
            assert_eq!(
                from_unix(text),
                Some(Timestamp::from_unix(seconds, nanos)),
                "{text}"
            );
        }
        for text in ["", "x", "1.2.3", "1.0000000001", "10m"] {
            assert_eq!(from_unix(text), None, "{text}");
        }
    }
}
