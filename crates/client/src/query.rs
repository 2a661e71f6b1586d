//! Paths and query strings: what goes between `/v1.50` and ` HTTP/1.1`.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A path with a query string, escaped while it is built.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    separator: char,
}

impl Query {
    /// Returns a query on the path of `parts`, each of which is escaped and preceded by a slash.
    pub fn new(parts: &[&str]) -> Self {
        let mut text = String::with_capacity(96);
        // Image names have slashes that the API takes as they are; a slash anywhere else would lead to another call.
        let allowed: &[u8] = if parts.first() == Some(&"images") {
            b"/:@"
        } else {
            b":@"
        };
        for part in parts {
            text.push('/');
            escape(&mut text, part, allowed);
        }
        Self { text, separator: '?' }
    }

    /// Adds `name=value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.text.push(self.separator);
        self.separator = '&';
        self.text.push_str(name);
        self.text.push('=');
        escape(&mut self.text, value, b"");
        self
    }

    /// Adds `name=value` unless `value` is empty.
    #[must_use]
    pub fn with_text(self, name: &str, value: &str) -> Self {
        if value.is_empty() {
            self
        } else {
            self.with(name, value)
        }
    }

    /// Adds `name=1` if `value` is true.
    #[must_use]
    pub fn with_flag(self, name: &str, value: bool) -> Self {
        if value { self.with(name, "1") } else { self }
    }

    /// Adds `name=value` if there is a value.
    #[must_use]
    pub fn with_number(self, name: &str, value: Option<i64>) -> Self {
        match value {
            Some(value) => self.with(name, &value.to_string()),
            None => self,
        }
    }

    /// Adds the filters as Docker's JSON unless there are none.
    #[must_use]
    pub fn with_filters(self, filters: &Filters) -> Self {
        if filters.0.is_empty() {
            self
        } else {
            self.with("filters", &filters.to_json())
        }
    }

    /// Returns path and query.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Filters of a list, prune or event call: for each key the values of which one must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(pub BTreeMap<String, Vec<String>>);

impl Filters {
    /// Adds one value.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().push(value.to_owned());
    }

    /// Returns `{"key":{"value":true}}`, the form that every API version since 1.22 reads.
    fn to_json(&self) -> String {
        let document: BTreeMap<&str, BTreeMap<&str, bool>> = self
            .0
            .iter()
            .map(|(key, values)| {
                (
                    key.as_str(),
                    values.iter().map(|value| (value.as_str(), true)).collect(),
                )
            })
            .collect();
        // Maps of strings and booleans always encode.
        serde_json::to_string(&document).unwrap_or_default()
    }
}

fn escape(text: &mut String, value: &str, allowed: &[u8]) {
    for &byte in value.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || allowed.contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _written = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_would_change_the_request() {
        let query = Query::new(&["images", "a/b:c", "json"]).with("x", "a b&c/%é");
        assert_eq!(query.as_str(), "/images/a/b:c/json?x=a%20b%26c%2F%25%C3%A9");
        let query = Query::new(&["containers", "a/../b", "json"]);
        assert_eq!(query.as_str(), "/containers/a%2F..%2Fb/json");
        assert_eq!(
            Query::new(&["containers", "x?y#z \r\n", "json"]).as_str(),
            "/containers/x%3Fy%23z%20%0D%0A/json"
        );
    }

    #[test]
    fn leaves_out_what_is_not_set() {
        let query = Query::new(&["x"])
            .with_text("a", "")
            .with_flag("b", false)
            .with_number("c", None)
            .with_filters(&Filters::default());
        assert_eq!(query.as_str(), "/x");
        let mut filters = Filters::default();
        filters.add("label", "a=b");
        let query = query.with_flag("b", true).with_filters(&filters);
        assert_eq!(
            query.as_str(),
            "/x?b=1&filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D"
        );
    }
}
