//! The server: accepts clients until it is told to stop, then lets what they asked for come to its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use engine::Engine;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection;
use crate::listener::Listener;
use crate::shared::{Peer, ServerFacts, Shared};

/// The most connections at a time; others wait to be accepted.
const CONNECTION_LIMIT: usize = 4096;

/// How long replies may take to be written once nothing is worked on any more.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);

/// The Docker HTTP API before an engine.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    connections: TaskTracker,
    /// Cancelled when nobody is accepted any more.
    closing: CancellationToken,
}

impl Server {
    /// Returns a server that asks `engine`.
    pub fn new(engine: Arc<Engine>, facts: ServerFacts) -> Self {
        let shared = Shared {
            engine,
            facts,
            connections: watch::Sender::new(0),
            handlers: TaskTracker::new(),
            stopping: CancellationToken::new(),
        };
        Self {
            shared: Arc::new(shared),
            connections: TaskTracker::new(),
            closing: CancellationToken::new(),
        }
    }

    /// Returns how many clients are connected, and every change of it.
    pub fn connections(&self) -> watch::Receiver<usize> {
        self.shared.connections.subscribe()
    }

    /// Accepts clients of `listener` until [`Server::close`].
    pub async fn serve(&self, listener: Listener) -> io::Result<()> {
        let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        match listener {
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::UnixListener::from_std(listener)?;
                self.accept(slots, || async {
                    let (socket, _address) = listener.accept().await?;
                    let peer = socket.peer_cred()?;
                    Ok((
                        socket,
                        Peer::Unix {
                            uid: peer.uid(),
                            pid: peer.pid(),
                        },
                    ))
                })
                .await
            }
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                self.accept(slots, || async {
                    let (socket, address) = listener.accept().await?;
                    socket.set_nodelay(true)?;
                    Ok((socket, Peer::Tcp(address)))
                })
                .await
            }
        }
    }

    async fn accept<S, A>(&self, slots: Arc<Semaphore>, accept: impl Fn() -> A) -> io::Result<()>
    where
        S: connection::Socket,
        A: Future<Output = io::Result<(S, Peer)>>,
    {
        loop {
            let slot = Arc::clone(&slots)
                .acquire_owned()
                .await
                .map_err(io::Error::other)?;
            let accepted = tokio::select! {
                biased;
                // Clients that are connected already are served first, also when the socket closes.
                accepted = accept() => accepted,
                () = self.closing.cancelled() => return Ok(()),
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Most of all EMFILE: the next accept would fail at once as well.
                    tracing::warn!(%error, "a client could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let shared = Arc::clone(&self.shared);
            let counted = Counted::new(Arc::clone(&shared));
            self.connections.spawn(async move {
                if let Err(error) = connection::serve(socket, peer, shared).await {
                    tracing::debug!(%error, "a connection failed");
                }
                drop((counted, slot));
            });
        }
    }

    /// Accepts nobody any more; who is connected stays. [`Server::serve`] returns when those who wait are accepted.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Accepts nobody any more and waits until what was asked for is done and told, at most `timeout`. Streams are cut.
    pub async fn stop(&self, timeout: Duration) {
        self.close();
        self.shared.stopping.cancel();
        self.shared.handlers.close();
        self.connections.close();
        if tokio::time::timeout(timeout, self.shared.handlers.wait())
            .await
            .is_err()
        {
            tracing::warn!("requests were cut off");
        }
        // Streams do not end by themselves.
        drop(tokio::time::timeout(FLUSH_TIMEOUT, self.connections.wait()).await);
    }
}

/// One connection in the count of all.
struct Counted(Arc<Shared>);

impl Counted {
    fn new(shared: Arc<Shared>) -> Self {
        shared.connections.send_modify(|count| *count += 1);
        Self(shared)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0
            .connections
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}
