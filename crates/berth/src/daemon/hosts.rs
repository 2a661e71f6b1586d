//! `-H`: where the daemon listens.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, bail, ensure};
use server::Listener;

/// One `-H`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// `unix:///path`.
    Unix(PathBuf),
    /// `fd://`: every socket that systemd hands over.
    Inherited,
    /// `tcp://127.0.0.1:port`.
    Tcp(String),
}

/// A text that is not a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid host \"{text}\": unix:///path, fd:// or tcp://127.0.0.1:port is needed")]
pub(crate) struct ParseHostError {
    text: String,
}

impl FromStr for Host {
    type Err = ParseHostError;

    fn from_str(text: &str) -> Result<Self, ParseHostError> {
        let error = || ParseHostError {
            text: text.to_owned(),
        };
        match text.split_once("://").ok_or_else(error)? {
            ("unix", path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            ("fd", "" | "*") => Ok(Self::Inherited),
            ("tcp", address) if !address.is_empty() => Ok(Self::Tcp(address.to_owned())),
            _ => Err(error()),
        }
    }
}

/// The group that may use the socket when there is one of this name and no other was named.
const DEFAULT_GROUP: &str = "docker";

/// Listens on all of `hosts`.
pub(crate) fn listen(hosts: &[Host], group: Option<&str>) -> anyhow::Result<Vec<Listener>> {
    let group = group_id(group)?;
    let mut listeners = Vec::new();
    for host in hosts {
        match host {
            Host::Unix(path) => {
                if let Some(directory) = path.parent() {
                    super::make_directory(directory, 0o755)?;
                }
                listeners.push(server::listen_unix(path, group)?);
            }
            Host::Tcp(address) => listeners.push(server::listen_tcp(address)?),
            Host::Inherited => listeners.extend(inherited()?),
        }
    }
    Ok(listeners)
}

/// Removes the sockets' files.
pub(crate) fn unlink(hosts: &[Host]) {
    for host in hosts {
        if let Host::Unix(path) = host {
            // It may be gone already.
            drop(std::fs::remove_file(path));
        }
    }
}

/// Looks a group up by name or number. There is no NSS in a static program; `/etc/group` is what it is.
fn group_id(group: Option<&str>) -> anyhow::Result<Option<u32>> {
    let name = group.unwrap_or(DEFAULT_GROUP);
    if let Ok(id) = name.parse() {
        return Ok(Some(id));
    }
    let groups = base::file::read_optional(Path::new("/etc/group"), 4 << 20)?.unwrap_or_default();
    let groups = String::from_utf8_lossy(&groups);
    match find_group(&groups, name) {
        None if group.is_some() => bail!("group \"{name}\" not found"),
        found => Ok(found),
    }
}

fn find_group(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() == Some(name) {
            fields.nth(1)?.parse().ok()
        } else {
            None
        }
    })
}

/// Takes the sockets that systemd opened (`LISTEN_FDS`, from descriptor 3 on).
fn inherited() -> anyhow::Result<Vec<Listener>> {
    let variable = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<i32>().ok())
    };
    let for_us =
        variable("LISTEN_PID").is_some_and(|pid| pid == rustix::process::getpid().as_raw_nonzero().get());
    let count = variable("LISTEN_FDS").filter(|_| for_us).unwrap_or(0);
    ensure!(
        count > 0,
        "no sockets were handed over: \"fd://\" is for systemd's socket activation"
    );
    (3..3_i32.saturating_add(count))
        .map(|number| adopt(number).with_context(|| format!("take descriptor {number}")))
        .collect()
}

fn adopt(number: i32) -> anyhow::Result<Listener> {
    let socket: OwnedFd = sys::fd::adopt(number)?;
    ensure!(
        rustix::net::sockopt::socket_acceptconn(&socket)?,
        "not a listening socket"
    );
    rustix::io::ioctl_fionbio(&socket, true)?;
    match rustix::net::sockopt::socket_domain(&socket)? {
        rustix::net::AddressFamily::UNIX => Ok(Listener::Unix(socket.into())),
        rustix::net::AddressFamily::INET | rustix::net::AddressFamily::INET6 => {
            let listener = std::net::TcpListener::from(socket);
            let address = listener.local_addr()?;
            ensure!(address.ip().is_loopback(), "{address} is not a loopback address");
            Ok(Listener::Tcp(listener))
        }
        other => bail!("sockets of family {other:?} are not served"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts() {
        for (text, host) in [
            ("unix:///run/x.sock", Host::Unix("/run/x.sock".into())),
            ("fd://", Host::Inherited),
            ("fd://*", Host::Inherited),
            ("tcp://127.0.0.1:2375", Host::Tcp("127.0.0.1:2375".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(host), "{text}");
        }
        for text in [
            "",
            "/run/x",
            "unix://x",
            "tcp://",
            "fd://3",
            "npipe:////./pipe/x",
            "ssh://h",
        ] {
            assert!(text.parse::<Host>().is_err(), "{text}");
        }
    }

    #[test]
    fn finds_groups() {
        let groups = "root:x:0:\ndocker:x:998:a,b\nbroken\n";
        assert_eq!(find_group(groups, "docker"), Some(998));
        assert_eq!(find_group(groups, "root"), Some(0));
        assert_eq!(find_group(groups, "broken"), None);
        assert_eq!(group_id(Some("12")).unwrap(), Some(12));
        assert!(group_id(Some("no such group")).is_err());
    }
}
