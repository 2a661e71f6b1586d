//! `diff`: shows what changed in a container's files.

use api_types::container::Change;

use crate::command::FORMAT;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::format::list::{Layout, Row};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "diff"],
    aliases: &[&["diff"]],
    usage: "CONTAINER",
    about: "Show what changed in a container's files",
    // Docker's has no flag; a format costs nothing.
    flags: &[&[FORMAT]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

const LAYOUT: Layout<'static> = Layout {
    headings: &[("Type", "CHANGE TYPE"), ("Path", "PATH")],
    columns: &["Type", "Path"],
    quiet: "Path",
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(container) = arguments.positionals.first() else {
        return Ok(1);
    };
    if container.trim().is_empty() {
        return Err(Failure::message("Container name cannot be empty"));
    }
    let client = session.connect().await?;
    let changes = client.container_changes(container).await?.unwrap_or_default();
    let format = arguments.text("format");
    if format.is_empty() {
        let lines: String = changes
            .iter()
            .map(|change| format!("{} {}\n", letter(change), change.path))
            .collect();
        output::out(&lines)?;
        return Ok(0);
    }
    let rows: Vec<Row> = changes
        .iter()
        .map(|change| Row {
            fields: vec![("Type", letter(change).to_owned()), ("Path", change.path.clone())],
            ..Row::default()
        })
        .collect();
    LAYOUT.print(format, false, &rows)?;
    Ok(0)
}

fn letter(change: &Change) -> &'static str {
    match change.kind {
        0 => "C",
        1 => "A",
        2 => "D",
        _ => "?",
    }
}
