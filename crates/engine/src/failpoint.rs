//! Points at which a test can kill the daemon: `BERTH_FAILPOINT=<step>` aborts the process when it gets there.
//!
//! Compiled always, so that the program that is tested is the program that is shipped; without the variable a point
//! costs one load. [`STEPS`] is the complete list, from which the tests take theirs.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every step of create, start, exec, stop and remove, in order, as `verb.step`: killed *after* the step was done.
pub const STEPS: &[&str] = &[
    "create.reserve",
    "create.directory",
    "create.volumes",
    "create.snapshot",
    "create.record",
    "start.spawn",
    "start.prepare",
    "start.intent",
    "start.files",
    "start.document",
    "start.network",
    "start.started",
    "exec.create",
    "exec.attach",
    "exec.started",
    "stop.mark",
    "stop.signal",
    "stop.exited",
    "exit.record",
    "exit.clean",
    "commit.pause",
    "commit.layer",
    "commit.image",
    "commit.unpause",
    "rollback.intent",
    "rollback.removed",
    "rollback.created",
    "remove.volumes",
    "remove.record",
    "remove.snapshot",
    "remove.directory",
    "network.create.record",
    "network.create.made",
    "network.remove.bridge",
    "network.connect.record",
    "network.connect.filter",
    "network.disconnect.record",
];

static WANTED: OnceLock<Option<String>> = OnceLock::new();

/// Whether the panic that was asked for was raised: one call fails, not all that follow.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Ends the process as `kill -9` would when `BERTH_FAILPOINT` names `step`; with `step=panic` in it, panics there, once.
///
/// # Panics
///
/// When it is asked to.
pub fn reached(step: &'static str) {
    debug_assert!(STEPS.contains(&step), "{step} is missing in the list of steps");
    let wanted = WANTED.get_or_init(|| std::env::var("BERTH_FAILPOINT").ok());
    let Some(wanted) = wanted.as_deref() else {
        return;
    };
    if wanted.strip_suffix("=panic") == Some(step) && !PANICKED.swap(true, Ordering::Relaxed) {
        panic!("failpoint {step}");
    }
    if wanted == step {
        // A kill, not an abort: no destructor, no core dump, nothing flushed.
        let pid = rustix::process::getpid();
        if rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_err() {
            std::process::abort();
        }
    }
}
