//! `pause`: stops every process.

use clap::{Arg, ArgMatches};

use crate::command::{id, id_argument};
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::status::{Container, Status};

pub(super) fn arguments() -> Vec<Arg> {
    vec![id_argument()]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let container = Container::load(globals, id(matches))?;
    match container.status()? {
        Status::Running | Status::Created => {}
        status => return Err(CommandError::new(format!("container not running: {status}"))),
    }
    container.need_cgroup("pause")?.freeze().plain()?;
    Ok(0)
}
