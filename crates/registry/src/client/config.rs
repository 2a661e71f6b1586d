//! What a client is told once: whom to trust, whom to ask instead, through whom, and how long to wait.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{Credentials, NameSources, Proxies};

/// The settings of a [`super::Client`].
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The value of `User-Agent`.
    pub user_agent: String,
    /// Directories like `/etc/docker/certs.d`: below each, `HOST[:PORT]/` may hold `*.crt` (further authorities) and
    /// pairs `*.cert`, `*.key` (client certificates). All that have the host's directory count.
    pub certs_dirs: Vec<PathBuf>,
    /// Registries (`host`, `host:port`, or networks in CIDR form) whose certificates are not checked and that may be
    /// spoken to without TLS. `127.0.0.0/8`, `::1` and `localhost` are always among them.
    pub insecure_registries: Vec<String>,
    /// Registries to ask first when pulling, in turn, by the domain that they mirror (`docker.io`).
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// Proxies to go through.
    pub proxies: Proxies,
    /// Where names of hosts are looked up.
    pub names: NameSources,
    /// How long to wait, and how often to try.
    pub timeouts: Timeouts,
}

impl ClientConfig {
    /// Returns the settings of a host without configuration: docker's and Berth's own `certs.d`, proxies from the
    /// environment, the usual waits.
    pub fn standard(version: &str) -> Self {
        Self {
            user_agent: format!("berth/{version}"),
            certs_dirs: vec![
                PathBuf::from("/etc/docker/certs.d"),
                PathBuf::from("/etc/berth/certs.d"),
            ],
            insecure_registries: Vec::new(),
            mirrors: BTreeMap::new(),
            proxies: Proxies::from_variables(|name| std::env::var(name).ok()),
            names: NameSources::standard(),
            timeouts: Timeouts::standard(),
        }
    }
}

/// A registry to ask instead of another.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// `http://host[:port]` or `https://host[:port]`; `http` must be written out to be used.
    pub url: String,
    /// What the mirror itself wants; the credentials of the mirrored registry are never sent to it.
    pub credentials: Credentials,
}

/// Waits and attempts.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection including TLS.
    pub connect: Duration,
    /// For the head of an answer after a request was sent.
    pub answer: Duration,
    /// Between two pieces of a body in either direction: a transfer without progress for so long has failed.
    pub idle: Duration,
    /// How often a request that changes nothing is sent at most.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles for each further one.
    pub back_off: Duration,
    /// The longest `Retry-After` that is waited for; a longer one is an error at once.
    pub retry_after: Duration,
}

impl Timeouts {
    /// Returns the usual waits.
    pub fn standard() -> Self {
        Self {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            idle: Duration::from_secs(30),
            attempts: 4,
            back_off: Duration::from_millis(500),
            retry_after: Duration::from_secs(60),
        }
    }
}
