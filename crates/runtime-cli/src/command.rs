//! Which command, with which options; only the one in use is built.

mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod ps;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::error::{CommandError, Context};
use crate::globals::{self, Globals};
use crate::log::{self, Level};

/// A command: its name, what it does, its arguments, and how it is carried out.
struct Verb {
    name: &'static str,
    about: &'static str,
    arguments: fn() -> Vec<Arg>,
    run: fn(&Globals, &ArgMatches) -> Result<u8, CommandError>,
    /// The exit code when it fails: runc's; that of `exec` must not be mistaken for its process's.
    failure: u8,
}

const VERBS: [Verb; 15] = [
    verb("create", "create a container", create::arguments, create::run),
    verb(
        "delete",
        "delete what a container holds",
        delete::arguments,
        delete::run,
    ),
    verb(
        "events",
        "show statistics and out-of-memory events",
        events::arguments,
        events::run,
    ),
    Verb {
        failure: 255,
        ..verb(
            "exec",
            "run another process in a container",
            exec::arguments,
            exec::run,
        )
    },
    verb(
        "features",
        "show what this runtime can do",
        features::arguments,
        features::run,
    ),
    verb(
        "kill",
        "send a signal to a container's first process",
        kill::arguments,
        kill::run,
    ),
    verb(
        "list",
        "list the containers below --root",
        list::arguments,
        list::run,
    ),
    verb(
        "pause",
        "stop every process of a container",
        pause::arguments,
        pause::run,
    ),
    verb("ps", "list the processes of a container", ps::arguments, ps::run),
    verb(
        "resume",
        "let a paused container go on",
        resume::arguments,
        resume::run,
    ),
    verb("run", "create and start a container", run::arguments, run::run),
    verb("spec", "write an example document", spec::arguments, spec::run),
    verb("start", "start a created container", start::arguments, start::run),
    verb(
        "state",
        "show the state of a container",
        state::arguments,
        state::run,
    ),
    verb(
        "update",
        "change the limits of a container",
        update::arguments,
        update::run,
    ),
];

const fn verb(
    name: &'static str,
    about: &'static str,
    arguments: fn() -> Vec<Arg>,
    run: fn(&Globals, &ArgMatches) -> Result<u8, CommandError>,
) -> Verb {
    Verb {
        name,
        about,
        arguments,
        run,
        failure: 1,
    }
}

/// Parses the arguments and carries the command out.
pub(crate) fn dispatch(args: impl Iterator<Item = OsString>) -> ExitCode {
    let matches = match outer().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => return usage(&error),
    };
    if matches.get_flag("version") {
        let text = format!(
            "berth oci version {}\nspec: {}\n",
            env!("CARGO_PKG_VERSION"),
            features::NEWEST_VERSION
        );
        return exit(print(&text).map(|()| 0));
    }
    let globals = Globals::from_matches(&matches);
    let Some((name, rest)) = matches.subcommand() else {
        return exit(print(&outer().render_help().to_string()).map(|()| 0));
    };
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        log::write(&globals, Level::Error, &format!("unknown command \"{name}\""));
        return ExitCode::FAILURE;
    };
    let words = rest.get_many::<OsString>("").into_iter().flatten().cloned();
    let command = Command::new(format!("berth oci {name}"))
        .no_binary_name(true)
        .about(verb.about)
        .args((verb.arguments)());
    let matches = match command.try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) => {
            if error.use_stderr() {
                // Whoever called reads the log, not the usage.
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                log::write(&globals, Level::Error, first.trim_start_matches("error: "));
                return ExitCode::from(verb.failure);
            }
            return usage(&error);
        }
    };
    match (verb.run)(&globals, &matches) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log::write(&globals, Level::Error, &error.to_string());
            ExitCode::from(verb.failure)
        }
    }
}

/// The part before the command.
fn outer() -> Command {
    let list: String = VERBS
        .iter()
        .map(|verb| format!("  {:<10}{}\n", verb.name, verb.about))
        .collect();
    Command::new("berth oci")
        .no_binary_name(true)
        .about("Run containers from OCI bundles")
        .disable_help_subcommand(true)
        .allow_external_subcommands(true)
        .external_subcommand_value_parser(clap::value_parser!(OsString))
        .args(globals::arguments())
        .arg(
            Arg::new("version")
                .long("version")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("print the version"),
        )
        .after_help(format!("Commands:\n{list}"))
}

fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the stream is gone.
    drop(error.print());
    if error.use_stderr() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn exit(result: Result<u8, CommandError>) -> ExitCode {
    ExitCode::from(result.unwrap_or(1))
}

/// Writes data to stdout; a reader that has gone is not an error.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context(|| "write to stdout".to_owned())
        }
        _ => Ok(()),
    }
}

/// The argument that most commands have.
pub(crate) fn id_argument() -> Arg {
    Arg::new("id").required(true).value_name("CONTAINER")
}

/// Returns the value of [`id_argument`].
pub(crate) fn id(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("id").map_or("", String::as_str)
}
