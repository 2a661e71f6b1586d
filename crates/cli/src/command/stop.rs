//! `stop`: asks containers to end, then kills them.

use crate::command::for_each;
use crate::failure::Failure;
use crate::flag::{Command, Flag, Order, Positionals, State, one};
use crate::parse::Arguments;
use crate::session::Session;

/// The flags of `stop` and `restart`.
pub(crate) const FLAGS: &[Flag] = &[
    one("signal", "string", "Signal to send").short('s'),
    one("timeout", "int", "Seconds to wait before the kill")
        .short('t')
        .check(crate::check::integer),
    one("time", "int", "")
        .alias_of("timeout")
        .check(crate::check::integer),
];

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "stop"],
    aliases: &[&["stop"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop running containers",
    flags: &[FLAGS],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let (signal, timeout) = (arguments.text("signal"), arguments.number_if_set("timeout"));
    for_each(&arguments.positionals, |id| {
        client.stop_container(id, signal, timeout)
    })
    .await
}
