//! When a daemon that was started on demand ends by itself.

use engine::Engine;
use server::Server;

use super::options::Options;

/// Returns when nothing has needed this daemon for the idle time; never for a daemon that somebody started to stay.
pub(crate) async fn wait(options: &Options, engine: &Engine, server: &Server) {
    if !options.on_demand {
        return std::future::pending().await;
    }
    let mut connections = server.connections();
    loop {
        // The watches begin before the look, so that no change is missed.
        let mut changed = std::pin::pin!(engine.idle_changed());
        tokio::select! {
            biased;
            () = changed.as_mut() => continue,
            () = std::future::ready(()) => {}
        }
        let clients = *connections.borrow_and_update();
        let is_idle = clients == 0 && engine.is_idle();
        tokio::select! {
            () = tokio::time::sleep(options.idle_timeout), if is_idle => return,
            // Fails only when the server is gone, which this borrow outlives.
            connected = connections.changed() => drop(connected),
            () = changed => {}
        }
    }
}
