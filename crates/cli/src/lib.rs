//! The command line: docker's commands, flags, output and exit codes over the Docker HTTP API.
//!
//! Each command is one file below `command`: arguments → client calls → terminal. The flags of a command are one
//! static table (`flag`), from which come parsing, help and the generated list ([`commands`]). Parsing touches
//! nothing; only then does a command connect. Standard output is data, standard error everything else; both are
//! written only by `output`. This crate starts no daemon itself: it asks the caller's [`StartDaemon`] when nothing
//! listens on the default socket and no host was named.
//!
//! Start with `command::table`, then `command::run`.

use std::error::Error;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

mod command;

mod attachment;
mod create;
mod credentials;
mod demux;
mod detach_keys;
mod direct;
mod progress;
mod signal;
mod terminal;

mod format;

mod check;
mod failure;
mod flag;
mod help;
mod output;
mod parse;
mod session;

pub use command::reference::{CommandReference, FlagReference, commands};

use failure::Failure;
use flag::State;
use parse::Parsed;
use session::Session;

/// Starts the daemon on demand; implemented by the binary, which alone knows how.
pub trait StartDaemon {
    /// Starts a daemon that listens on `socket` and returns when the socket accepts connections.
    ///
    /// Called at most once per command, only for the default socket and after a failed connect. Must be safe when
    /// another process does the same at the same time.
    fn start_daemon(&self, socket: &Path) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Runs the command line; `arguments` are those after the program's name.
///
/// Returns docker's exit codes: 125 for errors of the daemon or the command line itself, 126 and 127 for a command
/// that cannot be invoked or found, else the container's.
pub fn run(arguments: Vec<OsString>, daemon: &dyn StartDaemon) -> ExitCode {
    ExitCode::from(dispatch(arguments, daemon))
}

fn dispatch(arguments: Vec<OsString>, daemon: &dyn StartDaemon) -> u8 {
    let arguments = match parse::texts(arguments) {
        Ok(arguments) => arguments,
        Err(failure) => return report(&command::table::PROGRAM, failure),
    };
    let globals = match parse::parse(&command::table::PROGRAM, &arguments) {
        Ok(Parsed::Run(globals)) => globals,
        Ok(Parsed::Help) => return shown(help::program()),
        Err(failure) => return report(&command::table::PROGRAM, failure),
    };
    if globals.switch("version") {
        return shown(help::version());
    }
    let words = match globals.positionals.split_first() {
        None => return shown(help::program()),
        Some((first, rest)) if first == "help" => return command::help_about(rest),
        Some(_) => &globals.positionals,
    };
    let Some((found, used)) = command::table::find(words) else {
        return command::unknown(words);
    };
    let rest = &words[used..];
    let parsed = match (found.state, rest.first()) {
        // `berth container bogus`; flags of a group are its help.
        (State::Group, Some(word)) if !word.starts_with('-') => return command::unknown(words),
        (State::Group, _) => return shown(help::command(found)),
        // Its flags are not known here, so it is not parsed.
        (State::NotYet, Some(word)) if word == "--help" => return shown(help::command(found)),
        (State::NotYet, _) => {
            output::err_line(&format!("berth: 'berth {}' is not implemented yet", found.name()));
            return failure::DAEMON_ERROR;
        }
        (State::Ready(_) | State::Direct(..), _) => match parse::parse(found, rest) {
            Ok(Parsed::Help) => return shown(help::command(found)),
            Ok(Parsed::Run(arguments)) => arguments.check_positionals().map(|()| arguments),
            Err(failure) => Err(failure),
        },
    };
    let outcome = parsed.and_then(|arguments| {
        let session = Session::new(&globals, daemon)?;
        let handler = match found.state {
            State::Ready(handler) => handler,
            State::Direct(direct, handler) => match direct(&arguments, &session)? {
                Some(code) => return Ok(code),
                None => handler,
            },
            State::NotYet | State::Group => return Ok(failure::DAEMON_ERROR),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io("start the runtime", &error))?;
        let outcome = runtime.block_on(handler(&arguments, &session));
        // A thread that still reads a file for an upload must not hold up the end.
        runtime.shutdown_background();
        outcome
    });
    outcome.unwrap_or_else(|failure| report(found, failure))
}

fn shown(text: String) -> u8 {
    match output::out(&text) {
        Ok(()) | Err(Failure::BrokenPipe) => 0,
        Err(_) => 1,
    }
}

/// Says what went wrong and returns the exit code.
fn report(command: &'static flag::Command, failure: Failure) -> u8 {
    match failure {
        Failure::Usage { message, code } => {
            output::err_line(&format!("{message}\n\n{}", help::hint(command)));
            code
        }
        Failure::Message { message, code } => {
            output::err_line(&message);
            code
        }
        Failure::Call(error) => {
            output::err_line(&failure::describe(&error));
            1
        }
        Failure::BrokenPipe => 0,
    }
}
