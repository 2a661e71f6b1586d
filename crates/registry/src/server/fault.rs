//! Answers that say no: the error documents of the specification ("Error Codes") and their statuses.

use base::error::{Kind, Kinded, chain};
use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::reply::{self, Body};

/// What clients decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    PaginationNumberInvalid,
    RangeInvalid,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Unsupported,
    TooManyRequests,
    Unavailable,
    Unknown,
}

impl Code {
    /// Returns the code's name and its text; those of the specification, else those of Docker's registry.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::BlobUnknown => ("BLOB_UNKNOWN", "blob unknown to registry"),
            Self::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", "blob upload invalid"),
            Self::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry"),
            Self::DigestInvalid => ("DIGEST_INVALID", "provided digest did not match uploaded content"),
            Self::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", "blob unknown to registry"),
            Self::ManifestInvalid => ("MANIFEST_INVALID", "manifest invalid"),
            Self::ManifestUnknown => ("MANIFEST_UNKNOWN", "manifest unknown"),
            Self::NameInvalid => ("NAME_INVALID", "invalid repository name"),
            Self::NameUnknown => ("NAME_UNKNOWN", "repository name not known to registry"),
            Self::PaginationNumberInvalid => {
                ("PAGINATION_NUMBER_INVALID", "invalid number of results requested")
            }
            Self::RangeInvalid => ("RANGE_INVALID", "invalid content range"),
            Self::SizeInvalid => ("SIZE_INVALID", "provided length did not match content length"),
            Self::TagInvalid => ("TAG_INVALID", "manifest tag did not match URI"),
            Self::Unauthorized => ("UNAUTHORIZED", "authentication required"),
            Self::Unsupported => ("UNSUPPORTED", "The operation is unsupported."),
            Self::TooManyRequests => ("TOOMANYREQUESTS", "too many requests"),
            Self::Unavailable => ("UNAVAILABLE", "service unavailable"),
            Self::Unknown => ("UNKNOWN", "unknown error"),
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown | Self::BlobUploadUnknown | Self::ManifestUnknown | Self::NameUnknown => {
                StatusCode::NOT_FOUND
            }
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::PaginationNumberInvalid
            | Self::SizeInvalid
            | Self::TagInvalid => StatusCode::BAD_REQUEST,
            Self::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal on its way to a client.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    errors: Vec<Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What the log says and the client is not told.
    pub(crate) cause: Option<String>,
}

impl Fault {
    /// Returns a refusal with the code's own text.
    pub(crate) fn new(code: Code) -> Self {
        Self::with_detail(code, Value::Null)
    }

    /// Returns a refusal that says what is wrong.
    pub(crate) fn because(code: Code, reason: impl Into<String>) -> Self {
        Self::with_detail(code, Value::String(reason.into()))
    }

    /// Returns a refusal with a detail as data.
    pub(crate) fn with_detail(code: Code, detail: Value) -> Self {
        Self::several(code, [detail])
    }

    /// Returns a refusal with one error for each detail.
    pub(crate) fn several(code: Code, details: impl IntoIterator<Item = Value>) -> Self {
        let (name, message) = code.words();
        let error = |detail| match detail {
            Value::Null => json!({ "code": name, "message": message }),
            // A text is what a person needs to know: docker prints only the message.
            Value::String(reason) => {
                json!({ "code": name, "message": format!("{message}: {reason}"), "detail": reason })
            }
            detail => json!({ "code": name, "message": message, "detail": detail }),
        };
        Self {
            status: code.status(),
            errors: details.into_iter().map(error).collect(),
            headers: Vec::new(),
            cause: None,
        }
    }

    /// Changes the status.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Adds a header; a value that is none is left out.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Returns a refusal that is this registry's own fault; the client is not told why.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::internal_text(chain(error).to_string())
    }

    /// Returns a refusal that is this registry's own fault, with the log's text.
    pub(crate) fn internal_text(cause: String) -> Self {
        Self {
            cause: Some(cause),
            ..Self::new(Code::Unknown)
        }
    }

    /// Returns the answer.
    pub(crate) fn into_response(self) -> Response<Body> {
        let document = json!({ "errors": self.errors });
        let mut response = reply::json(self.status, &document);
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

impl From<db::StoreError> for Fault {
    fn from(error: db::StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<base::file::FileError> for Fault {
    fn from(error: base::file::FileError) -> Self {
        Self::internal(&error)
    }
}

impl From<content::BlobError> for Fault {
    fn from(error: content::BlobError) -> Self {
        match error.kind() {
            Kind::NotFound => Self::new(Code::BlobUnknown),
            Kind::Unsupported => Self::because(Code::DigestInvalid, error.to_string()),
            _ => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_those_of_the_specification() {
        let fault = Fault::with_detail(Code::BlobUnknown, json!({ "digest": "sha256:x" }));
        assert_eq!(fault.status, StatusCode::NOT_FOUND);
        assert_eq!(
            json!({ "errors": fault.errors }).to_string(),
            r#"{"errors":[{"code":"BLOB_UNKNOWN","detail":{"digest":"sha256:x"},"message":"blob unknown to registry"}]}"#
        );
        let fault = Fault::internal_text("secret path".into());
        assert!(!json!(fault.errors).to_string().contains("secret"));
    }
}
