//! `rm`: removes containers.

use base::error::{Kind, Kinded};
use client::{ClientError, RemoveOptions};

use crate::command::for_each_forgiving;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, switch};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "rm"],
    aliases: &[&["container", "remove"], &["rm"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove containers",
    flags: &[&[
        switch("force", "Kill a running container first").short('f'),
        switch("link", "Remove a link")
            .short('l')
            .not_yet("there are no links"),
        switch("volumes", "Remove the container's anonymous volumes too").short('v'),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let options = RemoveOptions {
        force: arguments.switch("force"),
        volumes: arguments.switch("volumes"),
        link: false,
    };
    for_each_forgiving(
        &arguments.positionals,
        |id| client.remove_container(id.trim_start_matches('/'), options),
        // With force, a container that is not there is what was wanted.
        |error| options.force && is_missing(error),
    )
    .await
}

fn is_missing(error: &ClientError) -> bool {
    error.kind() == Kind::NotFound && error.status().is_some()
}
