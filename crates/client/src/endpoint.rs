//! Where a daemon listens, as `DOCKER_HOST` spells it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base::error::{Kind, Kinded};

use crate::SshHost;

/// The socket on which Berth's daemon listens when nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/berth/berth.sock";

/// The address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `unix:///run/berth/berth.sock`
    Unix(PathBuf),
    /// `tcp://127.0.0.1:2375`: without encryption, so only on this machine.
    Tcp(SocketAddr),
    /// `ssh://me@host`: the machine's own daemon.
    Ssh(SshHost),
}

/// Why a text is not an address that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The text has no known scheme or a part is missing.
    #[error("invalid host \"{text}\": unix:///PATH, tcp://127.0.0.1:PORT or ssh://[USER@]HOST is needed")]
    Invalid {
        /// What was given.
        text: String,
    },
    /// The scheme is known and not implemented.
    #[error("{scheme}:// hosts are not supported yet (\"{text}\")")]
    Unsupported {
        /// `http`, `npipe`, …
        scheme: &'static str,
        /// What was given.
        text: String,
    },
    /// Plain TCP would cross a network.
    #[error(
        "refusing to talk to \"{text}\" without TLS: plain tcp is for 127.0.0.1 and ::1 only, and TLS is not supported yet"
    )]
    NotLoopback {
        /// What was given.
        text: String,
    },
}

impl Kinded for EndpointError {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid { .. } => Kind::Invalid,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::NotLoopback { .. } => Kind::Denied,
        }
    }
}

impl Endpoint {
    /// Returns [`DEFAULT_SOCKET`].
    pub fn default_socket() -> Self {
        Self::Unix(PathBuf::from(DEFAULT_SOCKET))
    }

    /// Reads an address as `DOCKER_HOST` and `-H` spell it; a bare absolute path is a unix socket.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let invalid = || EndpointError::Invalid {
            text: text.to_owned(),
        };
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let unsupported = |scheme| EndpointError::Unsupported {
            scheme,
            text: text.to_owned(),
        };
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" => parse_tcp(text, rest),
            "ssh" => SshHost::parse(rest).map(Self::Ssh).ok_or_else(invalid),
            "http" => Err(unsupported("http")),
            "https" => Err(unsupported("https")),
            "npipe" => Err(unsupported("npipe")),
            "fd" => Err(unsupported("fd")),
            _ => Err(invalid()),
        }
    }

    /// Returns the path of a unix socket.
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) | Self::Ssh(_) => None,
        }
    }
}

/// Reads `HOST[:PORT][/]` of a `tcp://` address; the port defaults to 2375 as docker's does.
fn parse_tcp(text: &str, rest: &str) -> Result<Endpoint, EndpointError> {
    let invalid = || EndpointError::Invalid {
        text: text.to_owned(),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if let Ok(address) = rest.parse::<SocketAddr>() {
        return loopback(text, address);
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (
            host,
            port.parse()
                .map_err(|_reason: std::num::ParseIntError| invalid())?,
        ),
        _ => (rest, 2375),
    };
    let ip = match host.trim_start_matches('[').trim_end_matches(']') {
        "" => return Err(invalid()),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        "::1" => IpAddr::V6(Ipv6Addr::LOCALHOST),
        host => match host.parse() {
            Ok(ip) => ip,
            // A name may mean any machine.
            Err(_) => {
                return Err(EndpointError::NotLoopback {
                    text: text.to_owned(),
                });
            }
        },
    };
    loopback(text, SocketAddr::new(ip, port))
}

fn loopback(text: &str, address: SocketAddr) -> Result<Endpoint, EndpointError> {
    if address.ip().is_loopback() {
        Ok(Endpoint::Tcp(address))
    } else {
        Err(EndpointError::NotLoopback {
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp(address) => write!(formatter, "tcp://{address}"),
            Self::Ssh(host) => host.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_host_may_hold() {
        for (text, printed) in [
            ("unix:///run/x.sock", "unix:///run/x.sock"),
            ("/run/x.sock", "unix:///run/x.sock"),
            ("tcp://127.0.0.1:99", "tcp://127.0.0.1:99"),
            ("tcp://localhost", "tcp://127.0.0.1:2375"),
            ("tcp://[::1]:5/", "tcp://[::1]:5"),
            ("ssh://me@host", "ssh://me@host"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), printed);
        }
    }

    #[test]
    fn refuses_what_would_be_unsafe_or_is_missing() {
        for text in ["tcp://10.0.0.1:2375", "tcp://example.org:2375", "tcp://0.0.0.0:1"] {
            assert!(
                matches!(Endpoint::parse(text), Err(EndpointError::NotLoopback { .. })),
                "{text}"
            );
        }
        for text in ["https://x", "npipe:////./pipe"] {
            assert!(
                matches!(Endpoint::parse(text), Err(EndpointError::Unsupported { .. })),
                "{text}"
            );
        }
        for text in [
            "",
            "x",
            "unix://rel",
            "bogus://x",
            "tcp://",
            "tcp://127.0.0.1:x",
            "ssh://-x",
        ] {
            assert!(
                matches!(Endpoint::parse(text), Err(EndpointError::Invalid { .. })),
                "{text}"
            );
        }
    }
}
