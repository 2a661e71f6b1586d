//! Connections: the name, the address, the proxy, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::dns::{NameSources, ResolveError, resolve};
use super::origin::Origin;
use super::proxy::Proxy;
use super::tls::{Check, TlsError, Trust, describe};

/// How long an address is tried alone before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Largest head of a proxy's answer, in bytes.
const MAX_PROXY_HEAD: usize = 16 << 10;

/// A connection, whatever it is made of.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection. The texts are Go's, which docker prints.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("dial tcp")]
    Resolve {
        #[source]
        source: ResolveError,
    },
    #[error("dial tcp {address}: connect: {}", go_words(.cause))]
    Dial { address: SocketAddr, cause: io::Error },
    #[error("dial tcp {host}: i/o timeout")]
    Slow { host: String },
    #[error("{problem}")]
    Handshake { problem: String },
    #[error("certificates for \"{host}\"")]
    Certificates {
        host: String,
        #[source]
        source: TlsError,
    },
    #[error("proxyconnect tcp: {proxy}: {problem}")]
    Proxy { proxy: String, problem: String },
}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) names: NameSources,
    pub(crate) certs_dirs: Vec<PathBuf>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) limit: Duration,
}

impl Connector {
    /// Connects to `origin`, through `proxy` if there is one, and speaks TLS if the origin does.
    pub(crate) async fn connect(
        &self,
        origin: &Origin,
        proxy: Option<&Proxy>,
        check: Check,
    ) -> Result<Box<dyn Stream>, ConnectError> {
        let slow = || ConnectError::Slow {
            host: origin.host_and_port(),
        };
        timeout(self.limit, self.connect_in_time(origin, proxy, check))
            .await
            .map_err(|_elapsed| slow())?
    }

    async fn connect_in_time(
        &self,
        origin: &Origin,
        proxy: Option<&Proxy>,
        check: Check,
    ) -> Result<Box<dyn Stream>, ConnectError> {
        let Some(proxy) = proxy else {
            let stream = self.dial(origin).await?;
            return self.secure(origin, stream, check).await;
        };
        let stream = self.dial(&proxy.origin).await?;
        // The proxy's own certificate is always checked.
        let stream = self.secure(&proxy.origin, stream, Check::Full).await?;
        if !origin.tls {
            return Ok(stream);
        }
        let stream = tunnel(stream, origin, proxy).await?;
        self.secure(origin, stream, check).await
    }

    /// Tries the addresses in turn, each with a head start before the next; the first connection wins.
    async fn dial(&self, origin: &Origin) -> Result<TcpStream, ConnectError> {
        let addresses = resolve(&origin.host, &self.names)
            .await
            .map_err(|source| ConnectError::Resolve { source })?;
        let addresses = interleaved(addresses);
        let mut attempts = FuturesUnordered::new();
        for (place, address) in (0u32..).zip(addresses) {
            let address = SocketAddr::new(address, origin.port);
            attempts.push(async move {
                tokio::time::sleep(HEAD_START * place).await;
                let stream = TcpStream::connect(address).await;
                stream.map_err(|cause| ConnectError::Dial { address, cause })
            });
        }
        let mut first = None;
        while let Some(attempt) = attempts.next().await {
            match attempt {
                Ok(stream) => {
                    // Requests are small; waiting for more to send would only delay them.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY not set");
                    }
                    return Ok(stream);
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| ConnectError::Resolve {
            source: ResolveError::NoSuchHost {
                host: origin.host.clone(),
            },
        }))
    }

    async fn secure(
        &self,
        origin: &Origin,
        stream: impl Stream + 'static,
        check: Check,
    ) -> Result<Box<dyn Stream>, ConnectError> {
        if !origin.tls {
            return Ok(Box::new(stream));
        }
        let handshake = |problem: String| ConnectError::Handshake { problem };
        let authority = origin.authority();
        let config = {
            let (trust, directories, origin) =
                (Arc::clone(&self.trust), self.certs_dirs.clone(), origin.clone());
            tokio::task::spawn_blocking(move || trust.config(&directories, &origin, check))
                .await
                .map_err(|error| handshake(error.to_string()))?
                .map_err(|source| ConnectError::Certificates {
                    host: authority,
                    source,
                })?
        };
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|error| handshake(format!("tls: \"{}\": {error}", origin.host)))?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| handshake(describe(&error, origin)))?;
        Ok(Box::new(stream))
    }
}

/// Asks a proxy for a connection to `origin` (RFC 9110, section 9.3.6).
async fn tunnel(
    mut stream: Box<dyn Stream>,
    origin: &Origin,
    proxy: &Proxy,
) -> Result<Box<dyn Stream>, ConnectError> {
    let problem = |problem: String| ConnectError::Proxy {
        proxy: proxy.origin.authority(),
        problem,
    };
    let target = origin.host_and_port();
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(authorization) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(authorization.expose());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| problem(error.to_string()))?;
    // Byte by byte, so that nothing of what follows the head is taken; it is short and comes once.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_PROXY_HEAD {
            return Err(problem("answer too long".to_owned()));
        }
        let byte = stream
            .read_u8()
            .await
            .map_err(|error| problem(error.to_string()))?;
        head.push(byte);
    }
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.split(' ').nth(1) {
        Some(status) if line.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') => {
            Ok(stream)
        }
        _ => Err(problem(
            line.chars()
                .filter(|character| !character.is_control())
                .take(100)
                .collect(),
        )),
    }
}

/// Alternates the families, beginning with that of the first address.
fn interleaved(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let first_is_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let (own, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == first_is_v4);
    let mut mixed = Vec::with_capacity(own.len() + other.len());
    let (mut own, mut other) = (own.into_iter(), other.into_iter());
    loop {
        let pair = (own.next(), other.next());
        if pair == (None, None) {
            return mixed;
        }
        mixed.extend([pair.0, pair.1].into_iter().flatten());
    }
}

fn go_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        _ => error.to_string(),
    }
}
