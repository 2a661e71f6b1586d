//! Points at which a test can kill the server: `BERTH_FAILPOINT=<step>` ends the process when it gets there.

use std::sync::OnceLock;

/// Every step of an upload and of a manifest's push, in order: killed *after* the step was done.
pub const STEPS: &[&str] = &[
    "upload.file",
    "upload.begun",
    "upload.received",
    "upload.verified",
    "upload.synced",
    "upload.recorded",
    "upload.shown",
    "manifest.leased",
    "manifest.stored",
    "manifest.recorded",
];

static WANTED: OnceLock<Option<String>> = OnceLock::new();

/// Ends the process as `kill -9` would when `BERTH_FAILPOINT` names `step`.
pub(crate) fn reached(step: &'static str) {
    debug_assert!(STEPS.contains(&step), "{step} is missing in the list of steps");
    let wanted = WANTED.get_or_init(|| std::env::var("BERTH_FAILPOINT").ok());
    if wanted.as_deref() == Some(step) {
        // A kill, not an abort: no destructor, no core dump, nothing flushed.
        let pid = rustix::process::getpid();
        if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_err() {
            std::process::abort();
        }
    }
}
