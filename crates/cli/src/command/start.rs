//! `start`: starts containers that were created or have stopped.

use api_types::inspect::ContainerInspect;
use client::{AttachOptions, Client, WaitCondition};

use crate::attachment::{Attachment, End, Target};
use crate::command::run::exit_code;
use crate::detach_keys::DetachKeys;
use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;
use crate::terminal;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "start"],
    aliases: &[&["start"]],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start stopped containers",
    flags: &[&[
        switch("attach", "Connect STDOUT and STDERR and pass signals on").short('a'),
        one("checkpoint", "string", "Restore from this checkpoint").not_yet("there are no checkpoints"),
        one("checkpoint-dir", "string", "Directory of checkpoints").not_yet("there are no checkpoints"),
        one(
            "detach-keys",
            "string",
            "Keys that leave the container without ending it",
        ),
        switch("interactive", "Connect STDIN").short('i'),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let (attach, interactive) = (arguments.switch("attach"), arguments.switch("interactive"));
    let keys = DetachKeys::parse(arguments.text("detach-keys")).map_err(Failure::message)?;
    if attach || interactive {
        let [id] = arguments.positionals.as_slice() else {
            return Err(Failure::message(
                "you cannot start and attach multiple containers at once",
            ));
        };
        let client = session.connect().await?;
        return attached(&client, id, arguments, interactive, keys).await;
    }
    let client = session.connect().await?;
    let mut failed = Vec::new();
    for id in &arguments.positionals {
        match client.start_container(id, "").await {
            Ok(()) => output::out_line(id)?,
            Err(error) => {
                output::err_line(&describe(&error));
                failed.push(id.as_str());
            }
        }
    }
    if failed.is_empty() {
        Ok(0)
    } else {
        Err(Failure::message(format!(
            "Error: failed to start containers: {}",
            failed.join(", ")
        )))
    }
}

async fn attached(
    client: &Client,
    id: &str,
    arguments: &Arguments,
    interactive: bool,
    keys: DetachKeys,
) -> Result<u8, Failure> {
    let document = client.inspect_container(id, false).await?;
    let container: ContainerInspect = serde_json::from_str(document.get())
        .map_err(|error| Failure::message(format!("decode the daemon's answer: {error}")))?;
    // From here on by id: a container with --rm may be gone and its name be another's.
    let id = container.id.as_str();
    let tty = container.config.tty;
    let stdin = interactive && container.config.open_stdin;
    if tty && stdin && !terminal::stdin_is_terminal() {
        return Err(Failure::message("the input device is not a TTY"));
    }
    let options = AttachOptions {
        stdin,
        stdout: container.config.attach_stdout || arguments.switch("attach") || interactive,
        stderr: container.config.attach_stderr || arguments.switch("attach") || interactive,
        stream: true,
        logs: false,
        detach_keys: arguments.text("detach-keys").to_owned(),
    };
    let condition = if container.host_config.auto_remove {
        WaitCondition::Removed
    } else {
        WaitCondition::NextExit
    };
    let (hijacked, wait) = tokio::join!(
        client.attach_container(id, &options),
        client.wait_container(id, condition)
    );
    let (hijacked, mut wait) = (hijacked?, wait?);
    let attachment = Attachment {
        client,
        target: Target::Container(id),
        tty,
        stdin,
        output: true,
        signal_proxy: !tty,
        keys,
    };
    let prepared = attachment.prepare()?;
    client.start_container(id, arguments.text("detach-keys")).await?;
    match attachment.copy(hijacked, prepared).await? {
        End::Closed => exit_code(&mut wait).await,
        End::Detached => Ok(0),
        End::Signal(number) => Ok(u8::try_from(number).map_or(1, |number| number.saturating_add(128))),
    }
}
