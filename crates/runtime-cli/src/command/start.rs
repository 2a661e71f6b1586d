//! `start`: lets a created container's program run.

use clap::{Arg, ArgMatches};
use runtime::HookKind;

use crate::command::{id, id_argument};
use crate::error::CommandError;
use crate::globals::Globals;
use crate::log::{self, Level};
use crate::status::{Container, Status};

pub(super) fn arguments() -> Vec<Arg> {
    vec![id_argument()]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    start(globals, &Container::load(globals, id(matches))?)?;
    Ok(0)
}

/// Starts a created container.
pub(super) fn start(globals: &Globals, container: &Container) -> Result<(), CommandError> {
    match container.status()? {
        Status::Created => {}
        Status::Stopped => return Err(CommandError::new("cannot start a container that has stopped")),
        Status::Running | Status::Paused => {
            return Err(CommandError::new("cannot start an already running container"));
        }
    }
    let gate = container.entry.gate()?;
    runtime::start(&gate.path).map_err(|error| CommandError::new(error.message().to_owned()))?;
    container.entry.release()?;
    let spec = container.entry.load_spec()?;
    // The specification: a failing poststart hook is logged, and the container goes on.
    let state = container.oci_state(Status::Running);
    if let Err(error) = runtime::run_hooks(HookKind::Poststart, spec.hooks().as_ref(), &state) {
        log::write(globals, Level::Warning, error.message());
    }
    Ok(())
}
