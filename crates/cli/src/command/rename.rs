//! `rename`: gives a container another name.

use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "rename"],
    aliases: &[&["rename"]],
    usage: "CONTAINER NEW_NAME",
    about: "Rename a container",
    flags: &[],
    positionals: Positionals::Exactly(2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let [old, new] = arguments.positionals.as_slice() else {
        return Ok(1);
    };
    if old.trim().is_empty() || new.trim().is_empty() {
        return Err(Failure::message("Error: Neither old nor new names may be empty"));
    }
    let client = session.connect().await?;
    client.rename_container(old, new).await?;
    Ok(0)
}
