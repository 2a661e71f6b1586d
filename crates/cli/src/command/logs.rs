//! `logs`: shows what a container has written.

use api_types::inspect::ContainerInspect;
use base::clock::Timestamp;
use client::LogOptions;

use crate::attachment;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::format::time::parse_moment;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "logs"],
    aliases: &[&["logs"]],
    usage: "[OPTIONS] CONTAINER",
    about: "Show the log of a container",
    flags: &[&[
        switch("details", "Show what the log driver keeps besides"),
        switch("follow", "Wait for more").short('f'),
        one(
            "since",
            "string",
            "Only from that time (2013-01-02T13:23:37Z) or so long ago (42m)",
        ),
        one("tail", "string", "Only so many lines from the end")
            .short('n')
            .default("all"),
        switch(
            "name",
            "If there is no such container, show what the last one of this name had written when it was removed",
        ),
        switch("timestamps", "Show times").short('t'),
        one(
            "until",
            "string",
            "Only before that time (2013-01-02T13:23:37Z) or so long ago (42m)",
        ),
    ]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(id) = arguments.positionals.first() else {
        return Ok(1);
    };
    let now = Timestamp::now();
    let moment = |flag: &str| {
        parse_moment(arguments.text(flag), now)
            .map_err(|error| Failure::message(format!("invalid value for \"{flag}\": {error}")))
    };
    let options = LogOptions {
        follow: arguments.switch("follow"),
        stdout: true,
        stderr: true,
        since: moment("since")?,
        until: moment("until")?,
        tail: arguments.text("tail").to_owned(),
        timestamps: arguments.switch("timestamps"),
        details: arguments.switch("details"),
        removed: arguments.switch("name"),
    };
    let client = session.connect().await?;
    let (multiplexed, reader) = client.container_logs(id, &options).await?;
    let multiplexed = match multiplexed {
        Some(multiplexed) => multiplexed,
        // A daemon that does not say sends frames unless the container has a terminal.
        None => {
            let document = client.inspect_container(id, false).await?;
            let container = serde_json::from_str::<ContainerInspect>(document.get());
            !container.is_ok_and(|container| container.config.tty)
        }
    };
    attachment::show(reader, multiplexed, true).await?;
    Ok(0)
}
