//! `attach`: connects this terminal to a running container.

use api_types::inspect::ContainerInspect;
use client::{AttachOptions, WaitCondition};

use crate::attachment::{Attachment, End, Target};
use crate::command::run::exit_code;
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::parse::Arguments;
use crate::session::Session;
use crate::terminal;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "attach"],
    aliases: &[&["attach"]],
    usage: "[OPTIONS] CONTAINER",
    about: "Connect standard input, output and error to a running container",
    flags: &[&[
        one(
            "detach-keys",
            "string",
            "Keys that leave the container without ending it",
        ),
        switch("no-stdin", "Leave STDIN alone"),
        switch("sig-proxy", "Pass signals on to the process").default("true"),
    ]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(id) = arguments.positionals.first() else {
        return Ok(1);
    };
    let keys = DetachKeys::parse(arguments.text("detach-keys")).map_err(Failure::message)?;
    let client = session.connect().await?;
    let document = client.inspect_container(id, false).await?;
    let container: ContainerInspect = serde_json::from_str(document.get())
        .map_err(|error| Failure::message(format!("decode the daemon's answer: {error}")))?;
    if !container.state.running {
        return Err(Failure::message(
            "You cannot attach to a stopped container, start it first",
        ));
    }
    if container.state.paused {
        return Err(Failure::message(
            "You cannot attach to a paused container, unpause it first",
        ));
    }
    if container.state.restarting {
        return Err(Failure::message(
            "You cannot attach to a restarting container, wait until it is running",
        ));
    }
    let tty = container.config.tty;
    let stdin = !arguments.switch("no-stdin") && container.config.open_stdin;
    if tty && stdin && !terminal::stdin_is_terminal() {
        return Err(Failure::message("the input device is not a TTY"));
    }
    let mut wait = client.wait_container(id, WaitCondition::NotRunning).await?;
    let options = AttachOptions {
        stdin,
        stdout: true,
        stderr: true,
        stream: true,
        logs: false,
        detach_keys: arguments.text("detach-keys").to_owned(),
    };
    let attachment = Attachment {
        client: &client,
        target: Target::Container(id),
        tty,
        stdin,
        output: true,
        signal_proxy: arguments.switch("sig-proxy") && !tty,
        keys,
    };
    let prepared = attachment.prepare()?;
    let hijacked = client.attach_container(id, &options).await?;
    match attachment.copy(hijacked, prepared).await? {
        End::Closed => exit_code(&mut wait).await,
        End::Detached => Ok(0),
        End::Signal(number) => Ok(u8::try_from(number).map_or(1, |number| number.saturating_add(128))),
    }
}
