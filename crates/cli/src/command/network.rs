//! `network …`: one file per command; `network inspect` and `network prune` are with their kin.

mod audit;
mod connect;
mod create;
mod disconnect;
mod list;
mod move_address;
mod remove;

pub(crate) use audit::COMMAND as AUDIT;
pub(crate) use connect::COMMAND as CONNECT;
pub(crate) use create::COMMAND as CREATE;
pub(crate) use disconnect::COMMAND as DISCONNECT;
pub(crate) use list::COMMAND as LIST;
pub(crate) use move_address::{MOVE, RELEASE};
pub(crate) use remove::COMMAND as REMOVE;

/// Splits values that may themselves be lists: `--subnet a,b` is `--subnet a --subnet b`.
fn split(values: Vec<&str>) -> Vec<&str> {
    values.into_iter().flat_map(|value| value.split(',')).collect()
}

/// Reads the words of a command line, which must not ask for help.
#[cfg(test)]
fn parsed(
    command: &'static crate::flag::Command,
    text: &str,
) -> Result<crate::parse::Arguments, crate::failure::Failure> {
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    match crate::parse::parse(command, &words)? {
        crate::parse::Parsed::Run(arguments) => Ok(arguments),
        _ => panic!("help"),
    }
}
