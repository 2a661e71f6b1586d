//! Waiting for a state instead of for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Waits until `condition` holds, looking again every millisecond; fails after `limit`, naming `what`.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    loop {
        if condition()? {
            return Ok(());
        }
        if start.elapsed() > limit {
            bail!("waited {limit:?} in vain: {what}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
