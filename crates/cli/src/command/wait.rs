//! `wait`: waits until containers have stopped and prints their exit codes.

use client::WaitCondition;

use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "wait"],
    aliases: &[&["wait"]],
    usage: "CONTAINER [CONTAINER...]",
    about: "Wait until containers stop, then print their exit codes",
    flags: &[],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let mut code = 0;
    for id in &arguments.positionals {
        let waited = match client.wait_container(id, WaitCondition::NotRunning).await {
            Ok(mut wait) => wait.result().await,
            Err(error) => Err(error),
        };
        match waited {
            Ok(Some(reply)) => match reply.error.filter(|error| !error.message.is_empty()) {
                None => output::out_line(&reply.status_code.to_string())?,
                Some(error) => {
                    output::err_line(&error.message);
                    code = 1;
                }
            },
            Ok(None) => {
                output::err_line("the daemon went away");
                code = 1;
            }
            Err(error) => {
                output::err_line(&describe(&error));
                code = 1;
            }
        }
    }
    Ok(code)
}
