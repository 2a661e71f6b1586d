//! Why a request to a registry failed, in the words that docker prints.

use std::fmt;
use std::time::Duration;

use base::error::{Kind, Kinded};
use oci::Digest;
use serde::Deserialize;

use super::challenge::challenges;
use super::transport::Answer;

/// Most of an error document that is read, in bytes.
const MAX_DOCUMENT: u64 = 64 << 10;
const MAX_ERRORS: usize = 16;

/// One entry of a registry's error document (OCI distribution 1.1, "Error Codes").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// `MANIFEST_UNKNOWN`, `DENIED`, …; at most 128 characters.
    pub code: String,
    /// What a person may read; at most 1,024 characters, without control characters.
    pub message: String,
}

impl fmt::Display for ApiError {
    /// Writes what docker prints: `manifest unknown: manifest unknown`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.to_ascii_lowercase().replace('_', " ");
        if self.message.is_empty() {
            formatter.write_str(&code)
        } else {
            write!(formatter, "{code}: {}", self.message)
        }
    }
}

/// Why a request to a registry failed. URLs are shown without their query, which may hold signatures.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not let these credentials read or write the repository, or the repository is not there.
    #[error("pull access denied for {name}, repository does not exist or may require 'docker login'")]
    AccessDenied {
        /// The repository's familiar name.
        name: String,
        /// The registry's answer.
        source: Box<Self>,
    },
    /// The tag or digest is not there.
    #[error("manifest for {reference} not found")]
    ManifestUnknown {
        /// The familiar reference.
        reference: String,
        /// The registry's answer.
        source: Box<Self>,
    },
    /// The repository is not there.
    #[error("repository {name} not found")]
    NameUnknown {
        /// The repository's familiar name.
        name: String,
        /// The registry's answer.
        source: Box<Self>,
    },
    /// The registry answered with its own error document.
    #[error("{}", join(.errors))]
    Answer {
        /// The HTTP status.
        status: u16,
        /// At least one entry.
        errors: Vec<ApiError>,
    },
    /// The registry answered with a status and nothing that explains it.
    #[error("received unexpected HTTP status: {status} {reason}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// The usual words for it.
        reason: &'static str,
    },
    /// The registry wants credentials and there are none, or it refuses them.
    #[error("{method} \"{url}\": {reason}")]
    Unauthorized {
        /// `Get`, `Post`, … as docker prints it.
        method: String,
        /// What was asked for.
        url: String,
        /// `no basic auth credentials`, `unauthorized: …`
        reason: String,
    },
    /// No answer: the name is not known, nobody listens, TLS failed, the connection broke before the answer.
    #[error("{method} \"{url}\"")]
    Unreachable {
        /// `Get`, `Post`, … as docker prints it.
        method: String,
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing came for too long.
    #[error("{method} \"{url}\": nothing received for {} seconds", .after.as_secs())]
    Stalled {
        /// `Get`, `Post`, … as docker prints it.
        method: String,
        /// What was asked for.
        url: String,
        /// How long was waited.
        after: Duration,
    },
    /// The body ended early or its connection broke.
    #[error("{method} \"{url}\": connection lost after {received} bytes")]
    Interrupted {
        /// `Get`, `Post`, … as docker prints it.
        method: String,
        /// What was asked for.
        url: String,
        /// Bytes of this body that had come.
        received: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The registry breaks the protocol.
    #[error("{method} \"{url}\": {problem}")]
    Protocol {
        /// `Get`, `Post`, … as docker prints it.
        method: String,
        /// What was asked for.
        url: String,
        /// In which way.
        problem: String,
    },
    /// The content is not what its digest says.
    #[error("content of \"{url}\" has the digest {found} instead of {wanted}")]
    WrongDigest {
        /// What was asked for.
        url: String,
        /// The digest that it should have.
        wanted: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// Larger or more than Berth accepts.
    #[error("{what} of \"{url}\" exceeds the limit of {limit}")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// `manifest`, `list of tags`, …
        what: &'static str,
        /// The limit with its unit.
        limit: String,
    },
    /// The image's format is not supported.
    #[error("media type \"{media_type}\" of {reference} is not supported{hint}")]
    MediaType {
        /// The familiar reference.
        reference: String,
        /// What the registry sent.
        media_type: String,
        /// Empty, or what can be done.
        hint: &'static str,
    },
    /// The client's own settings are wrong: a proxy's URL, a certificate.
    #[error("{problem}")]
    Config {
        /// Which, and in which way.
        problem: String,
    },
    /// The caller's own blob could not be read for the upload.
    #[error("read what is to be sent to \"{url}\"")]
    Source {
        /// Where it was to go.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl RegistryError {
    /// Returns whether the same request may succeed later: worth another attempt, or resuming.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Interrupted { .. } => true,
            Self::Answer { status, .. } | Self::Status { status, .. } => {
                matches!(status, 408 | 425 | 429 | 500..=599)
            }
            _ => false,
        }
    }

    /// Returns the HTTP status of the registry's answer, if it gave one.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answer { status, .. } | Self::Status { status, .. } => Some(*status),
            Self::AccessDenied { source, .. }
            | Self::ManifestUnknown { source, .. }
            | Self::NameUnknown { source, .. } => source.status(),
            Self::Unauthorized { .. } => Some(401),
            _ => None,
        }
    }
}

impl Kinded for RegistryError {
    fn kind(&self) -> Kind {
        match self {
            // Docker answers 404 to a denied pull: the registry does not tell a private repository from none.
            Self::AccessDenied { .. } | Self::ManifestUnknown { .. } | Self::NameUnknown { .. } => {
                Kind::NotFound
            }
            Self::Unauthorized { .. } => Kind::Denied,
            Self::Answer { status, .. } | Self::Status { status, .. } => match status {
                400 | 413 | 416 | 422 => Kind::Invalid,
                401 | 403 => Kind::Denied,
                404 => Kind::NotFound,
                405 => Kind::Unsupported,
                409 => Kind::Conflict,
                429 => Kind::Busy,
                _ => Kind::Internal,
            },
            Self::MediaType { .. } => Kind::Unsupported,
            Self::Config { .. } => Kind::Invalid,
            Self::Unreachable { .. }
            | Self::Stalled { .. }
            | Self::Interrupted { .. }
            | Self::Protocol { .. }
            | Self::WrongDigest { .. }
            | Self::TooLarge { .. }
            | Self::Source { .. } => Kind::Internal,
        }
    }
}

/// Returns the error that an answer stands for, reading its body.
pub(crate) async fn error_of(mut answer: Answer) -> RegistryError {
    let status = answer.status.as_u16();
    // Errors of OAuth in the header come before the document (RFC 6750, section 3.1).
    let offered = challenges(&answer.headers);
    let bearer = offered.iter().find(|challenge| challenge.scheme == "bearer");
    if let Some(bearer) = bearer.filter(|_| (400..500).contains(&status)) {
        let (code, usual) = match bearer.parameter("error") {
            Some("insufficient_scope") => ("DENIED", "requested access to the resource is denied"),
            Some("invalid_token") => ("UNAUTHORIZED", "authentication required"),
            _ => ("", ""),
        };
        if !code.is_empty() {
            let message = bearer
                .parameter("error_description")
                .map_or_else(|| usual.to_owned(), clean);
            let code = code.to_owned();
            return RegistryError::Answer {
                status,
                errors: vec![ApiError { code, message }],
            };
        }
    }
    // Whatever is wrong with the body, the status is known.
    let body = answer.bytes(MAX_DOCUMENT, "error").await.unwrap_or_default();
    let errors = parse(&body);
    if !errors.is_empty() {
        return RegistryError::Answer { status, errors };
    }
    let usual = match status {
        401 => Some(("UNAUTHORIZED", "authentication required")),
        403 => Some(("DENIED", "requested access to the resource is denied")),
        429 => Some(("TOOMANYREQUESTS", "too many requests")),
        _ => None,
    };
    match usual {
        Some((code, message)) => RegistryError::Answer {
            status,
            errors: vec![ApiError {
                code: code.to_owned(),
                message: message.to_owned(),
            }],
        },
        None => RegistryError::Status {
            status,
            reason: answer.status.canonical_reason().unwrap_or("unknown"),
        },
    }
}

/// `{"errors": [{"code", "message", "detail"}]}`, or what token servers and Docker Hub say: `{"details"}`, `{"message"}`.
#[derive(Default, Deserialize)]
struct Document {
    #[serde(default)]
    errors: Option<Vec<Entry>>,
    #[serde(default)]
    details: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

fn parse(body: &[u8]) -> Vec<ApiError> {
    let document: Document = serde_json::from_slice(body).unwrap_or_default();
    let entries = document.errors.unwrap_or_default().into_iter().take(MAX_ERRORS);
    let errors: Vec<_> = entries
        .map(|entry| ApiError {
            code: entry.code.map_or_else(
                || "UNKNOWN".to_owned(),
                |code| clean(&code).chars().take(128).collect(),
            ),
            message: entry.message.as_deref().map(clean).unwrap_or_default(),
        })
        .collect();
    if !errors.is_empty() {
        return errors;
    }
    let said = document.details.or(document.message);
    said.map(|text| ApiError {
        code: "UNKNOWN".to_owned(),
        message: clean(&text),
    })
    .into_iter()
    .collect()
}

/// Returns a registry's words fit for a terminal and a log: no control characters, at most 1,024 characters.
fn clean(text: &str) -> String {
    let shown = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().take(1024).map(shown).collect()
}

/// Joins entries as docker does: one alone, several below the word "errors".
fn join(errors: &[ApiError]) -> String {
    match errors {
        [one] => one.to_string(),
        several => {
            let mut text = "errors:\n".to_owned();
            for error in several {
                text.push_str(&error.to_string());
                text.push('\n');
            }
            text
        }
    }
}
