//! The commands, one file each, and what several of them do in the same way.

pub(crate) mod create;
pub(crate) mod run;

mod attach;
mod commit;
mod cp;
mod dial_stdio;
mod diff;
mod events;
mod exec;
mod export;
mod history;
mod image;
mod image_copy;
mod info;
mod inspect;
mod kill;
mod load;
mod login;
mod logout;
mod logs;
mod network;
mod pack;
mod pause;
mod port;
mod prune;
mod ps;
mod pull;
mod push;
mod registry;
mod rename;
mod restart;
mod rm;
mod rollback;
mod save;
mod search;
mod start;
mod stats;
mod stop;
mod system_check;
mod top;
mod update;
mod version;
mod volume;
mod wait;

pub(crate) mod reference;
pub(crate) mod table;

use std::future::Future;

use client::{ClientError, Filters};
use futures_util::StreamExt;

use crate::failure::{DAEMON_ERROR, Failure, describe};
use crate::flag::{Flag, many, one};
use crate::help;
use crate::output;
use crate::parse::Arguments;

/// How many calls of one command run at once.
const AT_ONCE: usize = 50;

/// The flag of all lists.
const FORMAT: Flag = one(
    "format",
    "string",
    "Format of the output: 'table', 'table TEMPLATE', 'json' or 'TEMPLATE' (a Go template)",
);

/// The flag of lists and prunes.
const FILTER: Flag =
    many("filter", "filter", "Only those for which the condition holds").check(crate::check::filter);

/// Calls for each name, many at once, and prints the names for which it worked in the order given.
async fn for_each<'a, F>(names: &'a [String], call: impl Fn(&'a str) -> F) -> Result<u8, Failure>
where
    F: Future<Output = Result<(), ClientError>>,
{
    for_each_forgiving(names, call, |_| false).await
}

/// Does as [`for_each`]; errors that `forgive` accepts are shown and otherwise do not count.
async fn for_each_forgiving<'a, F>(
    names: &'a [String],
    call: impl Fn(&'a str) -> F,
    forgive: impl Fn(&ClientError) -> bool,
) -> Result<u8, Failure>
where
    F: Future<Output = Result<(), ClientError>>,
{
    let mut failed = false;
    let calls = futures_util::stream::iter(names).map(|name| {
        let call = if name.trim().is_empty() {
            None
        } else {
            Some(call(name))
        };
        async move {
            match call {
                Some(call) => (name, Some(call.await)),
                None => (name, None),
            }
        }
    });
    let mut calls = std::pin::pin!(calls.buffered(AT_ONCE));
    while let Some((name, outcome)) = calls.next().await {
        match outcome {
            Some(Ok(())) => output::out_line(name)?,
            Some(Err(error)) => {
                output::err_line(&describe(&error));
                failed |= !forgive(&error);
            }
            None => {
                output::err_line("invalid container name or ID: value is empty");
                failed = true;
            }
        }
    }
    Ok(u8::from(failed))
}

/// Returns the filters of `--filter`.
fn filters(arguments: &Arguments) -> Filters {
    let mut filters = Filters::default();
    for filter in arguments.list("filter") {
        if let Some((key, value)) = filter.split_once('=') {
            filters.add(key.trim().to_ascii_lowercase().as_str(), value.trim());
        }
    }
    filters
}

/// Asks before something is lost; true is a yes.
fn confirmed(warning: &str) -> Result<bool, Failure> {
    output::err(&format!("{warning}\nAre you sure you want to continue? [y/N] "));
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::io("read the answer", &error))?;
    Ok(answer.trim().eq_ignore_ascii_case("y"))
}

/// Shows the help about a command, as `berth help COMMAND`.
pub(crate) fn help_about(words: &[String]) -> u8 {
    if words.is_empty() {
        return crate::shown(help::program());
    }
    match table::find(words) {
        Some((command, _)) => crate::shown(help::command(command)),
        None => unknown(words),
    }
}

/// Says that there is no such command.
pub(crate) fn unknown(words: &[String]) -> u8 {
    let known = words.len() > 1 && table::find(&words[..1]).is_some();
    let (shown, group) = if known {
        (words[..2].join(" "), format!("{} ", words[0]))
    } else {
        (words.first().cloned().unwrap_or_default(), String::new())
    };
    output::err_line(&format!(
        "berth: unknown command: berth {shown}\n\nRun 'berth {group}--help' for more information"
    ));
    if known { DAEMON_ERROR } else { 1 }
}
