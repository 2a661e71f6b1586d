//! Paths, query strings and filters, decoded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::status::ApiError;

/// The decoded query of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes `a=1&b=2`.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name, Plus::IsSpace)?, decode(value, Plus::IsSpace)?))
            })
            .collect::<Result<_, ApiError>>()?;
        Ok(Self { pairs })
    }

    /// Returns the first value of `name`; empty is `None`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let first = self.pairs.iter().find(|(key, _)| key == name);
        first
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// Returns every value of `name`.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns whether `name` is set at all, also to nothing.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Returns Docker's reading of a flag: everything but nothing, `0`, `no`, `false` and `none` is true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| {
            let value = value.trim().to_ascii_lowercase();
            !matches!(value.as_str(), "" | "0" | "no" | "false" | "none")
        })
    }

    /// Returns a flag that is true unless it is set to false.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.has(name) { self.flag(name) } else { default }
    }

    /// Returns a number, if there is one.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(ApiError::invalid(format!(
                    "invalid value for query parameter {name}: \"{text}\" is not a number in range"
                ))),
            },
        }
    }

    /// Returns the filters: `{"label":["a","b"]}`, or `{"label":{"a":true}}` as old clients write them.
    pub(crate) fn filters(&self) -> Result<BTreeMap<String, Vec<String>>, ApiError> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Values {
            List(Vec<String>),
            Set(BTreeMap<String, bool>),
        }
        let Some(text) = self.get("filters") else {
            return Ok(BTreeMap::new());
        };
        let filters: BTreeMap<String, Values> = serde_json::from_str(text)
            .map_err(|error| ApiError::invalid(format!("invalid filter: {error}")))?;
        Ok(filters
            .into_iter()
            .map(|(name, values)| {
                let values = match values {
                    Values::List(list) => list,
                    Values::Set(set) => set
                        .into_iter()
                        .filter(|(_, on)| *on)
                        .map(|(value, _)| value)
                        .collect(),
                };
                (name, values)
            })
            .collect())
    }
}

/// What `+` means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// A space, in queries.
    IsSpace,
    /// Itself, in paths.
    IsPlus,
}

/// Decodes percent signs; refuses bad ones, NUL, and what is not UTF-8.
pub(crate) fn decode(text: &str, plus: Plus) -> Result<String, ApiError> {
    let bad = || {
        ApiError::invalid(format!(
            "invalid URL escape in \"{}\"",
            text.chars().take(80).collect::<String>()
        ))
    };
    let bytes: Cow<'_, [u8]> = if text.contains(['%', '+', '\0']) {
        let mut decoded = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            decoded.push(match byte {
                b'%' => {
                    let high = rest.next().and_then(digit).ok_or_else(bad)?;
                    let low = rest.next().and_then(digit).ok_or_else(bad)?;
                    high * 16 + low
                }
                b'+' if plus == Plus::IsSpace => b' ',
                other => other,
            });
        }
        decoded.into()
    } else {
        text.as_bytes().into()
    };
    if bytes.contains(&0) {
        return Err(bad());
    }
    String::from_utf8(bytes.into_owned()).map_err(|_not_utf8: std::string::FromUtf8Error| bad())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_queries() {
        let query = Query::parse("a=1&b=x%20y+z&c&d=&e=false&a=2&t=0").unwrap();
        assert_eq!(query.get("a"), Some("1"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("b"), Some("x y z"));
        assert_eq!(query.get("c"), None);
        assert!(query.has("c") && !query.has("x"));
        assert!(query.flag("a") && !query.flag("e") && !query.flag("t") && !query.flag("nothing"));
        assert!(query.flag_or("nothing", true) && !query.flag_or("e", true));
        assert_eq!(query.number::<i64>("a").unwrap(), Some(1));
        assert!(query.number::<i64>("b").is_err());
    }

    #[test]
    fn refuses_bad_escapes() {
        for text in ["a=%", "a=%4", "a=%zz", "a=%00", "a=%ff"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_both_forms_of_filters() {
        for text in [
            r#"filters={"label":["a","b"]}"#,
            r#"filters={"label":{"a":true,"b":true,"c":false}}"#,
        ] {
            let filters = Query::parse(text).unwrap().filters().unwrap();
            assert_eq!(filters["label"], ["a", "b"]);
        }
        assert!(Query::parse("filters=[]").unwrap().filters().is_err());
        assert!(Query::parse("filters=").unwrap().filters().unwrap().is_empty());
    }
}
