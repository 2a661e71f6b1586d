//! Image names in Docker's grammar (`distribution/reference`): `[host[:port]/]path[:tag][@digest]`.
//!
//! Two forms: the *familiar* one that people type (`busybox`) and the *normalised* one that is stored
//! (`docker.io/library/busybox:latest`). A [`Reference`] is always normalised and always prints either.

use std::fmt;
use std::str::FromStr;

use base::error::{Kind, Kinded};

use crate::digest::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
/// Longest name (without tag and digest) that Docker accepts, in bytes.
const MAX_NAME: usize = 255;

/// Why a text is not an image name. The texts are Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    /// It breaks the grammar.
    #[error("invalid reference format")]
    Format,
    /// Only upper case is wrong with it.
    #[error("invalid reference format: repository name ({repository}) must be lowercase")]
    Uppercase {
        /// The repository's name.
        repository: String,
    },
    /// 64 hex digits are an image id, never a name.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    IsId {
        /// The digits.
        name: String,
    },
    /// The name is too long.
    #[error("repository name must not be more than {MAX_NAME} characters")]
    TooLong,
}

impl Kinded for ParseReferenceError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// A normalised image name.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Parses a name as people type it; without a tag and a digest it has neither (see [`Self::with_default_tag`]).
    pub fn parse(text: &str) -> Result<Self, ParseReferenceError> {
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseReferenceError::IsId {
                name: text.to_owned(),
            });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse::<Digest>()
                    .map_err(|_invalid| ParseReferenceError::Format)?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to the port.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ParseReferenceError::Format);
        }
        let (domain, path) = split_domain(name);
        if !is_domain(&domain) {
            return Err(ParseReferenceError::Format);
        }
        if !is_path(&path) {
            let lower = path.to_ascii_lowercase();
            return Err(if lower != path && is_path(&lower) {
                ParseReferenceError::Uppercase { repository: path }
            } else {
                ParseReferenceError::Format
            });
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(ParseReferenceError::TooLong);
        }
        Ok(Self {
            domain,
            path,
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// Returns the name with the tag `latest` if it has neither tag nor digest.
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// Returns the same repository with `tag` and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseReferenceError> {
        if !is_tag(tag) {
            return Err(ParseReferenceError::Format);
        }
        Ok(Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        })
    }

    /// Returns the same repository with `digest` and no tag.
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest.clone()),
            ..self.clone()
        }
    }

    /// Returns the registry's host and port, `docker.io` by default.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the repository below the host, `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the normalised name without tag and digest: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the short name without tag and digest: `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        let short = match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(short) if !short.contains('/') => short,
            _ => &self.path,
        };
        // A path that begins like a host would be read as one: such a name has no short form.
        if split_domain(short) == (self.domain.clone(), self.path.clone()) {
            short.to_owned()
        } else {
            self.repository()
        }
    }

    /// Returns the short form with tag and digest, as Docker prints it: `busybox:latest`.
    pub fn familiar(&self) -> String {
        self.append_rest(self.familiar_name())
    }

    fn append_rest(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, ParseReferenceError> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    /// Writes the normalised form.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.append_rest(self.repository()))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Splits the host off: the first part is one if it has a dot or a colon, is `localhost` or has upper case.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == LEGACY_DOMAIN {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
        format!("{OFFICIAL_PREFIX}{path}")
    } else {
        path.to_owned()
    };
    (domain.to_owned(), path)
}

fn is_domain(domain: &str) -> bool {
    if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return !address.is_empty()
            && address
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':')
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (host, port) = match domain.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (domain, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    port.is_none_or(is_port) && host.split('.').all(is_label)
}

fn is_port(port: &str) -> bool {
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns whether `path` is a repository's name on its registry: components of `[a-z0-9]+` joined by one `.`, one or
/// two `_`, or any number of `-`. Its length is not looked at.
pub fn is_path(path: &str) -> bool {
    path.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    let is_alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(is_alphanumeric) || !bytes.last().is_some_and(is_alphanumeric) {
        return false;
    }
    bytes.split(is_alphanumeric).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&byte| byte == b'-')
    })
}

/// Returns whether `tag` is a tag: a word character and up to 127 word characters, dots and dashes.
pub fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag
            .bytes()
            .all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_and_shortened() {
        let hex = "a".repeat(64);
        for (text, normalised, familiar) in [
            ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
            ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
            ("user/app", "docker.io/user/app:latest", "user/app:latest"),
            (
                "docker.io/busybox",
                "docker.io/library/busybox:latest",
                "busybox:latest",
            ),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            // Found by fuzzing: shortened, it would name another registry.
            (
                "docker.io/evil.example/x",
                "docker.io/evil.example/x:latest",
                "docker.io/evil.example/x:latest",
            ),
            (
                "docker.io/localhost/x",
                "docker.io/localhost/x:latest",
                "docker.io/localhost/x:latest",
            ),
            (
                "docker.io/docker.io/x",
                "docker.io/docker.io/x:latest",
                "docker.io/docker.io/x:latest",
            ),
            ("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y"),
            ("[::1]:5000/x", "[::1]:5000/x:latest", "[::1]:5000/x:latest"),
            (
                "example.com/a/b/c",
                "example.com/a/b/c:latest",
                "example.com/a/b/c:latest",
            ),
            (
                "a_b__c-d---e.f",
                "docker.io/library/a_b__c-d---e.f:latest",
                "a_b__c-d---e.f:latest",
            ),
            (
                "docker.io/library/a/b",
                "docker.io/library/a/b:latest",
                "library/a/b:latest",
            ),
        ] {
            let reference = Reference::parse(text).unwrap().with_default_tag();
            assert_eq!(reference.to_string(), normalised);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(Reference::parse(normalised).unwrap(), reference);
        }
        let pinned = Reference::parse(&format!("busybox@sha256:{hex}"))
            .unwrap()
            .with_default_tag();
        assert_eq!(pinned.tag(), None);
        assert_eq!(pinned.familiar(), format!("busybox@sha256:{hex}"));
        let both = Reference::parse(&format!("busybox:1@sha256:{hex}")).unwrap();
        assert_eq!((both.tag(), both.digest().is_some()), (Some("1"), true));
    }

    #[test]
    fn wrong_names_are_refused_in_dockers_words() {
        let error = |text: &str| Reference::parse(text).unwrap_err().to_string();
        for text in [
            "",
            ":",
            "a:",
            "a:b:c",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a//b",
            "/a",
            "a/",
            "a b",
            "a@b",
            "a@sha256:00",
            "a:-x",
            "../a",
            "a/../b",
            "ä",
            "a:\u{e4}",
            "[::1/x",
            "host:port/x",
            "a\n",
            "a:b/c",
        ] {
            assert_eq!(error(text), "invalid reference format", "{text}");
        }
        assert_eq!(
            error("Busybox"),
            "invalid reference format: repository name (library/Busybox) must be lowercase"
        );
        assert!(error(&"a".repeat(64)).starts_with("invalid repository name (aaaa"));
        assert_eq!(
            error(&"a".repeat(300)),
            "repository name must not be more than 255 characters"
        );
        assert_eq!(
            error(&format!("a:{}", "b".repeat(129))),
            "invalid reference format"
        );
    }
}
