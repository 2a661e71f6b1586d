//! Names of hosts to addresses, without the C library: a static program has no NSS.
//!
//! `/etc/hosts` first, then the name servers of `/etc/resolv.conf`, by UDP and, for answers that do not fit, by TCP.
//! Only what a stub needs: two kinds of question, one kind of answer. A crate for the message format would bring
//! tables of Unicode and some forty crates for it; a registry's name is ASCII by then.

mod files;
mod message;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use files::Resolution;
use message::{Kind, Reply};

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Which files tell of names.
#[derive(Clone, Debug)]
pub struct NameSources {
    /// Like `/etc/hosts`.
    pub hosts: PathBuf,
    /// Like `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

impl NameSources {
    /// Returns the host's own files.
    pub fn standard() -> Self {
        Self {
            hosts: PathBuf::from("/etc/hosts"),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
        }
    }
}

/// Why a name has no address. The texts are those of Go's resolver, which docker prints.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("lookup {host}: no such host")]
    NoSuchHost { host: String },
    #[error("lookup {host} on {server}: {problem}")]
    Server {
        host: String,
        server: SocketAddr,
        problem: String,
    },
}

/// Returns the addresses of `host`, at least one.
pub(crate) async fn resolve(host: &str, sources: &NameSources) -> Result<Vec<IpAddr>, ResolveError> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let listed = files::hosts(&sources.hosts, &host).await;
    if !listed.is_empty() {
        return Ok(listed);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        // Loopback wherever the files are silent (RFC 6761, section 6.3): never a question to a server.
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let resolution = files::resolution(&sources.resolv_conf).await;
    let mut last = ResolveError::NoSuchHost { host: host.clone() };
    for name in resolution.candidates(&host) {
        match ask_servers(&name, &resolution).await {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_none) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks the servers in turn, each as often as it is configured; the first that answers decides.
async fn ask_servers(name: &str, resolution: &Resolution) -> Result<Vec<IpAddr>, ResolveError> {
    let mut last = ResolveError::NoSuchHost {
        host: name.to_owned(),
    };
    for _ in 0..resolution.attempts {
        for &server in &resolution.servers {
            let both = tokio::join!(
                ask(name, Kind::A, server, resolution.timeout),
                ask(name, Kind::Aaaa, server, resolution.timeout)
            );
            match both {
                // One family is enough: some servers never answer for the other.
                (Ok(mut first), second) => {
                    first.extend(second.unwrap_or_default());
                    first.truncate(MAX_ADDRESSES);
                    return Ok(first);
                }
                (Err(_), Ok(second)) if !second.is_empty() => return Ok(second),
                (Err(problem), _) => {
                    last = ResolveError::Server {
                        host: name.to_owned(),
                        server,
                        problem: problem.to_string(),
                    };
                }
            }
        }
    }
    Err(last)
}

async fn ask(name: &str, kind: Kind, server: SocketAddr, limit: Duration) -> io::Result<Vec<IpAddr>> {
    let slow = || io::Error::new(io::ErrorKind::TimedOut, "i/o timeout");
    let id = random_id()?;
    let question = message::question(id, name, kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the name is too long"))?;
    let reply = timeout(limit, by_udp(&question, id, name, kind, server))
        .await
        .map_err(|_elapsed| slow())??;
    let reply = match reply {
        Reply::Truncated => timeout(limit, by_tcp(&question, id, name, kind, server))
            .await
            .map_err(|_elapsed| slow())??,
        reply => reply,
    };
    match reply {
        Reply::Addresses(addresses) => Ok(addresses),
        Reply::Truncated => Err(io::Error::new(io::ErrorKind::InvalidData, "truncated twice")),
        Reply::Failed(code) => Err(io::Error::other(format!("server misbehaving (code {code})"))),
    }
}

async fn by_udp(question: &[u8], id: u16, name: &str, kind: Kind, server: SocketAddr) -> io::Result<Reply> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    // Connected, so that the kernel drops what comes from elsewhere.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = [0u8; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What does not answer this question may be forged or late: wait on.
        if let Some(reply) = message::reply(&buffer[..length], id, name, kind) {
            return Ok(reply);
        }
    }
}

async fn by_tcp(question: &[u8], id: u16, name: &str, kind: Kind, server: SocketAddr) -> io::Result<Reply> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0u8; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    message::reply(&buffer, id, name, kind)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an answer"))
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0u8; 2];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
