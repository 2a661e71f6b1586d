//! What a path means: the end points of the specification, told apart by how a path ends.
//!
//! A repository's name may hold anything that its grammar allows, also words like `blobs`; so the end of the path
//! decides, and what is before it must be a name. Segments are decoded one by one, so that an escaped slash or dot is
//! never one.

use oci::Digest;
use oci::reference::{is_path, is_tag};

use super::fault::{Code, Fault};

/// The longest name of a repository, as in Docker's registry.
const MAX_NAME: usize = 255;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags { name: String },
    /// `/v2/<name>/manifests/<reference>`
    Manifest { name: String, reference: Reference },
    /// `/v2/<name>/blobs/<digest>`
    Blob { name: String, digest: Digest },
    /// `/v2/<name>/blobs/uploads/`
    Uploads { name: String },
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload { name: String, id: String },
    /// `/v2/<name>/referrers/<digest>`
    Referrers { name: String, digest: Digest },
    /// `/v1/_ping`
    OldPing,
    /// `/v1/search`
    Search,
}

/// A manifest's name within its repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl Route {
    /// Returns the repository that is meant.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn repository(&self) -> Option<&str> {
        match self {
            Self::Tags { name }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. }
            | Self::Referrers { name, .. } => Some(name),
            Self::Base | Self::Catalog | Self::OldPing | Self::Search => None,
        }
    }

    /// Returns the methods that it knows.
    pub(crate) fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Base | Self::Catalog | Self::Tags { .. } | Self::Referrers { .. } => &["GET", "HEAD"],
            Self::OldPing | Self::Search => &["GET", "HEAD"],
            Self::Manifest { .. } => &["GET", "HEAD", "PUT", "DELETE"],
            Self::Blob { .. } => &["GET", "HEAD", "DELETE"],
            Self::Uploads { .. } => &["POST"],
            Self::Upload { .. } => &["GET", "HEAD", "PATCH", "PUT", "DELETE"],
        }
    }
}

/// Reads an undecoded path; `None` is a path that nothing is at.
pub(crate) fn parse(path: &str) -> Result<Option<Route>, Fault> {
    let Some(decoded) = path
        .strip_prefix('/')
        .unwrap_or_default()
        .split('/')
        .map(decode)
        .collect::<Option<Vec<String>>>()
    else {
        return Err(Fault::because(Code::NameInvalid, "the path is not UTF-8"));
    };
    let words: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let route = match words.as_slice() {
        ["v1", "_ping"] => Route::OldPing,
        ["v1", "search"] => Route::Search,
        ["v2"] | ["v2", ""] => Route::Base,
        ["v2", "_catalog"] => Route::Catalog,
        ["v2", name @ .., "tags", "list"] => Route::Tags {
            name: repository(name)?,
        },
        ["v2", name @ .., "blobs", "uploads", ""] | ["v2", name @ .., "blobs", "uploads"] => Route::Uploads {
            name: repository(name)?,
        },
        ["v2", name @ .., "blobs", "uploads", id] => Route::Upload {
            name: repository(name)?,
            id: upload_id(id)?,
        },
        ["v2", name @ .., "blobs", text] => Route::Blob {
            name: repository(name)?,
            digest: digest(text)?,
        },
        ["v2", name @ .., "manifests", text] => Route::Manifest {
            name: repository(name)?,
            reference: reference(text)?,
        },
        ["v2", name @ .., "referrers", text] => Route::Referrers {
            name: repository(name)?,
            digest: digest(text)?,
        },
        _ => return Ok(None),
    };
    Ok(Some(route))
}

/// Reads a repository's name.
pub(crate) fn repository_name(name: &str) -> Result<String, Fault> {
    if name.len() <= MAX_NAME && is_path(name) {
        Ok(name.to_owned())
    } else {
        let shown: String = name.chars().take(MAX_NAME).collect();
        Err(Fault::with_detail(
            Code::NameInvalid,
            serde_json::json!({ "name": shown }),
        ))
    }
}

/// Reads a digest of the one kind that is stored.
pub(crate) fn digest(text: &str) -> Result<Digest, Fault> {
    match text.parse::<Digest>() {
        Ok(digest) if digest.algorithm() == "sha256" => Ok(digest),
        Ok(digest) => Err(Fault::because(
            Code::DigestInvalid,
            format!("{} is not supported, sha256 is", digest.algorithm()),
        )),
        Err(error) => Err(Fault::because(Code::DigestInvalid, error.to_string())),
    }
}

fn repository(words: &[&str]) -> Result<String, Fault> {
    // A decoded slash within a word would make one name of two.
    if words.iter().any(|word| word.contains('/')) {
        return Err(Fault::new(Code::NameInvalid));
    }
    repository_name(&words.join("/"))
}

fn reference(text: &str) -> Result<Reference, Fault> {
    if text.contains(':') {
        return digest(text).map(Reference::Digest);
    }
    if is_tag(text) {
        return Ok(Reference::Tag(text.to_owned()));
    }
    Err(Fault::because(Code::TagInvalid, "the tag breaks the grammar"))
}

/// Ids of uploads are 32 hex digits of our own; anything else was never one.
fn upload_id(id: &str) -> Result<String, Fault> {
    let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_id {
        Ok(id.to_owned())
    } else {
        Err(Fault::new(Code::BlobUploadUnknown))
    }
}

/// Undoes percent-encoding; `None` if the result is no text.
pub(crate) fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The parameters after the question mark. A plus is a plus: media types have them, and nothing here has spaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads them; what cannot be decoded is left out.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        Self(pairs.collect())
    }

    /// Returns the first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn name(route: &Route) -> &str {
        route.repository().unwrap_or_default()
    }

    #[test]
    fn ends_decide() {
        let id = "0123456789abcdef0123456789abcdef";
        for (path, expected) in [
            ("/v2/a/tags/list", "a"),
            ("/v2/tags/list/tags/list", "tags/list"),
            ("/v2/a/blobs/uploads/manifests/latest", "a/blobs/uploads"),
            ("/v2/a/b/c/manifests/v1", "a/b/c"),
            (&format!("/v2/a/manifests/{DIGEST}"), "a"),
            (&format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")), "a"),
            ("/v2/a/blobs/uploads/", "a"),
            ("/v2/a/blobs/uploads", "a"),
            (&format!("/v2/a/b/blobs/uploads/{id}"), "a/b"),
            (&format!("/v2/blobs/uploads/referrers/{DIGEST}"), "blobs/uploads"),
        ] {
            let route = parse(path).unwrap().unwrap();
            assert_eq!(name(&route), expected, "{path} {route:?}");
        }
        assert_eq!(parse("/v2/").unwrap(), Some(Route::Base));
        assert_eq!(parse("/v2").unwrap(), Some(Route::Base));
        assert_eq!(parse("/v2/_catalog").unwrap(), Some(Route::Catalog));
        for path in ["/", "/v3/", "/v2/a", "/v2/a/tags", "/v1/x", "/v2/a/unknown/x"] {
            assert_eq!(parse(path).unwrap(), None, "{path}");
        }
    }

    #[test]
    fn im_08_names_and_ids_are_not_paths() {
        let long = format!("/v2/{}/tags/list", "a".repeat(256));
        for (path, status) in [
            ("/v2/../tags/list", 400),
            ("/v2/a/../../x/manifests/v1", 400),
            ("/v2/a%2Fb/tags/list", 400),
            ("/v2/%2e%2e/tags/list", 400),
            ("/v2/a%00b/tags/list", 400),
            ("/v2/a//b/tags/list", 400),
            ("/v2//tags/list", 400),
            ("/v2/tags/list", 400),
            ("/v2/A/tags/list", 400),
            ("/v2/a%zz/tags/list", 400),
            ("/v2/a%ff/tags/list", 400),
            (long.as_str(), 400),
            ("/v2/a/blobs/uploads/..%2f..%2fetc", 404),
            ("/v2/a/blobs/sha256:..", 400),
            ("/v2/a/blobs/latest", 400),
            ("/v2/a/manifests/..", 400),
            ("/v2/a/manifests/%2e%2e%2fx", 400),
            ("/v2/a/manifests/sha512:00", 400),
        ] {
            match parse(path) {
                Err(fault) => assert_eq!(fault.status.as_u16(), status, "{path}"),
                Ok(route) => panic!("{path} is {route:?}"),
            }
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("n=5&last=a%2Fb&artifactType=a/b+json&broken=%zz&flag");
        assert_eq!(query.get("n"), Some("5"));
        assert_eq!(query.get("last"), Some("a/b"));
        assert_eq!(query.get("artifactType"), Some("a/b+json"));
        assert_eq!(query.get("broken"), None);
        assert_eq!(query.get("flag"), Some(""));
    }
}
