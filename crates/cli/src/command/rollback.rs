//! `rollback`: takes a container's files back to an earlier commit. Berth's own.

use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "rollback"],
    aliases: &[&["rollback"]],
    usage: "CONTAINER [STEPS]",
    about: "Take a container's files back to an earlier commit, or to when it was created",
    flags: &[],
    positionals: Positionals::Between(1, 2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let (container, steps) = match arguments.positionals.as_slice() {
        [container] => (container, "1"),
        [container, steps] => (container, steps.as_str()),
        _ => return Ok(1),
    };
    let steps = steps
        .parse()
        .map_err(|_not_a_number| Failure::message(format!("invalid number of steps: {steps}")))?;
    let client = session.connect().await?;
    output::out_line(&client.rollback_container(container, steps).await?)?;
    Ok(0)
}
