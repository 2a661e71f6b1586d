//! `restart`: stops and starts containers.

use crate::command::{for_each, stop};
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "restart"],
    aliases: &[&["restart"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Restart containers",
    flags: &[stop::FLAGS],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let (signal, timeout) = (arguments.text("signal"), arguments.number_if_set("timeout"));
    for_each(&arguments.positionals, |id| {
        client.restart_container(id, signal, timeout)
    })
    .await
}
