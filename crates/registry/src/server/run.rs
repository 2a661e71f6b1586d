//! The server's life: opens what it needs, accepts clients, and ends gracefully.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use base::error::{Kind, Kinded, chain};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::{Guard, Htpasswd, HtpasswdError, KeyError, TokenGuard};
use super::cache::{Cache, UpstreamError};
use super::config::{AccessConfig, Log, ServerConfig};
use super::connection;
use super::garbage::{self, GarbageOptions};
use super::shared::Shared;
use super::store::{Purpose, Store, StoreError};
use super::tls::{Tls, TlsError};
use super::upload::{self, Uploads};

/// The most connections at a time; others wait to be accepted.
const CONNECTION_LIMIT: usize = 4096;

/// How long requests may take to end once the server was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How often uploads that nobody finishes are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// How old garbage must be before a server removes it on its own.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// Why a server did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its directory cannot be opened.
    #[error("open the registry's directory")]
    Store(#[from] StoreError),
    /// What a killed server left could not be removed.
    #[error("remove unfinished uploads: {cause}")]
    Sweep {
        /// Why.
        cause: String,
    },
    /// The password file cannot be used.
    #[error(transparent)]
    Htpasswd(#[from] HtpasswdError),
    /// The keys of tokens cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The upstream cannot be used.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Passwords would travel in the clear.
    #[error("\"{address}\" is not a loopback address: passwords and tokens need a certificate there")]
    PlainCredentials {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("listen on \"{address}\"")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The process could not be prepared.
    #[error("{doing}")]
    Process {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Kinded for ServeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Htpasswd(error) => error.kind(),
            Self::Key(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::Upstream(_) => Kind::Invalid,
            Self::Sweep { .. } => Kind::Internal,
            Self::PlainCredentials { .. } => Kind::Denied,
            Self::Listen { source, .. } | Self::Process { source, .. } => base::error::kind_of_io(source),
        }
    }
}

/// Serves a registry until SIGTERM or SIGINT, then ends what clients had begun. SIGHUP reads the certificate again.
/// Blocks; must not be called on a thread of an asynchronous runtime.
pub fn serve(config: ServerConfig, log: Log) -> Result<(), ServeError> {
    let process = |doing| move |source| ServeError::Process { doing, source };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Requests wait for disks and clients, not for processors; hashing is done on threads of its own.
        .worker_threads(std::thread::available_parallelism().map_or(1, usize::from).min(4))
        .max_blocking_threads(64)
        .enable_all()
        .build()
        .map_err(process("start the runtime"))?;
    let listener = listen(&config.address)?;
    let served = runtime.block_on(run(config, listener, log));
    // A thread that waits for a disk must not hold up the end: what it does is safe to be cut off.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

fn listen(address: &str) -> Result<TcpListener, ServeError> {
    let failed = |source| ServeError::Listen {
        address: address.to_owned(),
        source,
    };
    // No resolver is asked.
    let numeric = match address.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None if address.starts_with(':') => format!("0.0.0.0{address}"),
        None => address.to_owned(),
    };
    let resolved: SocketAddr = numeric.parse().map_err(|error: std::net::AddrParseError| {
        failed(io::Error::new(io::ErrorKind::InvalidInput, error))
    })?;
    let listener = TcpListener::bind(resolved).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

async fn run(config: ServerConfig, listener: TcpListener, log: Log) -> Result<(), ServeError> {
    let process = |doing| move |source| ServeError::Process { doing, source };
    let address = listener.local_addr().map_err(process("find the address"))?;
    let mut ends = [SignalKind::terminate(), SignalKind::interrupt()]
        .map(signal)
        .into_iter()
        .collect::<io::Result<Vec<_>>>()
        .map_err(process("wait for signals"))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(process("wait for signals"))?;
    let is_open = matches!(config.access, AccessConfig::Open);
    if config.tls.is_none() && !is_open && !address.ip().is_loopback() {
        return Err(ServeError::PlainCredentials { address });
    }
    let tls = config.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
    let shared = Arc::new(open(&config, &log)?);
    let listener = tokio::net::TcpListener::from_std(listener).map_err(process("listen"))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    log.line(format_args!("listening on {scheme}://{address}"));
    if is_open && !address.ip().is_loopback() {
        log.line(format_args!(
            "warning: everybody who reaches {address} may read and write"
        ));
    }
    let tending = tokio::spawn(tend(Arc::clone(&shared), config.clone()));
    let (stopping, connections) = (CancellationToken::new(), TaskTracker::new());
    let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let [terminate, interrupt] = ends.as_mut_slice() else {
        unreachable!("two signals were asked for");
    };
    loop {
        let accepting = async {
            let slot = Arc::clone(&slots)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let (socket, peer) = listener.accept().await?;
            Ok::<_, io::Error>((slot, socket, peer))
        };
        let accepted = tokio::select! {
            accepted = accepting => accepted,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                if let Some(tls) = &tls {
                    match tls.renew() {
                        Ok(()) => log.line(format_args!("read the certificate again")),
                        Err(error) => log.line(format_args!("error: {}", chain(&error))),
                    }
                }
                continue;
            }
        };
        match accepted {
            Ok((slot, socket, peer)) => {
                // Answers are written whole; waiting for more to send only delays them.
                drop(socket.set_nodelay(true));
                let (shared, tls, stopping) = (Arc::clone(&shared), tls.clone(), stopping.clone());
                connections.spawn(async move {
                    connection::serve(socket, peer, tls, shared, stopping).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Most of all EMFILE: the next accept would fail at once as well.
                log.line(format_args!("error: a client could not be accepted: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    log.line(format_args!("stopping"));
    drop(listener);
    tending.abort();
    stopping.cancel();
    connections.close();
    if tokio::time::timeout(STOP_TIMEOUT, connections.wait())
        .await
        .is_err()
    {
        log.line(format_args!("requests were cut off"));
    }
    log.line(format_args!("stopped"));
    Ok(())
}

fn open(config: &ServerConfig, log: &Log) -> Result<Shared, ServeError> {
    let guard = match &config.access {
        AccessConfig::Open => Guard::Open,
        AccessConfig::Htpasswd(path) => Guard::Htpasswd(Box::new(Htpasswd::open(path)?)),
        AccessConfig::Token {
            key,
            realm,
            service,
            issuer,
        } => Guard::Token(TokenGuard::new(key, realm, service, issuer)?),
    };
    let store = Store::open(&config.root, Purpose::Serve)?;
    store.content.sweep().map_err(StoreError::from)?;
    let cache = config
        .upstream
        .clone()
        .map(|upstream| Cache::new(upstream, log.clone()));
    let uploads = Uploads::new(config.blob_limit);
    upload::sweep(&store, &uploads, true).map_err(|fault| ServeError::Sweep {
        cause: fault.cause.unwrap_or_default(),
    })?;
    Ok(Shared {
        store: Arc::new(store),
        uploads,
        guard,
        mode: config.mode,
        deletion: config.deletion,
        cache: cache.transpose()?,
        log: log.clone(),
        receiving: Shared::receiving(),
    })
}

/// Removes what nobody will ever ask for again, now and then.
async fn tend(shared: Arc<Shared>, config: ServerConfig) {
    let mut collected = tokio::time::Instant::now();
    loop {
        let swept = shared
            .blocking(|shared| upload::sweep(&shared.store, &shared.uploads, false))
            .await;
        match swept {
            Ok(0) => {}
            Ok(count) => shared
                .log
                .line(format_args!("removed {count} unfinished uploads")),
            Err(fault) => shared.log.line(format_args!(
                "error: remove uploads: {}",
                fault.cause.unwrap_or_default()
            )),
        }
        tokio::time::sleep(
            config
                .garbage_interval
                .unwrap_or(SWEEP_INTERVAL)
                .min(SWEEP_INTERVAL),
        )
        .await;
        if config
            .garbage_interval
            .is_none_or(|interval| collected.elapsed() < interval)
        {
            continue;
        }
        collected = tokio::time::Instant::now();
        let options = GarbageOptions {
            root: config.root.clone(),
            untagged: false,
            grace: GRACE,
            is_trial: false,
        };
        let done = shared
            .blocking(move |shared| Ok(garbage::collect(&shared.store, &options)))
            .await;
        match done {
            Ok(Ok(garbage)) => shared.log.line(format_args!(
                "removed {} blobs and {} bytes that nothing needs",
                garbage.files, garbage.bytes
            )),
            Ok(Err(error)) => shared
                .log
                .line(format_args!("error: collect garbage: {}", chain(&error))),
            Err(fault) => shared.log.line(format_args!(
                "error: collect garbage: {}",
                fault.cause.unwrap_or_default()
            )),
        }
    }
}
