//! docker's filters.

use std::collections::BTreeMap;
use std::time::Duration;

use base::clock::Timestamp;
use base::error::{Kind, Kinded};

use crate::container::LookupError;

/// A filter cannot be used; docker's texts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// There is no such filter.
    #[error("invalid filter '{name}'")]
    Unknown {
        /// Its name.
        name: String,
    },
    /// Its value means nothing.
    #[error("invalid filter '{name}={value}'")]
    Value {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// It names a container that is not there.
    #[error(transparent)]
    Lookup(#[from] LookupError),
}

impl Kinded for FilterError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown { .. } | Self::Value { .. } => Kind::Invalid,
            Self::Lookup(error) => error.kind(),
        }
    }
}

/// docker's filters: values by name.
pub(crate) type Filters = BTreeMap<String, Vec<String>>;

/// Refuses filters that are not in `known`.
pub(crate) fn check_names(filters: &Filters, known: &[&str]) -> Result<(), FilterError> {
    match filters.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(FilterError::Unknown {
            name: name.chars().take(80).collect(),
        }),
        None => Ok(()),
    }
}

/// Returns the error for a value.
pub(crate) fn value_error(name: &str, value: &str) -> FilterError {
    FilterError::Value {
        name: name.to_owned(),
        value: value.chars().take(200).collect(),
    }
}

/// Returns whether labels have `key` or `key=value`.
pub(crate) fn label_fits(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|known| known == value),
        None => labels.contains_key(wanted),
    }
}

/// Returns docker's `true` of a filter that is a switch, `None` if it is absent.
pub(crate) fn switch(filters: &Filters, name: &str) -> Result<Option<bool>, FilterError> {
    match filters
        .get(name)
        .and_then(|values| values.first())
        .map(String::as_str)
    {
        None => Ok(None),
        Some("1" | "true" | "True" | "TRUE" | "t" | "T") => Ok(Some(true)),
        Some("0" | "false" | "False" | "FALSE" | "f" | "F") => Ok(Some(false)),
        Some(value) => Err(value_error(name, value)),
    }
}

/// Returns the time that `until` names: RFC 3339, a date, seconds since the epoch, or a duration before now (`1h30m`).
pub(crate) fn until(filters: &Filters) -> Result<Option<Timestamp>, FilterError> {
    let Some(text) = filters.get("until").and_then(|values| values.first()) else {
        return Ok(None);
    };
    let error = || value_error("until", text);
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Some(time));
    }
    let with_zone = if text.contains('T') {
        format!("{text}Z")
    } else {
        format!("{text}T00:00:00Z")
    };
    if let Ok(time) = with_zone.parse::<Timestamp>() {
        return Ok(Some(time));
    }
    if let Ok(seconds) = text.split('.').next().unwrap_or_default().parse::<i64>() {
        return Ok(Some(Timestamp::from_unix(seconds, 0)));
    }
    let ago = duration(text).ok_or_else(error)?;
    let seconds = i64::try_from(ago.as_secs()).map_err(|_too_long| error())?;
    Ok(Some(Timestamp::from_unix(
        Timestamp::now().unix_seconds().saturating_sub(seconds),
        0,
    )))
}

/// Reads a Go duration of whole units: `1h30m`, `90s`, `500ms`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let one = match &rest[..unit] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return None,
        };
        rest = &rest[unit..];
        total = total.checked_add(one.checked_mul(u32::try_from(number).ok()?)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_until() {
        let at = |text: &str| until(&Filters::from([("until".to_owned(), vec![text.to_owned()])]));
        assert_eq!(at("10").unwrap().unwrap().unix_seconds(), 10);
        assert_eq!(at("1970-01-02").unwrap().unwrap().unix_seconds(), 86_400);
        assert_eq!(at("1970-01-01T00:00:05").unwrap().unwrap().unix_seconds(), 5);
        let hour_ago = at("1h").unwrap().unwrap().unix_seconds();
        assert!((Timestamp::now().unix_seconds() - 3600 - hour_ago).abs() < 3);
        for text in ["", "x", "1y", "h", "é"] {
            assert!(at(text).is_err(), "{text}");
        }
        assert_eq!(until(&Filters::new()).unwrap(), None);
    }
}
