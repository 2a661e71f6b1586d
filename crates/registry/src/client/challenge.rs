//! `WWW-Authenticate`: what a registry asks for (RFC 9110, section 11.6.1).
//!
//! The header is hostile input: its length, the number of challenges and of their parameters are limited, and what
//! does not follow the grammar ends the parse with what was understood so far.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// Longest header value that is read, in bytes.
const MAX_HEADER: usize = 8 << 10;
pub(crate) const MAX_CHALLENGES: usize = 8;
const MAX_PARAMETERS: usize = 16;

/// One scheme with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Lower case: `basic`, `bearer`.
    pub(crate) scheme: String,
    /// Names in lower case, values without quotes.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Returns a parameter; the first one if it was repeated.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let fits = |(key, _): &&(String, String)| key == name;
        self.parameters.iter().find(fits).map(|(_, value)| value.as_str())
    }
}

/// Returns all challenges of an answer.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let mut found = Vec::new();
    for value in headers.get_all(WWW_AUTHENTICATE) {
        if let Ok(text) = value.to_str() {
            parse(text, &mut found);
        }
    }
    found
}

/// Adds the challenges in `text` to `found`.
pub(crate) fn parse(text: &str, found: &mut Vec<Challenge>) {
    if text.len() > MAX_HEADER {
        return;
    }
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if found.len() >= MAX_CHALLENGES {
            return;
        }
        let Some((word, after)) = token(rest) else { return };
        let blanks = after.trim_start_matches([' ', '\t']);
        if blanks.starts_with('=')
            && let Some(challenge) = found.last_mut()
        {
            // A name before an equals sign belongs to the challenge before it.
            let Some((value, after)) = value(&blanks[1..]) else {
                return;
            };
            if challenge.parameters.len() < MAX_PARAMETERS {
                challenge.parameters.push((word.to_ascii_lowercase(), value));
            }
            rest = after;
        } else if blanks.starts_with('=') {
            return;
        } else {
            found.push(Challenge {
                scheme: word.to_ascii_lowercase(),
                parameters: Vec::new(),
            });
            rest = blanks;
        }
    }
}

/// Splits a token (RFC 9110, section 5.6.2) off.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let end = text
        .bytes()
        .position(|byte| !is_token(byte))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Splits a value off: a token or a quoted string, from which the quotes and backslashes are taken.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quoted) = text.strip_prefix('"') else {
        // Some registries leave quotes out around URLs: everything up to the next comma or blank is the value.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Vec<Challenge> {
        let mut found = Vec::new();
        parse(text, &mut found);
        found
    }

    #[test]
    fn challenges_of_real_registries() {
        let found = parsed(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].parameter("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(found[0].parameter("scope"), Some("repository:a/b:pull,push"));
        let found = parsed(
            r#"basic Realm = "a \"b\"" , Bearer realm=https://x/y?z , service=s,, error="insufficient_scope""#,
        );
        assert_eq!(found[0].parameter("realm"), Some("a \"b\""));
        assert_eq!(found[1].parameter("realm"), Some("https://x/y?z"));
        assert_eq!(found[1].parameter("error"), Some("insufficient_scope"));
        assert_eq!(parsed("Basic, Bearer").len(), 2);
        assert_eq!(
            parsed("Bearer realm=\"a\",realm=\"b\"")[0].parameter("realm"),
            Some("a")
        );
    }

    #[test]
    fn hostile_headers_are_bounded() {
        for text in [
            "",
            ",,,,",
            "=",
            "a=b",
            "Bearer realm=\"",
            "Bearer realm=\"\\",
            "\"",
            "é",
        ] {
            for challenge in parsed(text) {
                assert_eq!(challenge.parameter("realm"), None, "{text}");
            }
        }
        assert_eq!(parsed(&"a ".repeat(4000)).len(), MAX_CHALLENGES);
        assert_eq!(
            parsed(&format!("a {}", "b=c,".repeat(1000)))[0].parameters.len(),
            MAX_PARAMETERS
        );
        assert!(parsed(&"a".repeat(MAX_HEADER + 1)).is_empty());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[ -~é\\t]{0,200}") {
            parsed(&text);
        }

        #[test]
        fn what_is_quoted_comes_back(
            scheme in "[a-z]{1,8}",
            values in proptest::collection::vec("[ -~]{0,40}", 0..6),
        ) {
            let quote = |value: &String| value.replace('\\', "\\\\").replace('"', "\\\"");
            let list: Vec<_> = values.iter().enumerate().map(|(at, value)| format!("p{at}=\"{}\"", quote(value))).collect();
            let found = parsed(&format!("{scheme} {}", list.join(", ")));
            prop_assert_eq!(found.len(), 1);
            for (at, value) in values.iter().enumerate() {
                prop_assert_eq!(found[0].parameter(&format!("p{at}")), Some(value.as_str()));
            }
        }
    }
}
