//! The daemon's own log, on its standard error.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// What is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logging {
    pub(crate) level: LevelFilter,
}

impl Logging {
    /// Returns what `--log-level` and `--debug` ask for; `None` if there is no such level.
    pub(crate) fn new(level: &str, debug: bool) -> Option<Self> {
        let level = match level {
            "debug" => LevelFilter::DEBUG,
            "info" => LevelFilter::INFO,
            "warn" => LevelFilter::WARN,
            // Berth has no levels beyond error.
            "error" | "fatal" | "panic" => LevelFilter::ERROR,
            _ => return None,
        };
        Some(Self {
            level: if debug { LevelFilter::DEBUG } else { level },
        })
    }
}

/// Changes the level while the daemon runs.
pub(crate) type Reload = reload::Handle<LevelFilter, Registry>;

/// Starts the log.
pub(crate) fn start(logging: &Logging) -> Reload {
    let (filter, reload) = reload::Layer::new(logging.level);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr);
    // Fails only if a log was started before.
    drop(tracing_subscriber::registry().with(filter).with(lines).try_init());
    reload
}
