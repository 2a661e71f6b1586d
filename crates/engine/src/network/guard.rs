//! Keeping what the packet filter has: put back when somebody takes it out, and no more let through than before.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::error::chain;
use netlink::nft::Watch;
use network::bridge;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;

use super::budget;
use super::error::NetworkError;
use super::kernel::Kernel;
use super::open::remember;
use super::record::NetworkRecord;
use crate::Engine;

/// The fact that this machine was no router for IPv4, with the boot in which it was made one; then for IPv6.
const CLOSED: [&str; 2] = ["no-router-4", "no-router-6"];
/// Who fights for the tables is not answered faster.
const PAUSE: Duration = Duration::from_secs(1);

/// Finds out whether the machine is a router, before the first bridge makes it one. If it is not, the packet filter keeps
/// its other links apart from then on.
pub(crate) fn look(
    engine: &Arc<Engine>,
    kernel: &mut Kernel,
    network: &NetworkRecord,
) -> Result<(), NetworkError> {
    if kernel.closed.is_some() || network.driver != "bridge" {
        return Ok(());
    }
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| NetworkError::Step {
        doing: "keep the links of this machine apart from",
        name: network.name.clone(),
        source: error,
    };
    let boot = engine.host.boot_id.as_str();
    let (is4, is6) = bridge::is_forwarding();
    let mut closed = [false; 2];
    for ((key, forwards), closed) in CLOSED.into_iter().zip([is4, is6]).zip(&mut closed) {
        let was_closed = engine.store.meta(key).map_err(|error| failed(Box::new(error)))?;
        *closed = !forwards || was_closed.as_deref() == Some(boot);
        if !forwards && was_closed.as_deref() != Some(boot) {
            engine
                .write(|batch| batch.set_meta(key, boot))
                .map_err(|error| failed(Box::new(error)))?;
        }
    }
    kernel.closed = Some((closed[0], closed[1]));
    if !(is4 && is6) {
        remember(engine).map_err(|error| failed(Box::new(error)))?;
        kernel
            .replace(&mut engine.networks.table())
            .map_err(|error| failed(Box::new(error)))?;
    }
    Ok(())
}

/// Puts the packet filter in place again whenever somebody else takes something out of it. Does nothing the second time.
pub(crate) fn watch(engine: &Arc<Engine>, kernel: &mut Kernel) {
    if !kernel.is_in_place() || engine.networks.is_watched.swap(true, Ordering::Relaxed) {
        return;
    }
    // Without a runtime there is nobody who could wait.
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let opened = kernel
        .filter_port()
        .and_then(|own| Watch::open().map(|watch| (own, watch)))
        .and_then(|(own, watch)| watch.ear().map(|ear| (own, watch, ear)));
    // From here on it is known which transactions were this daemon's.
    kernel.is_others_too();
    match opened {
        Ok((own, watch, ear)) => {
            kernel.set_ear(ear);
            let tables = [
                engine.config.network.firewall.clone(),
                kernel.budgets.table_name().to_owned(),
            ];
            drop(runtime.spawn(follow(Arc::downgrade(engine), watch, own, tables)));
        }
        Err(error) => tracing::warn!(error = %chain(&error), "the packet filter is not watched"),
    }
}

/// Follows what others than socket `own` do to `tables`.
async fn follow(engine: Weak<Engine>, watch: Watch, own: u32, tables: [String; 2]) {
    #[expect(
        deprecated,
        reason = "its successor is unsafe; this one is given a descriptor that lives as long as itself"
    )]
    let registered = AsyncFd::with_interest(watch, Interest::READABLE);
    let mut watch = match registered {
        Ok(watch) => watch,
        Err(error) => {
            tracing::warn!(%error, "the packet filter is not watched");
            return;
        }
    };
    loop {
        let Ok(mut ready) = watch.readable_mut().await else {
            return;
        };
        let removals = ready.get_inner_mut().removals();
        ready.clear_ready();
        let Some(engine) = engine.upgrade() else { return };
        let news = match removals {
            Ok(Some(removals)) => {
                if !removals
                    .iter()
                    .any(|one| one.by != own && tables.contains(&one.table))
                {
                    continue;
                }
                News::Removed
            }
            Ok(None) => News::Lost,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "the packet filter is not watched any more");
                return;
            }
        };
        restore(engine, news).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// What was heard of the packet filter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    /// Somebody else took something out.
    Removed,
    /// There was too much to tell: ten thousand ports of this daemon's own, or somebody else's work.
    Lost,
}

async fn restore(engine: Arc<Engine>, news: News) {
    let work = move || {
        let mut kernel = engine.networks.kernel();
        let mut table = engine.networks.table();
        if !kernel.is_in_place() || news == News::Lost && !kernel.is_others_too() {
            return Ok(());
        }
        tracing::warn!(
            "somebody else has changed the packet filter of the networks: it is put in place again"
        );
        kernel.replace(&mut table)?;
        drop(table);
        if let Err(error) = budget::replace(&engine, &mut kernel) {
            tracing::error!(error = %chain(&error), "the budgets of containers could not be put in place");
        }
        Ok::<(), netlink::NetlinkError>(())
    };
    let done = match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| chain(&error).to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = done {
        tracing::error!(%error, "the packet filter could not be put in place");
    }
}
