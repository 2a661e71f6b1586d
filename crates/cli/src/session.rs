//! Which daemon a command talks to, and how the connection comes about.

use std::path::{Path, PathBuf};

use client::{ApiVersion, Client, DEFAULT_SOCKET, Endpoint};

use crate::StartDaemon;
use crate::failure::Failure;
use crate::parse::Arguments;

/// What all commands share.
pub(crate) struct Session<'a> {
    endpoint: Endpoint,
    /// Whether nobody chose the endpoint, so that a daemon may be started.
    is_default: bool,
    /// `DOCKER_API_VERSION`.
    version: Option<ApiVersion>,
    /// `--config`, else `DOCKER_CONFIG`, else `~/.docker`.
    config_directory: PathBuf,
    daemon: &'a dyn StartDaemon,
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl<'a> Session<'a> {
    /// Returns the session that the global flags and the environment describe; touches nothing.
    pub(crate) fn new(globals: &Arguments, daemon: &'a dyn StartDaemon) -> Result<Self, Failure> {
        let hosts = globals.list("host");
        if hosts.len() > 1 {
            return Err(Failure::invalid("specify only one -H"));
        }
        let host = match hosts.first() {
            Some(&host) => Some(host.to_owned()),
            None => environment("BERTH_HOST").or_else(|| environment("DOCKER_HOST")),
        };
        let (endpoint, is_default) = match host {
            Some(host) => (
                Endpoint::parse(&host).map_err(|error| Failure::invalid(error.to_string()))?,
                false,
            ),
            None => (Endpoint::default_socket(), true),
        };
        let version = match environment("DOCKER_API_VERSION") {
            Some(text) => Some(
                text.parse()
                    .map_err(|error| Failure::invalid(format!("DOCKER_API_VERSION: {error}")))?,
            ),
            None => None,
        };
        Ok(Self {
            endpoint,
            is_default,
            version,
            config_directory: config_directory(globals),
            daemon,
        })
    }

    /// Returns where docker's `config.json` is; neither need exist.
    pub(crate) fn config_directory(&self) -> &Path {
        &self.config_directory
    }

    /// Returns the socket of a daemon that may have Berth's own calls: one on this machine, whose API's version nobody chose.
    pub(crate) fn direct_socket(&self) -> Option<&Path> {
        self.endpoint.socket_path().filter(|_| self.version.is_none())
    }

    /// Does one thing with a client of the same daemon, in a runtime of its own.
    pub(crate) fn aside<T>(&self, act: impl AsyncFnOnce(&Client) -> T) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        let client = Client::new(self.endpoint.clone());
        Some(runtime.block_on(act(&client)))
    }

    /// Returns a client that is connected, after starting a daemon if that is what is wanted.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let mut client = Client::new(self.endpoint.clone());
        match client.connect().await {
            Ok(()) => {}
            Err(error) if self.is_default && error.nobody_listens() => {
                let socket = self.endpoint.socket_path().unwrap_or(Path::new(DEFAULT_SOCKET));
                self.daemon.start_daemon(socket).map_err(|error| {
                    Failure::invalid(format!("start the daemon: {}", base::error::chain(&*error)))
                })?;
                client.connect().await?;
            }
            Err(error) => return Err(error.into()),
        }
        match self.version {
            Some(version) => client.set_version(version),
            // The daemon at the default socket is of this very program: the question would only take time.
            None if self.is_default => {}
            None => client.negotiate().await?,
        }
        Ok(client)
    }
}

fn config_directory(globals: &Arguments) -> PathBuf {
    match globals.text("config") {
        "" => {}
        directory => return PathBuf::from(directory),
    }
    match environment("DOCKER_CONFIG") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(environment("HOME").unwrap_or_else(|| "/".to_owned())).join(".docker"),
    }
}

/// Returns a variable that is set and not empty.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::error::Error;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// Listens where it is told to.
    #[derive(Default)]
    struct Listener(RefCell<Vec<UnixListener>>);

    impl StartDaemon for Listener {
        fn start_daemon(&self, socket: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
            self.0.borrow_mut().push(UnixListener::bind(socket)?);
            Ok(())
        }
    }

    fn session<'a>(socket: &Path, is_default: bool, daemon: &'a Listener) -> Session<'a> {
        Session {
            endpoint: Endpoint::Unix(socket.to_owned()),
            is_default,
            version: Some(ApiVersion::NEWEST),
            config_directory: PathBuf::new(),
            daemon,
        }
    }

    fn socket(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("berth-session-{}-{name}", std::process::id()))
    }

    #[tokio::test]
    async fn a_daemon_is_started_once_where_nobody_listens() {
        let (socket, daemon) = (socket("default"), Listener::default());
        let session = session(&socket, true, &daemon);
        for _ in 0..2 {
            drop(session.connect().await.unwrap());
        }
        std::fs::remove_file(&socket).unwrap();
        assert_eq!(daemon.0.borrow().len(), 1);
    }

    #[tokio::test]
    async fn a_chosen_host_gets_no_daemon() {
        let (socket, daemon) = (socket("chosen"), Listener::default());
        let failure = session(&socket, false, &daemon).connect().await.unwrap_err();
        assert!(matches!(failure, Failure::Call(error) if error.nobody_listens()));
        assert!(daemon.0.borrow().is_empty());
    }
}
