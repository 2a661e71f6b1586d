//! What every error of Berth can be asked, and the one way in which errors are printed.
//!
//! An error's `Display` says what was being done and to what; it never repeats its source. [`chain`] joins the
//! causes with colons and is what every log line, reply and message uses.

use std::error::Error;
use std::fmt::{self, Display};

/// What an error means to the caller, independent of where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The named object does not exist.
    NotFound,
    /// The object's present state, or another object, is in the way.
    Conflict,
    /// The request itself is wrong.
    Invalid,
    /// The caller may not do this.
    Denied,
    /// This kernel, host or version of Berth cannot do it.
    Unsupported,
    /// The object is in use; the same request may succeed later.
    Busy,
    /// The caller or the daemon gave up before the end.
    Cancelled,
    /// A promise was broken: a bug, a full disk, a damaged store.
    Internal,
}

/// An error that knows its [`Kind`].
pub trait Kinded: Error {
    /// Returns what this error means to the caller.
    fn kind(&self) -> Kind;
}

/// Returns a `Display` of `error` and all its causes, joined by `: `.
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> impl Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'a));

impl Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Returns the [`Kind`] that an `io::Error` suggests when nothing better is known.
pub fn kind_of_io(error: &std::io::Error) -> Kind {
    match error.kind() {
        std::io::ErrorKind::NotFound => Kind::NotFound,
        std::io::ErrorKind::PermissionDenied => Kind::Denied,
        std::io::ErrorKind::AlreadyExists => Kind::Conflict,
        std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => Kind::Invalid,
        std::io::ErrorKind::ResourceBusy => Kind::Busy,
        std::io::ErrorKind::Unsupported => Kind::Unsupported,
        _ => Kind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open \"{path}\"")]
    struct OpenError {
        path: &'static str,
        source: std::io::Error,
    }

    #[test]
    fn chain_joins_causes_with_colons() {
        let error = OpenError {
            path: "/x",
            source: std::io::Error::other("no luck"),
        };
        assert_eq!(chain(&error).to_string(), "open \"/x\": no luck");
    }
}
