//! `resume`: lets a paused container go on.

use clap::{Arg, ArgMatches};

use crate::command::{id, id_argument};
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::status::Container;

pub(super) fn arguments() -> Vec<Arg> {
    vec![id_argument()]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let container = Container::load(globals, id(matches))?;
    let group = container.need_cgroup("resume")?;
    if !group.is_frozen().plain()? {
        return Err(CommandError::new("container not paused"));
    }
    group.thaw().plain()?;
    Ok(0)
}
