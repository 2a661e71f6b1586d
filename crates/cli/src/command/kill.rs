//! `kill`: sends a signal to containers.

use crate::command::for_each;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "kill"],
    aliases: &[&["kill"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill running containers",
    flags: &[&[one("signal", "string", "Signal to send; KILL if none is named").short('s')]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let signal = arguments.text("signal");
    for_each(&arguments.positionals, |id| client.kill_container(id, signal)).await
}
