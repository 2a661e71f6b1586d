//! `run`: create, start, stay until the end, delete.

use std::os::fd::AsFd;

use clap::{Arg, ArgAction, ArgMatches};

use crate::command::{delete, start};
use crate::error::CommandError;
use crate::foreground::{self, Signals};
use crate::globals::Globals;
use crate::launch::{self, Console, Options};

pub(super) fn arguments() -> Vec<Arg> {
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let mut arguments = launch::arguments();
    arguments.push(flag("detach", "return when the program has started").short('d'));
    arguments.push(flag("keep", "do not delete the container after its end"));
    arguments.push(flag(
        "no-subreaper",
        "accepted for runc's sake: no subreaper is used",
    ));
    arguments
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let options = Options::from_matches(matches)?;
    if matches.get_flag("detach") {
        let launched = launch::create(globals, &options, Console::Socket)?;
        start::start(globals, &launched.container).inspect_err(|_| abandon(globals, &launched))?;
        return Ok(0);
    }
    if options.sends_console() {
        return Err(CommandError::new(
            "cannot use console socket if runc will not detach or allocate tty",
        ));
    }
    let signals = Signals::hold()?;
    let mut launched = launch::create(globals, &options, Console::SocketOrCaller)?;
    start::start(globals, &launched.container).inspect_err(|_| abandon(globals, &launched))?;
    let console = launched.console.take();
    let code = foreground::wait(&signals, launched.pidfd.as_fd(), console)?;
    if !matches.get_flag("keep") {
        delete::delete(globals, &launched.container)?;
    }
    Ok(code)
}

/// Takes a container back that could not be started; the failed start is what gets reported.
fn abandon(globals: &Globals, launched: &launch::Launched) {
    drop(sys::signal::pidfd_send_signal(launched.pidfd.as_fd(), 9));
    drop(sys::process::wait_pidfd(launched.pidfd.as_fd()));
    drop(delete::delete(globals, &launched.container));
}
