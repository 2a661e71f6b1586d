//! Ambient capabilities as callers write them: runc's example document names some that it does not make inheritable,
//! which the kernel refuses (capabilities(7)). runc and crun go on without them, so callers rely on it.

use oci_spec::runtime::{Capabilities, Capability, Process};

use crate::globals::Globals;
use crate::log::{self, Level};

/// Takes the ambient capabilities back that are not permitted and inheritable, with a warning.
pub(crate) fn drop_impossible(globals: &Globals, process: &mut Process) {
    let Some(mut capabilities) = process.capabilities().clone() else {
        return;
    };
    let Some(ambient) = capabilities.ambient().clone() else {
        return;
    };
    let has = |set: &Option<Capabilities>, capability: &Capability| {
        set.as_ref().is_some_and(|set| set.contains(capability))
    };
    let (possible, impossible): (Capabilities, Vec<_>) = {
        let (possible, impossible): (Vec<_>, Vec<_>) = ambient.into_iter().partition(|capability| {
            has(capabilities.inheritable(), capability) && has(capabilities.permitted(), capability)
        });
        (possible.into_iter().collect(), impossible)
    };
    if impossible.is_empty() {
        return;
    }
    let mut names: Vec<String> = impossible.iter().map(ToString::to_string).collect();
    names.sort();
    let message = format!("not ambient, because not inheritable: {}", names.join(", "));
    log::write(globals, Level::Warning, &message);
    capabilities.set_ambient(Some(possible));
    process.set_capabilities(Some(capabilities));
}
