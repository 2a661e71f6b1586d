//! The tables as data, for documents, completion and the test against docker.

use crate::command::table::COMMANDS;
use crate::flag::{Flag, State, Status, Value};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandReference {
    /// The words after `berth`.
    pub path: Vec<&'static str>,
    /// Other spellings.
    pub aliases: Vec<Vec<&'static str>>,
    /// What follows in the usage line.
    pub usage: &'static str,
    /// One line of what it does.
    pub about: &'static str,
    /// Whether it can be used; otherwise it is refused by name.
    pub supported: bool,
    /// Whether it only holds other commands.
    pub is_group: bool,
    /// Its flags, by name.
    pub flags: Vec<FlagReference>,
}

/// One flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagReference {
    /// Without dashes.
    pub name: &'static str,
    /// The letter.
    pub short: Option<char>,
    /// The kind of its value, if it takes one.
    pub value: Option<&'static str>,
    /// Whether it may be given many times.
    pub many: bool,
    /// What it is when not given.
    pub default: &'static str,
    /// One line.
    pub help: &'static str,
    /// Why it is refused, if it is.
    pub refused: Option<&'static str>,
    /// The flag of which it is another name.
    pub alias_of: Option<&'static str>,
}

/// Returns all commands, sorted by name.
pub fn commands() -> Vec<CommandReference> {
    let mut commands: Vec<CommandReference> = COMMANDS
        .iter()
        .map(|command| {
            let mut flags: Vec<FlagReference> = command.all_flags().map(reference).collect();
            flags.sort_by_key(|flag| flag.name);
            CommandReference {
                path: command.path.to_vec(),
                aliases: command.aliases.iter().map(|alias| alias.to_vec()).collect(),
                usage: command.usage,
                about: command.about,
                supported: !matches!(command.state, State::NotYet),
                is_group: matches!(command.state, State::Group),
                flags,
            }
        })
        .collect();
    commands.sort_by(|left, right| left.path.cmp(&right.path));
    commands
}

fn reference(flag: &'static Flag) -> FlagReference {
    let (value, many) = match flag.value {
        Value::Switch => (None, false),
        Value::One(kind) => (Some(kind), false),
        Value::Many(kind) => (Some(kind), true),
    };
    let (refused, alias_of) = match flag.status {
        Status::Ready => (None, None),
        Status::AliasOf(name) => (None, Some(name)),
        Status::NotYet(reason) | Status::Never(reason) => (Some(reason), None),
    };
    FlagReference {
        name: flag.name,
        short: flag.short,
        value,
        many,
        default: flag.default,
        help: flag.help,
        refused,
        alias_of,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `docker COMMAND --help` of docker 28.2.2 lists: name, letter and kind of value of each flag.
    const DOCKER: &str = include_str!("docker-28.2.2-flags.jsonl");

    #[derive(serde::Deserialize)]
    struct Recorded {
        command: String,
        flags: Vec<(String, Option<char>, Option<String>)>,
    }

    #[test]
    fn every_flag_of_docker_is_known_by_name_letter_and_value() {
        let commands = commands();
        let mut missing = Vec::new();
        for line in DOCKER.lines() {
            let recorded: Recorded = serde_json::from_str(line).unwrap();
            let path: Vec<&str> = recorded.command.split(' ').collect();
            let Some(command) = commands.iter().find(|command| command.path == path) else {
                missing.push(recorded.command);
                continue;
            };
            for (name, short, value) in recorded.flags {
                let same = command
                    .flags
                    .iter()
                    .any(|flag| flag.name == name && flag.short == short && flag.value == value.as_deref());
                if !same {
                    missing.push(format!("{} --{name} {short:?} {value:?}", recorded.command));
                }
            }
        }
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }
}
