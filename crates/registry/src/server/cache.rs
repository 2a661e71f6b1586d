//! A cache of another registry: what is asked for and not here is fetched, checked, kept and handed on.
//!
//! What has a digest is fetched once. A tag is asked for at the upstream each time that it is older than it may be;
//! while the upstream cannot be reached, what is known is served. Clients are let in by this registry's own rules, and
//! the upstream sees this registry's credentials, never theirs. A blob is read through a repository only if the
//! upstream's repository has it, also when it is here for another one.
//!
//! A blob is sent to its first clients while it comes in, all but its last byte: that one follows when the digest is
//! right, so nobody gets a whole blob that is not what it should be.

mod fetch;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::error::chain;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE};
use http::{Response, StatusCode};
use oci::Digest;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};

use super::blob;
use super::call::Call;
use super::config::{Log, UpstreamConfig};
use super::document;
use super::fault::{Code, Fault};
use super::manifest::{self, Manifest};
use super::reply::{self, Body};
use super::route::Reference;
use super::shared::Shared;
use super::store::now;
use crate::client::{Access, Client, Credentials, RegistryError, Repository, Target};

use fetch::Progress;

/// How many blobs are fetched at once.
const FETCHES: usize = 32;

/// How long an upstream that could not be reached is left alone, in seconds, where something can be served without it.
const DOWN: i64 = 10;

/// Why the upstream cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The URL is not that of a registry.
    #[error("upstream \"{url}\" is not \"http://host[:port]\" or \"https://host[:port]\"")]
    Url {
        /// The URL, without what might be a password.
        url: String,
    },
    /// The client's settings are wrong.
    #[error("set up the upstream")]
    Client {
        /// Why.
        source: Box<RegistryError>,
    },
}

/// The cache's side of its upstream.
#[derive(Debug)]
pub(crate) struct Cache {
    client: Client,
    domain: String,
    credentials: Credentials,
    /// How long a tag is believed, in seconds.
    fresh: i64,
    /// Until when the upstream is left alone.
    down_until: AtomicI64,
    /// What is being fetched.
    fetches: Mutex<HashMap<Digest, watch::Receiver<Progress>>>,
    slots: Arc<Semaphore>,
    log: Log,
}

impl Cache {
    /// Returns a cache; nothing is sent.
    pub(crate) fn new(config: UpstreamConfig, log: Log) -> Result<Self, UpstreamError> {
        let UpstreamConfig {
            url,
            credentials,
            mut client,
            fresh,
        } = config;
        let wrong = || UpstreamError::Url {
            url: url.rsplit('@').next().unwrap_or_default().to_owned(),
        };
        let (host, is_plain) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(host), _) => (host, false),
            (_, Some(host)) => (host, true),
            _ => return Err(wrong()),
        };
        let host = host.strip_suffix('/').unwrap_or(host);
        let domain = match host {
            "registry-1.docker.io" | "index.docker.io" => "docker.io",
            host => host,
        };
        if domain.contains(['/', '@', '?', '#']) || reference(domain, "x/y").is_none() {
            return Err(wrong());
        }
        if is_plain {
            client.insecure_registries.push(domain.to_owned());
        }
        let client = Client::new(client).map_err(|source| UpstreamError::Client {
            source: Box::new(source),
        })?;
        Ok(Self {
            client,
            domain: domain.to_owned(),
            credentials,
            fresh: i64::try_from(fresh.as_secs()).unwrap_or(i64::MAX),
            down_until: AtomicI64::new(0),
            fetches: Mutex::default(),
            slots: Arc::new(Semaphore::new(FETCHES)),
            log,
        })
    }

    fn repository(&self, name: &str) -> Result<Repository, Fault> {
        let Some(reference) = reference(&self.domain, name) else {
            return Err(Fault::new(Code::NameInvalid));
        };
        Ok(self
            .client
            .repository(&reference, self.credentials.clone(), Access::Pull))
    }

    /// Returns a manifest: the upstream's present one for a tag, if it can be asked.
    pub(crate) async fn manifest(
        &self,
        shared: &Arc<Shared>,
        name: &str,
        wanted: &Reference,
    ) -> Result<Manifest, Fault> {
        let known = local(shared, name, wanted.clone()).await;
        let tag = match wanted {
            Reference::Digest(digest) => {
                return match known {
                    Err(fault) if fault.status != StatusCode::NOT_FOUND => Err(fault),
                    Ok(manifest) => Ok(manifest),
                    Err(_) => self.fetch_manifest(shared, name, digest, None).await,
                };
            }
            Reference::Tag(tag) => tag,
        };
        if let Ok(manifest) = &known {
            let row = {
                let (name, tag) = (name.to_owned(), tag.clone());
                shared
                    .blocking(move |shared| Ok(shared.store.rows.tag(&name, &tag)?))
                    .await?
            };
            let is_fresh = row.is_some_and(|row| now().saturating_sub(row.since) < self.fresh);
            if is_fresh || now() < self.down_until.load(Ordering::Relaxed) {
                return Ok(manifest.clone());
            }
        }
        let repository = self.repository(name)?;
        let digest = match repository.head_manifest(&Target::Tag(tag.clone())).await {
            Ok(Some(head)) => head.digest,
            Ok(None) => {
                // What the upstream removed is gone here too.
                self.forget_tag(shared, name, tag).await?;
                return Err(Fault::with_detail(
                    Code::ManifestUnknown,
                    json!({ "name": name, "tag": tag }),
                ));
            }
            Err(error) => return self.without_upstream(shared, name, wanted, known, error).await,
        };
        if digest.algorithm() != "sha256" {
            return Err(Fault::because(
                Code::Unavailable,
                "the upstream's digest is not supported",
            ));
        }
        let is_here = local(shared, name, Reference::Digest(digest.clone())).await;
        if let Ok(manifest) = is_here {
            let (name, tag, digest) = (name.to_owned(), tag.clone(), digest.to_string());
            shared
                .blocking(move |shared| Ok(shared.store.rows.put_tag(&name, &tag, &digest, now())?))
                .await?;
            return Ok(manifest);
        }
        self.fetch_manifest(shared, name, &digest, Some(tag)).await
    }

    /// Answers a question about a tag that the upstream did not answer.
    async fn without_upstream(
        &self,
        shared: &Arc<Shared>,
        name: &str,
        wanted: &Reference,
        known: Result<Manifest, Fault>,
        error: RegistryError,
    ) -> Result<Manifest, Fault> {
        if error.is_temporary() {
            self.down_until
                .store(now().saturating_add(DOWN), Ordering::Relaxed);
            if let Ok(manifest) = known {
                self.log.line(format_args!(
                    "upstream not reached, serving {} of {name} as it was: {}",
                    manifest.digest,
                    chain(&error)
                ));
                return Ok(manifest);
            }
        } else if let (Reference::Tag(tag), Some(404)) = (wanted, error.status()) {
            self.forget_tag(shared, name, tag).await?;
        }
        Err(self.fault(&error, Code::ManifestUnknown))
    }

    async fn forget_tag(&self, shared: &Arc<Shared>, name: &str, tag: &str) -> Result<(), Fault> {
        let (name, tag) = (name.to_owned(), tag.to_owned());
        shared
            .blocking(move |shared| Ok(shared.store.rows.remove_tag(&name, &tag)?))
            .await?;
        Ok(())
    }

    async fn fetch_manifest(
        &self,
        shared: &Arc<Shared>,
        name: &str,
        digest: &Digest,
        tag: Option<&str>,
    ) -> Result<Manifest, Fault> {
        let fetched = self
            .repository(name)?
            .manifest(&Target::Digest(digest.clone()))
            .await
            .map_err(|error| self.fault(&error, Code::ManifestUnknown))?;
        // The client checks it too; what is kept for ever is checked by who keeps it.
        let found = Digest::sha256(&fetched.bytes);
        if found != *digest {
            return Err(Fault::internal_text(format!(
                "the upstream sent {found} for manifest {digest}"
            )));
        }
        let (name, tag) = (name.to_owned(), tag.map(str::to_owned));
        shared
            .blocking(move |shared| {
                let document = document::read(Some(&fetched.media_type), &fetched.bytes, &found)?;
                let mut children = document.children();
                for child in &mut children {
                    child.is_required = false;
                }
                let bytes = &fetched.bytes;
                manifest::record(&shared.store, &name, &document, children, bytes, tag.as_deref())?;
                shared.log.line(format_args!(
                    "cached manifest {found} size={} in {name}",
                    bytes.len()
                ));
                Ok(Manifest {
                    digest: found,
                    media_type: fetched.media_type,
                    bytes: fetched.bytes,
                })
            })
            .await
    }

    /// Answers with a blob that is not in the repository yet.
    pub(crate) async fn blob(
        &self,
        call: &Call,
        name: &str,
        digest: &Digest,
    ) -> Result<Response<Body>, Fault> {
        let shared = &call.shared;
        let is_here = shared.store.content.has_blob(digest);
        if call.is_head || is_here {
            let size = self
                .repository(name)?
                .has_blob(digest)
                .await
                .map_err(|error| self.fault(&error, Code::BlobUnknown))?
                .ok_or_else(|| Fault::new(Code::BlobUnknown))?;
            if call.is_head {
                let mut response = reply::empty(StatusCode::OK);
                blob::describe(&mut response, digest);
                reply::set(&mut response, CONTENT_TYPE, "application/octet-stream");
                response.headers_mut().insert(CONTENT_LENGTH, size.into());
                return Ok(response);
            }
            if let Some(opened) = self.adopt(shared, name, digest, size).await? {
                return Ok(blob::serve(&call.headers, digest, opened, size));
            }
        }
        let mut progress = self.begin(shared, name, digest).await?;
        let total = progress.borrow().total;
        match total {
            Some(total) if !call.headers.contains_key(RANGE) => {
                let file = Arc::clone(&progress.borrow().file);
                let mut response = Response::new(fetch::body(progress, file, total));
                blob::describe(&mut response, digest);
                reply::set(&mut response, CONTENT_TYPE, "application/octet-stream");
                response.headers_mut().insert(CONTENT_LENGTH, total.into());
                Ok(response)
            }
            _ => {
                let ended = progress.wait_for(|progress| progress.outcome.is_some()).await;
                let is_stored = ended.is_ok_and(|progress| progress.outcome == Some(true));
                if !is_stored {
                    return Err(Fault::because(Code::Unavailable, "the upstream failed"));
                }
                let (repository, wanted) = (name.to_owned(), digest.clone());
                let (file, size) = shared
                    .blocking(move |shared| shared.store.open_blob(&repository, &wanted))
                    .await?;
                Ok(blob::serve(&call.headers, digest, file, size))
            }
        }
    }

    /// Gives the repository a blob that is here for another one, and that the upstream says it has.
    async fn adopt(
        &self,
        shared: &Arc<Shared>,
        name: &str,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<std::fs::File>, Fault> {
        let (name, digest) = (name.to_owned(), digest.clone());
        shared
            .blocking(move |shared| {
                let store = &shared.store;
                if store.file_size(&digest) != Some(size) {
                    return Ok(None);
                }
                store.rows.add_blob(&name, digest.as_str(), size, None, now())?;
                Ok(store.open_blob(&name, &digest).ok().map(|(file, _)| file))
            })
            .await
    }

    /// Returns the progress of fetching a blob, which begins unless it has.
    async fn begin(
        &self,
        shared: &Arc<Shared>,
        name: &str,
        digest: &Digest,
    ) -> Result<watch::Receiver<Progress>, Fault> {
        let running = self.lock().get(digest).cloned();
        // Who asks through another repository must be let in there by the upstream; so they fetch it themselves.
        if let Some(running) = running
            && running.borrow().repository == name
        {
            return Ok(running);
        }
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return Err(Fault::new(Code::Unavailable));
        };
        let fetch = fetch::Fetch::begin(shared, self.repository(name)?, name, digest)
            .await
            .map_err(|error| match error {
                fetch::BeginError::Upstream(error) => self.fault(&error, Code::BlobUnknown),
                fetch::BeginError::Own(fault) => fault,
            })?;
        let progress = fetch.progress();
        self.lock().insert(digest.clone(), progress.clone());
        let (shared, digest) = (Arc::clone(shared), digest.clone());
        tokio::spawn(async move {
            fetch.run(&shared).await;
            if let Some(cache) = &shared.cache {
                cache.lock().remove(&digest);
            }
            drop(slot);
        });
        Ok(progress)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, watch::Receiver<Progress>>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a page of the upstream's tags; `None` if it cannot be reached.
    pub(crate) async fn tags(
        &self,
        name: &str,
        count: u32,
        last: &str,
    ) -> Result<Option<(Vec<String>, bool)>, Fault> {
        if count == 0 || now() < self.down_until.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let last = Some(last).filter(|last| !last.is_empty());
        match self.repository(name)?.tags_page(count, last).await {
            Ok(page) => Ok(Some((page.tags, page.next.is_some()))),
            Err(error) if error.is_temporary() => Ok(None),
            Err(error) => Err(self.fault(&error, Code::NameUnknown)),
        }
    }

    /// Returns the upstream's referrers; `None` if it cannot be reached.
    pub(crate) async fn referrers(
        &self,
        name: &str,
        digest: &Digest,
        kind: Option<&str>,
    ) -> Result<Option<Vec<Value>>, Fault> {
        if now() < self.down_until.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match self.repository(name)?.referrers(digest, kind).await {
            Ok(found) => Ok(Some(found.iter().map(|descriptor| json!(descriptor)).collect())),
            Err(error) if error.is_temporary() => Ok(None),
            Err(error) => Err(self.fault(&error, Code::NameUnknown)),
        }
    }

    /// Returns what a client is told of the upstream's failure; the log is told why.
    fn fault(&self, error: &RegistryError, missing: Code) -> Fault {
        match error.status() {
            // What one may not see is not there.
            Some(401 | 403 | 404) => {
                self.log.line(format_args!("upstream refused: {}", chain(error)));
                Fault::new(missing)
            }
            _ => {
                let mut fault = Fault::because(Code::Unavailable, "the upstream failed");
                fault.cause = Some(chain(error).to_string());
                fault
            }
        }
    }
}

async fn local(shared: &Arc<Shared>, name: &str, wanted: Reference) -> Result<Manifest, Fault> {
    let name = name.to_owned();
    shared
        .blocking(move |shared| manifest::find(&shared.store, &name, &wanted))
        .await
}

fn reference(domain: &str, name: &str) -> Option<oci::Reference> {
    let reference = oci::Reference::parse(&format!("{domain}/{name}")).ok()?;
    let is_whole = reference.domain() == domain && reference.tag().is_none() && reference.digest().is_none();
    is_whole.then_some(reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn im_03_upstreams_are_hosts() {
        let new = |url: &str| {
            let config = UpstreamConfig {
                url: url.to_owned(),
                credentials: Credentials::Anonymous,
                client: crate::client::ClientConfig::standard("test"),
                fresh: std::time::Duration::ZERO,
            };
            Cache::new(config, Log::new(|_| {})).map(|cache| cache.domain)
        };
        assert_eq!(new("https://registry-1.docker.io").unwrap(), "docker.io");
        assert_eq!(new("http://127.0.0.1:5000/").unwrap(), "127.0.0.1:5000");
        for url in [
            "",
            "example.com",
            "ftp://example.com",
            "https://example.com/x",
            "https://user:secret@example.com",
            "https://",
            "https://nodots",
        ] {
            let error = new(url).unwrap_err().to_string();
            assert!(error.starts_with("upstream "), "{url}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
