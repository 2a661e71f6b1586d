//! `exec`: runs a command in a running container.

use std::time::Duration;

use api_types::config::Words;
use api_types::exec::{ExecCreateRequest, ExecStartRequest};

use client::Client;

use crate::attachment::{Attachment, End, Target};
use crate::check;
use crate::create::{environment_file, from_environment};
use crate::detach_keys::DetachKeys;
use crate::direct::Direct;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, many, one, switch};
use crate::parse::Arguments;
use crate::session::Session;
use crate::terminal;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "exec"],
    aliases: &[&["exec"]],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Run a command in a running container",
    flags: &[&[
        switch("detach", "Run the command in the background").short('d'),
        one(
            "detach-keys",
            "string",
            "Keys that leave the command without ending it",
        ),
        many("env", "list", "Set environment variables")
            .short('e')
            .check(check::environment),
        many("env-file", "list", "Read environment variables from a file"),
        switch("interactive", "Keep STDIN open even if not attached").short('i'),
        switch("privileged", "Give all privileges to the command"),
        switch("tty", "Give the command a terminal").short('t'),
        one(
            "user",
            "string",
            "User name or id (format: <name|uid>[:<group|gid>])",
        )
        .short('u'),
        one("workdir", "string", "Working directory in the container").short('w'),
    ]],
    positionals: Positionals::AtLeast(2),
    order: Order::FlagsFirst,
    state: State::Direct(run_directly, |arguments, session| {
        Box::pin(run(arguments, session))
    }),
};

/// How often a session that has closed its streams is looked at.
const LOOKS: u32 = 40;
/// The time between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// Executes by one call of Berth's own, if the daemon has it.
fn run_directly(arguments: &Arguments, session: &Session<'_>) -> Result<Option<u8>, Failure> {
    let (Some(socket), Some((container, command))) =
        (session.direct_socket(), arguments.positionals.split_first())
    else {
        return Ok(None);
    };
    let is_plain = !arguments.switch("tty") && !arguments.switch("detach");
    if !is_plain || DetachKeys::parse(arguments.text("detach-keys")).is_err() {
        return Ok(None);
    }
    let stdin = arguments.switch("interactive");
    let Ok(request) = request(arguments, command, None) else {
        return Ok(None);
    };
    match client::Session::exec(socket, container, &request) {
        Ok(asked) => Direct::new(asked, stdin, None, &|_| ()).copy(),
        Err(_) => Ok(None),
    }
}

fn request(
    arguments: &Arguments,
    command: &[String],
    console_size: Option<[u16; 2]>,
) -> Result<ExecCreateRequest, Failure> {
    let detach = arguments.switch("detach");
    Ok(ExecCreateRequest {
        user: arguments.text("user").to_owned(),
        privileged: arguments.switch("privileged"),
        tty: arguments.switch("tty"),
        console_size,
        attach_stdin: arguments.switch("interactive") && !detach,
        attach_stderr: !detach,
        attach_stdout: !detach,
        detach: false,
        detach_keys: arguments.text("detach-keys").to_owned(),
        env: environment(arguments)?,
        working_dir: arguments.text("workdir").to_owned(),
        cmd: Some(Words(command.to_vec())),
    })
}

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some((container, command)) = arguments.positionals.split_first() else {
        return Ok(1);
    };
    let (tty, stdin, detach) = (
        arguments.switch("tty"),
        arguments.switch("interactive"),
        arguments.switch("detach"),
    );
    let keys = DetachKeys::parse(arguments.text("detach-keys")).map_err(Failure::message)?;
    if tty && stdin && !detach && !terminal::stdin_is_terminal() {
        return Err(Failure::message("the input device is not a TTY"));
    }
    let console_size = match terminal::size() {
        (rows, columns) if tty && (rows, columns) != (0, 0) => Some([rows, columns]),
        _ => None,
    };
    let request = request(arguments, command, console_size)?;
    let client = session.connect().await?;
    // The connection for the streams comes about while the daemon prepares the session.
    let (created, ()) = tokio::join!(
        client.create_exec(container, &request),
        client.prepare(usize::from(!detach))
    );
    let id = created?;
    let start = ExecStartRequest {
        detach,
        tty,
        console_size,
    };
    if detach {
        client.start_exec_detached(&id, &start).await?;
        return Ok(0);
    }
    let attachment = Attachment {
        client: &client,
        target: Target::Exec(&id),
        tty,
        stdin,
        output: true,
        // The API cannot signal an exec; as with docker, only this program ends.
        signal_proxy: false,
        keys,
    };
    let prepared = attachment.prepare()?;
    let hijacked = client.start_exec(&id, &start).await?;
    match attachment.copy(hijacked, prepared).await? {
        End::Closed => exit_code(&client, &id).await,
        End::Detached => Ok(0),
        End::Signal(number) => Ok(u8::try_from(number).map_or(1, |number| number.saturating_add(128))),
    }
}

/// Returns the exit code of a session whose streams have ended.
async fn exit_code(client: &Client, id: &str) -> Result<u8, Failure> {
    let mut exec = client.inspect_exec(id).await?;
    // A process may close its streams a little before its end; the API has no wait for it. One that goes on without them
    // is left alone.
    for _ in 0..LOOKS {
        if !exec.running {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        exec = client.inspect_exec(id).await?;
    }
    Ok(exec
        .exit_code
        .map_or(0, |code| u8::try_from(code & 0xff).unwrap_or(1)))
}

fn environment(arguments: &Arguments) -> Result<Option<Vec<String>>, Failure> {
    let mut variables = Vec::new();
    for path in arguments.list("env-file") {
        variables.extend(environment_file(path)?);
    }
    for variable in arguments.list("env") {
        if variable.contains('=') {
            variables.push(variable.to_owned());
        } else {
            variables.push(from_environment(variable).unwrap_or_else(|| variable.to_owned()));
        }
    }
    Ok(if variables.is_empty() {
        None
    } else {
        Some(variables)
    })
}
