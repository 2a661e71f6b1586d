//! SIGHUP: the configuration file is read again. A broken one changes nothing.

use base::error::chain;

use super::logging::{Logging, Reload};
use super::options::Options;

/// Applies what can change while the daemon runs: the log level.
pub(crate) fn reload(options: &Options, reload: &Reload) {
    let file = match options.reread() {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the configuration was kept: its file is broken");
            return;
        }
    };
    let Logging { level } = file.logging;
    if let Err(error) = reload.modify(|current| *current = level) {
        tracing::warn!(%error, "the log level could not be changed");
    }
    tracing::info!(%level, "the configuration was read again; what is not the log level needs a restart");
}
