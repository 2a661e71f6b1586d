//! Daemons on other machines, by `ssh`: as docker does, the far side runs `system dial-stdio`, which connects its
//! standard input and output to the daemon there.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use tokio::net::UnixStream;

/// A machine that is reached by `ssh`, and the daemon's socket there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshHost {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// The path of the socket on that machine; `None`: where its `berth` finds it.
    socket: Option<String>,
}

impl SshHost {
    /// Reads what follows `ssh://`: `[user@]host[:port][/path/to/socket]`; `None` if it is something else, has a password,
    /// or could be taken for an option of `ssh` (CVE-2017-1000117).
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (authority, path) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, ""),
        };
        let (user, rest) = match authority.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, authority),
        };
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']')?;
                (host, after.strip_prefix(':').or(after.is_empty().then_some(""))?)
            }
            None => rest.split_once(':').unwrap_or((rest, "")),
        };
        let port = match port {
            "" => None,
            port => Some(port.parse().ok()?),
        };
        let plain = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._:%".contains(&byte))
        };
        let user_is_fine = user.is_none_or(|user| plain(user) && !user.contains(':'));
        // The far side's shell reads it.
        let path_is_fine = path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte));
        if !user_is_fine || !plain(host) || !path_is_fine {
            return None;
        }
        Some(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            socket: Some(path.trim_end_matches('/'))
                .filter(|path| !path.is_empty())
                .map(str::to_owned),
        })
    }

    /// Starts `ssh` and returns the connection to the daemon. `ssh` writes its own messages to standard error, asks for
    /// passwords on the terminal, and ends when the connection is dropped.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        let (own, theirs) = std::os::unix::net::UnixStream::pair()?;
        own.set_nonblocking(true)?;
        let theirs = OwnedFd::from(theirs);
        let child = Command::new("ssh")
            .args(self.arguments())
            .stdin(Stdio::from(theirs.try_clone()?))
            .stdout(Stdio::from(theirs))
            .spawn();
        let mut child = child.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(io::ErrorKind::Unsupported, "ssh is not installed"),
            _ => error,
        })?;
        // Nobody else waits for it.
        drop(std::thread::Builder::new().spawn(move || drop(child.wait()))?);
        UnixStream::from_std(own)
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["-o".to_owned(), "ConnectTimeout=30".to_owned(), "-T".to_owned()];
        if let Some(user) = &self.user {
            arguments.extend(["-l".to_owned(), user.clone()]);
        }
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.extend(["--".to_owned(), self.host.clone(), "berth".to_owned()]);
        if let Some(socket) = &self.socket {
            arguments.push(format!("--host=unix://{socket}"));
        }
        arguments.extend(["system".to_owned(), "dial-stdio".to_owned()]);
        arguments
    }
}

impl fmt::Display for SshHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(formatter, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(formatter, "[{}]", self.host)?;
        } else {
            formatter.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(formatter, ":{port}")?;
        }
        formatter.write_str(self.socket.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_become_arguments() {
        for (text, arguments) in [
            ("host", "-- host berth system dial-stdio"),
            (
                "me@host:2222/run/b.sock",
                "-l me -p 2222 -- host berth --host=unix:///run/b.sock system dial-stdio",
            ),
            ("[::1]:22", "-p 22 -- ::1 berth system dial-stdio"),
            ("host/", "-- host berth system dial-stdio"),
        ] {
            let host = SshHost::parse(text).unwrap();
            assert_eq!(
                host.arguments().join(" "),
                format!("-o ConnectTimeout=30 -T {arguments}")
            );
            assert_eq!(host.to_string(), format!("ssh://{}", text.trim_end_matches('/')));
        }
    }

    #[test]
    fn what_could_be_something_else_is_refused() {
        for text in [
            "",
            "@host",
            "-oProxyCommand=x",
            "me@-oProxyCommand=x",
            "-l@host",
            "me:password@host",
            "host:port",
            "host:99999",
            "ho st",
            "host/run/$(x)",
            "host/a b",
            "host;x",
            "[::1",
            "[::1]x",
        ] {
            assert_eq!(SshHost::parse(text), None, "{text}");
        }
    }
}
