//! `network rm`.

use base::error::{Kind, Kinded};
use client::ClientError;

use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State, switch};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["network", "rm"],
    aliases: &[&["network", "remove"]],
    usage: "NETWORK [NETWORK...]",
    about: "Remove networks that no container uses",
    flags: &[&[switch("force", "A network that is not there is no error").short('f')]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(remove(arguments, session))),
};

/// One after the other: a container that goes with the first network may be what keeps the next.
async fn remove(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let mut failed = false;
    for name in &arguments.positionals {
        if name.trim().is_empty() {
            output::err_line("invalid network name or ID: value is empty");
            failed = true;
            continue;
        }
        match client.remove_network(name).await {
            Ok(()) => output::out_line(name)?,
            Err(error) if arguments.switch("force") && is_not_found(&error) => {}
            Err(error) => {
                output::err_line(&describe(&error));
                failed = true;
            }
        }
    }
    Ok(u8::from(failed))
}

fn is_not_found(error: &ClientError) -> bool {
    error.status().is_some() && error.kind() == Kind::NotFound
}
