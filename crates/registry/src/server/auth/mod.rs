//! Who may do what: nobody is asked, a file of passwords, or tokens of a token server.
//!
//! Whoever is in the password file may do everything that this registry does at all. A token says itself which
//! repositories it is good for; it is believed when one of the configured keys signed it, and nothing else about it is
//! believed: no key, certificate or address that it brings along is looked at.

mod htpasswd;
mod key;
mod token;

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};

use super::fault::{Code, Fault};

pub(crate) use htpasswd::Htpasswd;
pub use htpasswd::HtpasswdError;
pub use key::KeyError;
pub(crate) use token::TokenGuard;

/// What stands before the registry.
pub(crate) enum Guard {
    /// Nothing.
    Open,
    /// A file of passwords.
    Htpasswd(Box<Htpasswd>),
    /// Tokens.
    Token(TokenGuard),
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Open => "Open",
            Self::Htpasswd(_) => "Htpasswd",
            Self::Token(_) => "Token",
        })
    }
}

/// What a request needs to be allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// `repository` or `registry`.
    pub(crate) kind: &'static str,
    /// The repository, or `catalog`.
    pub(crate) name: String,
    /// `pull`, `push`, `delete` or `*`.
    pub(crate) actions: &'static [&'static str],
}

impl Need {
    /// Returns the need of `actions` on a repository.
    pub(crate) fn repository(name: &str, actions: &'static [&'static str]) -> Self {
        Self {
            kind: "repository",
            name: name.to_owned(),
            actions,
        }
    }

    /// Returns the need to see which repositories there are.
    pub(crate) fn catalog() -> Self {
        Self {
            kind: "registry",
            name: "catalog".to_owned(),
            actions: &["*"],
        }
    }
}

/// What somebody may do on one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) actions: Vec<String>,
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    /// Their name for the log, `-` if nobody asked.
    pub(crate) name: String,
    /// What they may do; `None`: everything.
    access: Option<Vec<Access>>,
}

impl Visitor {
    /// Returns whether they may do what is needed.
    pub(crate) fn may(&self, need: &Need) -> bool {
        let Some(access) = &self.access else {
            return true;
        };
        need.actions.iter().all(|action| {
            access.iter().any(|access| {
                access.kind == need.kind
                    && access.name == need.name
                    && access.actions.iter().any(|given| given == action || given == "*")
            })
        })
    }
}

impl Guard {
    /// Lets a request in that has all that it needs; asks for credentials otherwise.
    pub(crate) async fn admit(&self, headers: &HeaderMap, needs: &[Need]) -> Result<Visitor, Fault> {
        match self {
            Self::Open => Ok(Visitor {
                name: "-".to_owned(),
                access: None,
            }),
            Self::Htpasswd(file) => {
                let name = file.check(headers.get(AUTHORIZATION)).await?;
                Ok(Visitor { name, access: None })
            }
            Self::Token(guard) => guard.admit(headers.get(AUTHORIZATION), needs),
        }
    }
}

/// Returns what follows the scheme in an `Authorization` header.
pub(crate) fn credentials<'a>(header: Option<&'a HeaderValue>, scheme: &str) -> Option<&'a str> {
    let (found, rest) = header?.to_str().ok()?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Returns the answer that asks for credentials.
fn challenge(challenge: &str) -> Fault {
    Fault::new(Code::Unauthorized).header(WWW_AUTHENTICATE, challenge)
}
