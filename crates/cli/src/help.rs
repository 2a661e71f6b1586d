//! Help, written from the tables.

use std::fmt::Write;

use crate::command::table::{COMMANDS, PROGRAM};
use crate::flag::{Command, Flag, State, Status, Value};

/// Where help lines are broken.
const WIDTH: usize = 80;

/// Returns the help of the program.
pub(crate) fn program() -> String {
    let mut text = format!("Usage:  berth [OPTIONS] COMMAND\n\n{}\n", PROGRAM.about);
    let mut groups: Vec<&Command> = Vec::new();
    let mut singles: Vec<(String, &Command)> = Vec::new();
    for command in COMMANDS
        .iter()
        .copied()
        .filter(|command| !matches!(command.state, State::NotYet))
    {
        if matches!(command.state, State::Group) {
            groups.push(command);
        } else if let Some(name) = short_name(command) {
            singles.push((name.to_owned(), command));
        }
    }
    groups.sort_by_key(|command| command.path);
    singles.sort_by(|left, right| left.0.cmp(&right.0));
    let groups: Vec<(String, &Command)> = groups
        .into_iter()
        .map(|group| (group.path.join(" "), group))
        .collect();
    for (title, list) in [("Management Commands", groups), ("Commands", singles)] {
        section(
            &mut text,
            title,
            list.iter().map(|(name, command)| (name.clone(), command.about)),
        );
    }
    options(&mut text, "Global Options", PROGRAM.all_flags());
    text.push_str("\nRun 'berth COMMAND --help' for more information on a command.\n");
    text
}

/// Returns the name of a command that is one word long.
fn short_name(command: &Command) -> Option<&'static str> {
    let all = std::iter::once(command.path).chain(command.aliases.iter().copied());
    all.filter(|words| words.len() == 1).map(|words| words[0]).next()
}

/// Returns what `--version` prints.
pub(crate) fn version() -> String {
    format!("Berth version {}\n", env!("CARGO_PKG_VERSION"))
}

/// Returns the help of a command.
pub(crate) fn command(command: &'static Command) -> String {
    if matches!(command.state, State::NotYet) {
        return format!(
            "{}\n\n{}\n\nNot implemented yet.\n",
            usage(command),
            command.about
        );
    }
    let mut text = format!("{}\n\n{}\n", usage(command), command.about);
    if matches!(command.state, State::Group) {
        let depth = command.path.len();
        let mut members: Vec<&Command> = COMMANDS
            .iter()
            .copied()
            .filter(|other| other.path.len() == depth + 1 && other.path.starts_with(command.path))
            .filter(|other| !matches!(other.state, State::NotYet))
            .collect();
        members.sort_by_key(|member| member.path);
        section(
            &mut text,
            "Commands",
            members
                .iter()
                .map(|member| (member.path[depth].to_owned(), member.about)),
        );
        let path = command.path.join(" ");
        let _infallible = write!(
            text,
            "\nRun 'berth {path} COMMAND --help' for more information on a command.\n"
        );
        return text;
    }
    if !command.aliases.is_empty() {
        let mut names = vec![format!("berth {}", command.path.join(" "))];
        names.extend(
            command
                .aliases
                .iter()
                .map(|alias| format!("berth {}", alias.join(" "))),
        );
        let _infallible = write!(text, "\nAliases:\n  {}\n", names.join(", "));
    }
    options(&mut text, "Options", command.all_flags());
    text
}

/// Returns the usage line and where help is found, for errors.
pub(crate) fn hint(command: &'static Command) -> String {
    let name = command.name();
    let space = if name.is_empty() { "" } else { " " };
    format!(
        "{}\n\nRun 'berth {name}{space}--help' for more information",
        usage(command)
    )
}

/// Returns where help is found.
pub(crate) fn pointer(command: &'static Command) -> String {
    format!("Run 'berth {} --help' for more information", command.name())
}

fn usage(command: &Command) -> String {
    format!("Usage:  berth {} {}", command.name(), command.usage)
        .replace("  ", " ")
        .replacen("Usage: ", "Usage:  ", 1)
        .trim_end()
        .to_owned()
}

fn section(text: &mut String, title: &str, rows: impl Iterator<Item = (String, &'static str)>) {
    let rows: Vec<(String, &str)> = rows.collect();
    let Some(widest) = rows.iter().map(|(name, _)| name.len()).max() else {
        return;
    };
    let _infallible = write!(text, "\n{title}:\n");
    for (name, about) in rows {
        let _infallible = writeln!(text, "  {name:widest$}   {about}");
    }
}

fn options(text: &mut String, title: &str, flags: impl Iterator<Item = &'static Flag>) {
    let mut flags: Vec<&Flag> = flags.filter(|flag| flag.status == Status::Ready).collect();
    flags.sort_by_key(|flag| flag.name);
    let left = |flag: &Flag| {
        let letter = flag
            .short
            .map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        match flag.value {
            Value::Switch => format!("  {letter}--{}", flag.name),
            Value::One(kind) | Value::Many(kind) => format!("  {letter}--{} {kind}", flag.name),
        }
    };
    let Some(widest) = flags.iter().map(|flag| left(flag).len()).max() else {
        return;
    };
    let _infallible = write!(text, "\n{title}:\n");
    for flag in flags {
        let mut help = flag.help.to_owned();
        if !flag.default.is_empty() {
            let quote = if matches!(flag.value, Value::One("string")) {
                "\""
            } else {
                ""
            };
            let _infallible = write!(help, " (default {quote}{}{quote})", flag.default);
        }
        let margin = widest + 3;
        let mut column = left(flag);
        for line in wrap(&help, WIDTH.saturating_sub(margin).max(20)) {
            let _infallible = writeln!(text, "{column:margin$}{line}");
            column.clear();
        }
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if !lines[last].is_empty() && lines[last].len() + 1 + word.len() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !lines[last].is_empty() {
            lines[last].push(' ');
        }
        lines[last].push_str(word);
    }
    lines
}
