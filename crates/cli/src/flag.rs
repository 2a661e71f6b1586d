//! Commands and flags as data: from these tables come the parser, the help and the generated list.

use std::future::Future;
use std::pin::Pin;

use crate::failure::Failure;
use crate::parse::Arguments;
use crate::session::Session;

/// Runs one command and returns the exit code.
pub(crate) type Handler =
    for<'a> fn(&'a Arguments, &'a Session<'a>) -> Pin<Box<dyn Future<Output = Result<u8, Failure>> + 'a>>;

/// Runs one command by a call of Berth's own, without a runtime; `None` leaves it to the [`Handler`]: nothing was done.
pub(crate) type DirectHandler = fn(&Arguments, &Session<'_>) -> Result<Option<u8>, Failure>;

/// Says what is wrong with a flag's value.
pub(crate) type Check = fn(&str) -> Result<(), String>;

/// One command.
pub(crate) struct Command {
    /// The words after the program's name, for instance `["container", "run"]`.
    pub path: &'static [&'static str],
    /// Other spellings, for instance `["run"]`.
    pub aliases: &'static [&'static [&'static str]],
    /// What follows the command in the usage line.
    pub usage: &'static str,
    /// One line of what it does.
    pub about: &'static str,
    /// The flags, in groups so that commands can share them.
    pub flags: &'static [&'static [Flag]],
    /// How many positional arguments.
    pub positionals: Positionals,
    /// Whether flags may stand after positional arguments.
    pub order: Order,
    /// What it runs.
    pub state: State,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Command")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Command {
    /// Returns all flags.
    pub(crate) fn all_flags(&self) -> impl Iterator<Item = &'static Flag> + use<> {
        self.flags.iter().flat_map(|group| group.iter())
    }

    /// Returns the name as people type it: the shortest alias, else the path.
    pub(crate) fn name(&self) -> String {
        let words = self.aliases.iter().copied().find(|alias| alias.len() == 1);
        words.unwrap_or(self.path).join(" ")
    }
}

/// Whether a command can be used.
#[derive(Clone, Copy)]
pub(crate) enum State {
    /// It can.
    Ready(Handler),
    /// It can, and faster where the daemon is a Berth.
    Direct(DirectHandler, Handler),
    /// Docker has it, this program not yet.
    NotYet,
    /// It only holds other commands.
    Group,
}

/// Bounds of the number of positional arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Positionals {
    /// Exactly so many.
    Exactly(usize),
    /// That many or more.
    AtLeast(usize),
    /// None up to that many.
    AtMost(usize),
    /// From the first to the second number.
    Between(usize, usize),
}

/// Whether flags end at the first positional argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Flags may stand anywhere before `--`.
    Mixed,
    /// What follows the first positional argument belongs to it.
    FlagsFirst,
}

/// One flag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// The letter.
    pub short: Option<char>,
    /// Whether it takes a value, and how often.
    pub value: Value,
    /// What it is when not given, as shown in the help.
    pub default: &'static str,
    /// One line.
    pub help: &'static str,
    /// Whether it can be used.
    pub status: Status,
    /// Says what is wrong with a value.
    pub check: Option<Check>,
}

/// What a flag takes; the text names the kind of value in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// `--flag` or `--flag=false`.
    Switch,
    /// One value; the last counts.
    One(&'static str),
    /// One value for each time it is given.
    Many(&'static str),
}

/// Whether a flag can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// It can.
    Ready,
    /// Another name of that flag; not shown.
    AliasOf(&'static str),
    /// Docker has it, this program not yet: the reason.
    NotYet(&'static str),
    /// It has no meaning here: the reason.
    Never(&'static str),
}

/// Returns a flag without a value.
pub(crate) const fn switch(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        short: None,
        value: Value::Switch,
        default: "",
        help,
        status: Status::Ready,
        check: None,
    }
}

/// Returns a flag with one value of that kind.
pub(crate) const fn one(name: &'static str, kind: &'static str, help: &'static str) -> Flag {
    Flag {
        value: Value::One(kind),
        ..switch(name, help)
    }
}

/// Returns a flag that may be given many times.
pub(crate) const fn many(name: &'static str, kind: &'static str, help: &'static str) -> Flag {
    Flag {
        value: Value::Many(kind),
        ..switch(name, help)
    }
}

impl Flag {
    /// Adds a letter.
    pub(crate) const fn short(self, letter: char) -> Self {
        Self {
            short: Some(letter),
            ..self
        }
    }

    /// Names the default.
    pub(crate) const fn default(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// Checks values while parsing.
    pub(crate) const fn check(self, check: Check) -> Self {
        Self {
            check: Some(check),
            ..self
        }
    }

    /// Makes it another, hidden name of `name`.
    pub(crate) const fn alias_of(self, name: &'static str) -> Self {
        Self {
            status: Status::AliasOf(name),
            ..self
        }
    }

    /// Refuses it for now.
    pub(crate) const fn not_yet(self, reason: &'static str) -> Self {
        Self {
            status: Status::NotYet(reason),
            ..self
        }
    }

    /// Refuses it.
    pub(crate) const fn never(self, reason: &'static str) -> Self {
        Self {
            status: Status::Never(reason),
            ..self
        }
    }
}
