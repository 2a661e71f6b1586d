//! What a server is told when it starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{ClientConfig, Credentials};

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where everything is kept.
    pub root: PathBuf,
    /// `address:port` to listen on; port 0 takes a free one.
    pub address: String,
    /// Who is let in.
    pub access: AccessConfig,
    /// The certificate; without one the server speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Whether anything may be pushed or removed.
    pub mode: Mode,
    /// Whether tags, manifests and blobs may be removed.
    pub deletion: Deletion,
    /// The registry that this one is a cache of.
    pub upstream: Option<UpstreamConfig>,
    /// The largest blob that is taken, in bytes.
    pub blob_limit: u64,
    /// How often garbage is collected; `None`: only by the command.
    pub garbage_interval: Option<Duration>,
}

/// Who is let in.
#[derive(Clone, Debug)]
pub enum AccessConfig {
    /// Everybody.
    Open,
    /// Who is in a file of names and bcrypt hashes.
    Htpasswd(PathBuf),
    /// Who has a token.
    Token {
        /// The file of public keys or certificates by which tokens are checked.
        key: PathBuf,
        /// The URL where clients get tokens.
        realm: String,
        /// This registry's name in tokens.
        service: String,
        /// The token server's name in tokens.
        issuer: String,
    },
}

/// A certificate and its key, both in PEM form.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// The file of the certificate and those that vouch for it.
    pub certificate: PathBuf,
    /// The file of the private key.
    pub key: PathBuf,
}

/// Whether anything may be changed by clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It may.
    ReadWrite,
    /// It may not.
    ReadOnly,
}

/// Whether anything may be removed by clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// It may.
    Allowed,
    /// It may not.
    Refused,
}

/// The registry that is cached.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// `https://host[:port]` or `http://host[:port]`.
    pub url: String,
    /// What it is shown; nobody else is.
    pub credentials: Credentials,
    /// How the client speaks.
    pub client: ClientConfig,
    /// How long a tag is believed before the upstream is asked again.
    pub fresh: Duration,
}

/// Takes the log's lines, without line ends.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(&str) + Send + Sync>);

impl Log {
    /// Returns a log that gives each line to `write`.
    pub fn new(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Writes one line, with the time before it.
    pub(crate) fn line(&self, text: std::fmt::Arguments<'_>) {
        let now = base::clock::Timestamp::now();
        (self.0)(&format!("{now} {text}"));
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Log")
    }
}
