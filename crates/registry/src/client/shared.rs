//! The client: settings, connections, and what was learned of registries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use oci::Reference;
use tokio::time::Instant;

use super::auth::Authenticator;
use super::config::ClientConfig;
use super::connect::Connector;
use super::endpoint::Endpoint;
use super::host::{self, Safety};
use super::origin::Origin;
use super::repository::{Access, Repository};
use super::tls::{Check, Trust};
use super::transport::{Pool, Transport};
use super::{Credentials, Mirror, RegistryError};

/// How long it is remembered that an insecure registry speaks TLS, or does not.
const REMEMBER: Duration = Duration::from_secs(60);

/// Speaks to registries. Cheap to clone; clones share connections and what was learned of registries.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

/// What all clones, and everything that they made, share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ClientConfig,
    pub(crate) transport: Transport,
    /// Whether an insecure registry speaks TLS, and since when that is known.
    schemes: Mutex<HashMap<String, (bool, Instant)>>,
}

impl Client {
    /// Returns a client. Fails if a setting is wrong; nothing is sent.
    pub fn new(config: ClientConfig) -> Result<Self, RegistryError> {
        let wrong = |problem: String| RegistryError::Config { problem };
        config.proxies.check()?;
        for entry in &config.insecure_registries {
            host::check_entry(entry).map_err(wrong)?;
        }
        for mirror in config.mirrors.values().flatten() {
            mirror_origin(mirror)?;
        }
        let user_agent = HeaderValue::from_str(&config.user_agent)
            .map_err(|_invalid| wrong("the user agent cannot stand in a header".to_owned()))?;
        let transport = Transport {
            connector: Connector {
                names: config.names.clone(),
                certs_dirs: config.certs_dirs.clone(),
                trust: Arc::new(Trust::default()),
                limit: config.timeouts.connect,
            },
            proxies: config.proxies.clone(),
            timeouts: config.timeouts,
            user_agent,
            pool: Arc::new(Pool::default()),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                transport,
                schemes: Mutex::default(),
            }),
        })
    }

    /// Returns the calls on the repository that `reference` names (its tag and digest do not count). Nothing is sent.
    pub fn repository(&self, reference: &Reference, credentials: Credentials, access: Access) -> Repository {
        let mut mirrors = Vec::new();
        let scope = |actions: &str| vec![format!("repository:{}:{actions}", reference.path())];
        if access == Access::Pull {
            for mirror in self
                .shared
                .config
                .mirrors
                .get(reference.domain())
                .into_iter()
                .flatten()
            {
                // A wrong one was refused when the client was made.
                if let Ok((authority, safety)) = mirror_origin(mirror) {
                    let auth = Authenticator::new(mirror.credentials.clone(), scope("pull"));
                    let safety = match (safety, self.safety(&authority)) {
                        // A URL with https is spoken to by https even where the host is insecure.
                        (Safety::Strict, Safety::Insecure) => Safety::Unchecked,
                        (safety, _) => safety,
                    };
                    mirrors.push(Endpoint::new(&self.shared, authority, safety, auth));
                }
            }
        }
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
            Access::Delete => "pull,push,delete",
        };
        let auth = Authenticator::new(credentials, scope(actions));
        Repository::new(
            reference.clone(),
            mirrors,
            self.endpoint(reference.domain(), auth),
        )
    }

    /// Returns the registry for `domain`.
    pub(crate) fn endpoint(&self, domain: &str, auth: Authenticator) -> Endpoint {
        let authority = host::server_of(domain).to_owned();
        let safety = self.safety(&authority);
        Endpoint::new(&self.shared, authority, safety, auth)
    }

    pub(crate) fn safety(&self, authority: &str) -> Safety {
        Origin::parse(true, authority).map_or(Safety::Strict, |origin| {
            host::safety(&self.shared.config, &origin, authority)
        })
    }
}

impl Shared {
    /// Returns whether the certificate of `origin` is checked.
    pub(crate) fn check(&self, origin: &Origin) -> Check {
        match host::safety(&self.config, origin, &origin.authority()) {
            Safety::Insecure => Check::Skip,
            _ => Check::Full,
        }
    }

    /// Returns whether `target`, to which `registry` sends, may be spoken to without a checked certificate: not just
    /// because it is a loopback address, which only a registry on this host may name.
    pub(crate) fn is_lenient(&self, registry: &Origin, target: &Origin) -> bool {
        host::is_listed(&self.config, target, &target.authority())
            || (target.is_loopback() && registry.is_loopback())
    }

    /// Returns whether an insecure registry is known to speak TLS, or not to.
    pub(crate) fn speaks_tls(&self, authority: &str) -> Option<bool> {
        let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        schemes.retain(|_, (_, since)| since.elapsed() < REMEMBER);
        schemes.get(authority).map(|(tls, _)| *tls)
    }

    /// Remembers whether a registry speaks TLS, if that `matters`: for a strict one it is no question.
    pub(crate) fn remember(&self, matters: bool, authority: &str, tls: bool) {
        if !matters {
            return;
        }
        let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        schemes
            .entry(authority.to_owned())
            .or_insert((tls, Instant::now()));
    }
}

/// Returns the host and the safety that a mirror's URL states.
fn mirror_origin(mirror: &Mirror) -> Result<(String, Safety), RegistryError> {
    let wrong = || RegistryError::Config {
        problem:
            "invalid mirror: http[s]://host[:port] is needed, without a user, a path, a query and a fragment"
                .to_owned(),
    };
    let (scheme, rest) = mirror.url.split_once("://").ok_or_else(wrong)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let safety = match scheme {
        "https" => Safety::Strict,
        "http" => Safety::Plain,
        _ => return Err(wrong()),
    };
    Origin::parse(safety == Safety::Strict, authority).ok_or_else(wrong)?;
    Ok((authority.to_owned(), safety))
}
