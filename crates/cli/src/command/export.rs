//! `export`: writes a container's files to a tar archive.

use std::path::Path;

use crate::attachment;
use crate::command::save;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one};
use crate::parse::Arguments;
use crate::session::Session;
use crate::terminal;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "export"],
    aliases: &[&["export"]],
    usage: "[OPTIONS] CONTAINER",
    about: "Export a container's files as a tar archive, on STDOUT unless a file is named",
    flags: &[&[one("output", "string", "Write to that file, not to STDOUT").short('o')]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(container) = arguments.positionals.first() else {
        return Ok(1);
    };
    let output = arguments.text("output");
    if output.is_empty() && terminal::stdout_is_terminal() {
        return Err(Failure::message(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let client = session.connect().await?;
    let archive = client.export_container(container).await?;
    if output.is_empty() {
        attachment::show(archive, false, true).await?;
    } else {
        save::write(archive, Path::new(output)).await?;
    }
    Ok(0)
}
