//! A registry that tells the truth until it is told to lie: every way in which a registry, a proxy or a network
//! misbehaves, on a loopback port of its own.
//!
//! [`LyingRegistry`] keeps blobs and manifests in memory and speaks enough of the distribution protocol for pull and
//! push: manifests, blobs with ranges, uploads in one piece and in pieces, mounts, tags, referrers, catalog, basic and
//! bearer authentication. A [`Rule`] makes chosen requests go wrong. Every request is kept in a log, so that a test can
//! say "one blob was sent" or "nobody showed a password".
//!
//! It is written by hand on threads, because a proper HTTP library would not let it lie.

mod answer;
mod auth;
mod lie;
mod request;
mod serve;
mod store;
mod tls;

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

pub use auth::Auth;
pub use lie::{Lie, Rule};
pub use request::Seen;
pub use store::digest;
pub use tls::{Authority, Identity, Tls};

/// A registry on a loopback port; it ends when it is dropped.
#[derive(Debug)]
pub struct LyingRegistry {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the threads of one registry share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Tells those who wait for the end, or for the number of requests to change.
    changed: Condvar,
    stopping: AtomicBool,
    tls: Option<Arc<rustls::ServerConfig>>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct State {
    store: store::Store,
    rules: Vec<Rule>,
    seen: Vec<Seen>,
    auth: Auth,
    tokens: Vec<auth::Token>,
    /// Every open connection, so that the end can break it.
    connections: Vec<(SocketAddr, TcpStream)>,
}

impl LyingRegistry {
    /// Starts one on 127.0.0.1 that speaks plain HTTP.
    pub fn start() -> Result<Self> {
        Self::start_on("127.0.0.1", None)
    }

    /// Starts one that speaks TLS as `tls` says.
    pub fn start_tls(tls: &Tls) -> Result<Self> {
        Self::start_on("127.0.0.1", Some(tls))
    }

    /// Starts one on `host`, such as `127.0.0.2`, which is another host to every client.
    pub fn start_on(host: &str, tls: Option<&Tls>) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).context("bind a registry")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
            tls: tls.map(Tls::server_config).transpose()?,
            address,
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }

    /// Returns `127.0.0.1:PORT`, as it stands in an image's name.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Returns the port alone.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns `http://ADDRESS` or `https://ADDRESS`.
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// Asks for authentication from now on.
    pub fn set_auth(&self, auth: Auth) {
        let mut state = self.shared.lock();
        state.auth = auth;
        state.tokens.clear();
    }

    /// Makes all tokens worthless, as if they had expired.
    pub fn forget_tokens(&self) {
        self.shared.lock().tokens.clear();
    }

    /// Makes requests go wrong; the first rule that fits a request is used.
    pub fn lie(&self, rule: Rule) {
        self.shared.lock().rules.push(rule);
    }

    /// Tells the truth again.
    pub fn be_honest(&self) {
        self.shared.lock().rules.clear();
    }

    /// Stores a blob in every repository and returns its digest.
    pub fn add_blob(&self, bytes: &[u8]) -> String {
        self.shared.lock().store.add_blob(None, bytes)
    }

    /// Stores a blob in one repository only and returns its digest.
    pub fn add_blob_in(&self, repository: &str, bytes: &[u8]) -> String {
        self.shared.lock().store.add_blob(Some(repository), bytes)
    }

    /// Stores a manifest under its digest and `tag`, and returns the digest. Nothing is checked.
    pub fn add_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        self.shared
            .lock()
            .store
            .add_manifest(repository, Some(tag), media_type, bytes)
    }

    /// Stores an OCI image of gzip or other layers (`(media type, bytes)`) with the configuration `config`, and returns
    /// the manifest's digest.
    pub fn add_image(
        &self,
        repository: &str,
        tag: &str,
        config: &[u8],
        layers: &[(&str, Vec<u8>)],
    ) -> String {
        let mut state = self.shared.lock();
        let descriptor = |media_type: &str, bytes: &[u8]| serde_json::json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()});
        let described: Vec<_> = layers
            .iter()
            .map(|(kind, bytes)| descriptor(kind, bytes))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": described,
        });
        state.store.add_blob(None, config);
        for (_, bytes) in layers {
            state.store.add_blob(None, bytes);
        }
        let bytes = manifest.to_string();
        state.store.add_manifest(
            repository,
            Some(tag),
            "application/vnd.oci.image.manifest.v1+json",
            bytes.as_bytes(),
        )
    }

    /// Returns the blob `digest`, if the registry has it.
    pub fn blob(&self, digest: &str) -> Option<Vec<u8>> {
        self.shared.lock().store.any_blob(digest)
    }

    /// Removes a blob from every repository.
    pub fn remove_blob(&self, digest: &str) {
        self.shared.lock().store.remove_blob(digest);
    }

    /// Returns the media type and the bytes of a manifest by tag or digest.
    pub fn manifest(&self, repository: &str, target: &str) -> Option<(String, Vec<u8>)> {
        self.shared.lock().store.manifest(repository, target)
    }

    /// Returns all requests so far, in the order of their heads.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Returns how many requests had `method` and a path with `part` in it.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let state = self.shared.lock();
        let fits = |seen: &&Seen| seen.method == method && seen.target.contains(part);
        state.seen.iter().filter(fits).count()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.lock().seen.clear();
    }

    /// Waits until `count` requests with `method` and `part` have come; fails after `limit`.
    pub fn wait_for(&self, method: &str, part: &str, count: usize, limit: Duration) -> Result<()> {
        crate::until(&format!("{count} × {method} …{part}…"), limit, || {
            Ok(self.count(method, part) >= count)
        })
    }
}

impl Drop for LyingRegistry {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        for (_, connection) in self.shared.lock().connections.drain(..) {
            // One that the client closed already is no failure.
            drop(connection.shutdown(Shutdown::Both));
        }
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits for the end of the registry: what a stalled answer does.
    fn wait_for_the_end(&self) {
        let mut state = self.lock();
        while !self.is_stopping() {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.is_stopping() {
            break;
        }
        let Ok(stream) = stream else { continue };
        if let (Ok(peer), Ok(clone)) = (stream.peer_addr(), stream.try_clone()) {
            shared.lock().connections.push((peer, clone));
        }
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            let peer = stream.peer_addr();
            // A client may leave whenever it likes.
            drop(serve::connection(&stream, &shared));
            if let Ok(peer) = peer {
                shared.lock().connections.retain(|(own, _)| *own != peer);
            }
            // The last descriptor: this is what sends the reset of a broken connection.
            drop(stream);
        }));
    }
    for thread in threads {
        drop(thread.join());
    }
}

#[cfg(test)]
mod tests;
