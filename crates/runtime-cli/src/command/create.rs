//! `create`: everything but the program's start.

use clap::{Arg, ArgMatches};

use crate::error::CommandError;
use crate::globals::Globals;
use crate::launch::{self, Console, Options};

pub(super) fn arguments() -> Vec<Arg> {
    launch::arguments()
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let options = Options::from_matches(matches)?;
    launch::create(globals, &options, Console::Socket)?;
    Ok(0)
}
