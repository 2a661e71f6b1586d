//! `top`: shows the processes of a container.

use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::format::table;
use crate::format::text::harmless;
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "top"],
    aliases: &[&["top"]],
    usage: "CONTAINER [ps OPTIONS]",
    about: "Show the running processes of a container",
    flags: &[],
    positionals: Positionals::AtLeast(1),
    order: Order::FlagsFirst,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some((id, options)) = arguments.positionals.split_first() else {
        return Ok(1);
    };
    let client = session.connect().await?;
    let reply = client.top_container(id, &options.join(" ")).await?;
    let rows = std::iter::once(&reply.titles).chain(&reply.processes);
    let lines: Vec<String> = rows
        .map(|row| {
            let cells: Vec<String> = row.iter().map(|cell| harmless(cell).replace('\t', " ")).collect();
            cells.join("\t")
        })
        .collect();
    output::out(&table::align(&lines.join("\n")))?;
    Ok(0)
}
