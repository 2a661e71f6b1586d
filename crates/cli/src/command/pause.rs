//! `pause` and `unpause`: freezes containers and lets them go on.

use crate::command::for_each;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry of `pause`.
pub(crate) static PAUSE: Command = Command {
    path: &["container", "pause"],
    aliases: &[&["pause"]],
    usage: "CONTAINER [CONTAINER...]",
    about: "Pause all processes of containers",
    flags: &[],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(pause(arguments, session))),
};

/// The table entry of `unpause`.
pub(crate) static UNPAUSE: Command = Command {
    path: &["container", "unpause"],
    aliases: &[&["unpause"]],
    usage: "CONTAINER [CONTAINER...]",
    about: "Let paused containers go on",
    flags: &[],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(unpause(arguments, session))),
};

async fn pause(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    for_each(&arguments.positionals, |id| client.pause_container(id)).await
}

async fn unpause(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    for_each(&arguments.positionals, |id| client.unpause_container(id)).await
}
