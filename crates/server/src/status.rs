//! The one place that turns an error's kind into an HTTP status.

use api_types::container::ErrorReply;
use base::error::{Kind, Kinded, chain};
use http::StatusCode;

use crate::reply::{self, Reply};

/// An error on its way to a client.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

/// Returns the status for `kind`.
pub(crate) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict | Kind::Busy => StatusCode::CONFLICT,
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Cancelled | Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl ApiError {
    /// Returns an error of `kind`.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::with_status(status(kind), message)
    }

    /// Returns an error with a status of its own.
    pub(crate) fn with_status(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// Returns an error that says that the request is wrong.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Returns Docker's reply to an unknown path.
    pub(crate) fn page_not_found() -> Self {
        Self::new(Kind::NotFound, "page not found")
    }

    /// Returns an error that says that `what` is not done yet.
    pub(crate) fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(Kind::Unsupported, format!("{what} is not supported by berth yet"))
    }

    /// Returns the reply.
    pub(crate) fn into_reply(self) -> Reply {
        let Self { status, message } = self;
        reply::json(status, &ErrorReply { message })
    }
}

impl<E: Kinded> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::new(error.kind(), chain(&error).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_status() {
        for (kind, code) in [
            (Kind::NotFound, 404),
            (Kind::Conflict, 409),
            (Kind::Invalid, 400),
            (Kind::Denied, 403),
            (Kind::Unsupported, 501),
            (Kind::Busy, 409),
            (Kind::Cancelled, 500),
            (Kind::Internal, 500),
        ] {
            assert_eq!(status(kind).as_u16(), code, "{kind:?}");
        }
    }
}
