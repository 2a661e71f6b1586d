//! Reads arguments by a command's table, with the rules of docker's parser (pflag).
//!
//! `--flag value`, `--flag=value`, `-f value`, `-fvalue`, `-f=value`, several letters after one dash, `--` ends the flags.

use std::ffi::OsString;

use crate::failure::Failure;
use crate::flag::{Command, Flag, Order, Positionals, Status, Value};

/// What was given on the command line.
#[derive(Debug)]
pub(crate) struct Arguments {
    command: &'static Command,
    /// In the order given; aliases under the name of the real flag.
    given: Vec<(&'static str, String)>,
    /// What is not a flag.
    pub positionals: Vec<String>,
}

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// To run the command.
    Run(Arguments),
    /// To show its help.
    Help,
}

/// Reads `arguments` by the table of `command`.
pub(crate) fn parse(command: &'static Command, arguments: &[String]) -> Result<Parsed, Failure> {
    let mut parsed = Arguments {
        command,
        given: Vec::new(),
        positionals: Vec::new(),
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            parsed.positionals.extend(rest.cloned());
            break;
        }
        let help = if let Some(long) = argument.strip_prefix("--") {
            parsed.long(argument, long, &mut rest)?
        } else if argument.len() > 1 && argument.starts_with('-') {
            parsed.short(argument, &mut rest)?
        } else {
            parsed.positionals.push(argument.clone());
            if command.order == Order::FlagsFirst {
                parsed.positionals.extend(rest.cloned());
                break;
            }
            false
        };
        if help {
            return Ok(Parsed::Help);
        }
    }
    Ok(Parsed::Run(parsed))
}

/// Returns the arguments as text.
pub(crate) fn texts(arguments: Vec<OsString>) -> Result<Vec<String>, Failure> {
    arguments
        .into_iter()
        .map(|argument| {
            argument.into_string().map_err(|argument| {
                Failure::invalid(format!(
                    "argument {argument:?} is not UTF-8, which the API cannot carry"
                ))
            })
        })
        .collect()
}

impl Arguments {
    /// Takes a flag with two dashes; true asks for help.
    fn long(
        &mut self,
        argument: &str,
        long: &str,
        rest: &mut std::slice::Iter<'_, String>,
    ) -> Result<bool, Failure> {
        let (name, attached) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        if name.is_empty() || name.starts_with('-') {
            return Err(Failure::usage(format!("bad flag syntax: {argument}")));
        }
        let Some(flag) = self.command.all_flags().find(|flag| flag.name == name) else {
            if name == "help" {
                return Ok(true);
            }
            return Err(Failure::usage(format!("unknown flag: --{name}")));
        };
        let value = match (attached, flag.value) {
            (Some(value), _) => value.to_owned(),
            (None, Value::Switch) => "true".to_owned(),
            (None, _) => match rest.next() {
                Some(value) => value.clone(),
                None => return Err(Failure::usage(format!("flag needs an argument: --{name}"))),
            },
        };
        self.set(flag, value)?;
        Ok(false)
    }

    /// Takes letters after one dash; true asks for help.
    fn short(&mut self, argument: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<bool, Failure> {
        let letters = &argument[1..];
        let mut after = letters;
        while let Some(letter) = after.chars().next() {
            after = &after[letter.len_utf8()..];
            let Some(flag) = self.command.all_flags().find(|flag| flag.short == Some(letter)) else {
                if letter == 'h' {
                    return Ok(true);
                }
                return Err(Failure::usage(format!(
                    "unknown shorthand flag: '{letter}' in -{letters}"
                )));
            };
            if let Some(value) = after.strip_prefix('=') {
                self.set(flag, value.to_owned())?;
                return Ok(false);
            }
            if flag.value == Value::Switch {
                self.set(flag, "true".to_owned())?;
                continue;
            }
            let value = if !after.is_empty() {
                after.to_owned()
            } else if let Some(value) = rest.next() {
                value.clone()
            } else {
                return Err(Failure::usage(format!(
                    "flag needs an argument: '{letter}' in -{letters}"
                )));
            };
            self.set(flag, value)?;
            return Ok(false);
        }
        Ok(false)
    }

    fn set(&mut self, flag: &'static Flag, value: String) -> Result<(), Failure> {
        let real = match flag.status {
            Status::AliasOf(name) => self
                .command
                .all_flags()
                .find(|other| other.name == name)
                .unwrap_or(flag),
            _ => flag,
        };
        let refused =
            |text: &str, reason: &str| Failure::invalid(format!("--{} {text}: {reason}", real.name));
        let wrong = |reason: String| {
            let names = match flag.short {
                Some(letter) => format!("-{letter}, --{}", flag.name),
                None => format!("--{}", flag.name),
            };
            Failure::usage(format!(
                "invalid argument \"{value}\" for \"{names}\" flag: {reason}"
            ))
        };
        if flag.value == Value::Switch {
            let on = parse_bool(&value)
                .ok_or_else(|| wrong(format!("strconv.ParseBool: parsing \"{value}\": invalid syntax")))?;
            // Asking for the default of something that is not there is not a wish to refuse.
            let as_default = on == (real.default == "true");
            match real.status {
                Status::NotYet(reason) if !as_default => return Err(refused("is not supported yet", reason)),
                Status::Never(reason) if !as_default => return Err(refused("is not supported", reason)),
                _ => {}
            }
            self.given
                .push((real.name, if on { "true" } else { "false" }.to_owned()));
            return Ok(());
        }
        match real.status {
            Status::NotYet(reason) => return Err(refused("is not supported yet", reason)),
            Status::Never(reason) => return Err(refused("is not supported", reason)),
            Status::Ready | Status::AliasOf(_) => {}
        }
        if let Some(check) = real.check {
            check(&value).map_err(wrong)?;
        }
        self.given.push((real.name, value));
        Ok(())
    }

    /// Says what is wrong with the number of positional arguments.
    pub(crate) fn check_positionals(&self) -> Result<(), Failure> {
        let count = self.positionals.len();
        let plural = |number: usize| if number == 1 { "argument" } else { "arguments" };
        let wish = match self.command.positionals {
            Positionals::Exactly(wanted) if count != wanted => {
                if wanted == 0 {
                    "accepts no arguments".to_owned()
                } else {
                    format!("requires {wanted} {}", plural(wanted))
                }
            }
            Positionals::AtLeast(least) if count < least => {
                format!("requires at least {least} {}", plural(least))
            }
            Positionals::AtMost(most) if count > most => format!("requires at most {most} {}", plural(most)),
            Positionals::Between(least, most) if !(least..=most).contains(&count) => {
                format!("requires at least {least} and at most {most} {}", plural(most))
            }
            _ => return Ok(()),
        };
        Err(Failure::Usage {
            message: format!("berth: 'berth {}' {wish}", self.command.name()),
            code: 1,
        })
    }

    /// Returns the command.
    pub(crate) fn command(&self) -> &'static Command {
        self.command
    }

    /// Returns whether the flag was given.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    /// Returns the value of a switch, or its default.
    pub(crate) fn switch(&self, name: &str) -> bool {
        match self.last(name) {
            Some(value) => value == "true",
            None => self.flag(name).is_some_and(|flag| flag.default == "true"),
        }
    }

    /// Returns the last value, or the default.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.last(name) {
            Some(value) => value,
            None => self.flag(name).map_or("", |flag| flag.default),
        }
    }

    /// Returns all values in the order given.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        debug_assert!(self.flag(name).is_some(), "--{name} is in no table");
        let values = self.given.iter().filter(|(given, _)| *given == name);
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the last value as a number, 0 if it was not given; the table's check has made sure that it is one.
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.number_if_set(name).unwrap_or_default()
    }

    /// Returns the last value as a number if it was given.
    pub(crate) fn number_if_set(&self, name: &str) -> Option<i64> {
        self.last(name)
            .and_then(|value| crate::check::parse_integer(value).ok())
    }

    fn last(&self, name: &str) -> Option<&str> {
        debug_assert!(self.flag(name).is_some(), "--{name} is in no table");
        let given = self.given.iter().rev().find(|(given, _)| *given == name);
        given.map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &str) -> Option<&'static Flag> {
        self.command.all_flags().find(|flag| flag.name == name)
    }
}

/// Reads a truth value as Go's `strconv.ParseBool` does.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
