//! What the daemon does when nobody wants anything of it.

use std::convert::Infallible;
use std::time::Duration;

use server::Server;

/// How long no client must have come or gone.
const QUIET: Duration = Duration::from_secs(1);

/// Free memory that the next requests may have at once. A request of a megabyte, or the load of an image, leaves more.
const KEPT: usize = 1 << 20;

/// Gives back what large requests took, each time that clients have come and gone. Never ends.
pub(crate) async fn settle(server: &Server) -> Infallible {
    let mut connections = server.connections();
    loop {
        while let Ok(changed) = tokio::time::timeout(QUIET, connections.changed()).await {
            if changed.is_err() {
                // The server is gone, which this borrow outlives.
                return std::future::pending().await;
            }
        }
        let released = tokio::task::spawn_blocking(|| sys::memory::release_free_memory_beyond(KEPT));
        // Fails only when the runtime ends.
        drop(released.await);
        if connections.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}
