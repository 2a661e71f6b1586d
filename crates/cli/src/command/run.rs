//! `run`: create → attach → wait → start, then copy streams and return the container's exit code.
//!
//! Attach and wait come before start, so that no byte of output and no early exit is lost. A Berth does all four in one call, if
//! there is no terminal ([`run_directly`]).

use std::cell::RefCell;

use api_types::session::RunRequest;
use client::{AttachOptions, Client, ClientError, RemoveOptions, Wait, WaitCondition};

use crate::attachment::{Attachment, End, Target};
use crate::command::create::{CidFile, CreateFailure, check_image, create_container};
use crate::create::{self, Request};
use crate::detach_keys::DetachKeys;
use crate::direct::{Begun, Direct, Forwarded};
use crate::failure::{DAEMON_ERROR, Failure, describe};
use crate::flag::{Command, Flag, Order, Positionals, State, one, switch};
use crate::help;
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;
use crate::terminal;

/// The flags that `create` has not.
const RUN_FLAGS: &[Flag] = &[
    switch("detach", "Run the container in the background and print its id").short('d'),
    one(
        "detach-keys",
        "string",
        "Keys that leave the container without ending it",
    ),
    switch("sig-proxy", "Pass signals on to the process").default("true"),
];

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "run"],
    aliases: &[&["run"]],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a container from an image and run it",
    flags: &[create::FLAGS, RUN_FLAGS],
    positionals: Positionals::AtLeast(0),
    order: Order::FlagsFirst,
    state: State::Direct(run_directly, |arguments, session| {
        Box::pin(run(arguments, session))
    }),
};

/// Runs by one call of Berth's own, if the daemon has it and nothing stands against it.
fn run_directly(arguments: &Arguments, session: &Session<'_>) -> Result<Option<u8>, Failure> {
    let (Some(socket), Some(wanted)) = (session.direct_socket(), direct_request(arguments)) else {
        return Ok(None);
    };
    let Ok(cid_file) = CidFile::of(arguments) else {
        return Ok(None);
    };
    // Caught before there is a container, so that none is lost.
    let signals = if !wanted.detach && arguments.switch("sig-proxy") {
        Some(Forwarded::catch()?)
    } else {
        None
    };
    let id = RefCell::new(String::new());
    let forward = |name: &str| {
        let id = id.borrow().clone();
        // A container that has just ended cannot take it any more.
        let _ended = session.aside(async |client| client.kill_container(&id, name).await);
    };
    let mut direct = match client::Session::run(socket, &wanted) {
        Ok(asked) => Direct::new(asked, wanted.stdin, signals, &forward),
        // The other way starts a daemon, or says why there is none.
        Err(_) => return Ok(not_here(cid_file)),
    };
    let (warnings, refused) = match direct.begin_run()? {
        Begun::Other => return Ok(not_here(cid_file)),
        Begun::Started(started) => {
            id.replace(started.id);
            (started.warnings, None)
        }
        Begun::Refused(refused) => {
            id.replace(refused.id);
            (refused.warnings, Some(refused.message))
        }
    };
    for warning in &warnings {
        output::err_line(&format!("WARNING: {warning}"));
    }
    if let Some(file) = cid_file {
        file.write(&id.borrow())?;
    }
    if let Some(message) = refused {
        return Err(refusal(
            &format!("Error response from daemon: {message}"),
            &message,
        ));
    }
    if wanted.detach {
        return output::out_line(&id.borrow()).map(|()| Some(0));
    }
    direct.copy()
}

/// Returns the request for one call; `None` for what only Docker's way can do or has the words for.
fn direct_request(arguments: &Arguments) -> Option<RunRequest> {
    // Pulled before it is created.
    if check_image(arguments).is_err() || arguments.text("pull") == "always" {
        return None;
    }
    let detach = arguments.switch("detach");
    let keys = arguments.text("detach-keys");
    if DetachKeys::parse(keys).is_err() || (detach && arguments.is_set("attach")) {
        return None;
    }
    let mut request = Request::build(arguments).ok()?;
    if detach {
        request.detach();
    }
    let config = &request.body.config;
    let (stdin, stdout, stderr) = (config.attach_stdin, config.attach_stdout, config.attach_stderr);
    if !detach && (config.tty || !(stdin || stdout || stderr)) {
        return None;
    }
    Some(RunRequest {
        name: request.name,
        platform: request.platform,
        container: request.body,
        detach,
        stdin,
        stdout,
        stderr,
        detach_keys: keys.to_owned(),
    })
}

/// Leaves the command to Docker's way.
fn not_here(cid_file: Option<CidFile>) -> Option<u8> {
    if let Some(file) = cid_file {
        file.discard();
    }
    None
}

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    check_image(arguments)?;
    let mut request = Request::build(arguments)?;
    let detach = arguments.switch("detach");
    if detach {
        if arguments.is_set("attach") {
            return Err(Failure::invalid(
                "berth: conflicting options: cannot specify both --attach and --detach",
            ));
        }
        request.detach();
    }
    let keys = DetachKeys::parse(arguments.text("detach-keys"))
        .map_err(|error| Failure::invalid(format!("berth: {error}")))?;
    let tty = request.body.config.tty;
    if tty && request.body.config.attach_stdin && !detach && !terminal::stdin_is_terminal() {
        return Err(Failure::message("the input device is not a TTY"));
    }
    let client = session.connect().await.map_err(as_daemon_error)?;
    // While the daemon creates the container, the connections for attach and wait come about.
    let connections = if detach { 0 } else { 2 };
    let (created, ()) = tokio::join!(
        create_container(session, &client, arguments, &request),
        client.prepare(connections)
    );
    let reply = created.map_err(|failure| match failure {
        CreateFailure::Call(error) => refused(&error),
        CreateFailure::Other(failure) => failure,
    })?;
    if detach {
        client
            .start_container(&reply.id, "")
            .await
            .map_err(|error| refused(&error))?;
        output::out_line(&reply.id)?;
        return Ok(0);
    }
    let container = Started {
        client: &client,
        id: &reply.id,
        request: &request,
        signal_proxy: arguments.switch("sig-proxy"),
        detach_keys: arguments.text("detach-keys"),
    };
    container.run(keys).await
}

/// A container that is being started in the foreground.
struct Started<'a> {
    client: &'a Client,
    id: &'a str,
    request: &'a Request,
    signal_proxy: bool,
    detach_keys: &'a str,
}

impl Started<'_> {
    async fn run(&self, keys: DetachKeys) -> Result<u8, Failure> {
        let config = &self.request.body.config;
        let auto_remove = self.request.body.host_config.auto_remove;
        let attached = config.attach_stdin || config.attach_stdout || config.attach_stderr;
        let attachment = Attachment {
            client: self.client,
            target: Target::Container(self.id),
            tty: config.tty,
            stdin: config.attach_stdin,
            output: config.attach_stdout || config.attach_stderr,
            signal_proxy: self.signal_proxy,
            keys,
        };
        let options = AttachOptions {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            stream: true,
            logs: false,
            detach_keys: self.detach_keys.to_owned(),
        };
        let attach = async {
            if attached {
                self.client.attach_container(self.id, &options).await.map(Some)
            } else {
                Ok(None)
            }
        };
        let condition = if auto_remove {
            WaitCondition::Removed
        } else {
            WaitCondition::NextExit
        };
        // Neither needs the other's answer.
        let (hijacked, wait) = tokio::join!(attach, self.client.wait_container(self.id, condition));
        let (hijacked, mut wait) = match (hijacked, wait) {
            (Ok(hijacked), Ok(wait)) => (hijacked, wait),
            (Err(error), _) | (_, Err(error)) => {
                self.discard().await;
                return Err(refused(&error));
            }
        };
        let prepared = attachment.prepare()?;
        if let Err(error) = self.client.start_container(self.id, self.detach_keys).await {
            drop(prepared);
            if auto_remove {
                // The daemon removes it; when this returns the name is free again.
                let _told_by_start = wait.result().await;
            }
            return Err(refused(&error));
        }
        let end = match hijacked {
            Some(hijacked) => attachment.copy(hijacked, prepared).await?,
            None => {
                output::out_line(self.id)?;
                End::Closed
            }
        };
        match end {
            End::Closed => exit_code(&mut wait).await,
            End::Detached => Ok(0),
            End::Signal(number) => {
                Ok(u8::try_from(number).map_or(DAEMON_ERROR, |number| number.saturating_add(128)))
            }
        }
    }

    /// Removes a container that `--rm` would have removed, had it started.
    async fn discard(&self) {
        if self.request.body.host_config.auto_remove {
            let options = RemoveOptions {
                force: true,
                volumes: true,
                link: false,
            };
            let _told_by_the_first_error = self.client.remove_container(self.id, options).await;
        }
    }
}

/// Returns the exit code that the wait brings.
pub(crate) async fn exit_code(wait: &mut Wait) -> Result<u8, Failure> {
    match wait.result().await {
        Ok(Some(reply)) => {
            if let Some(error) = reply.error.filter(|error| !error.message.is_empty()) {
                output::err_line(&format!("berth: error waiting for container: {}", error.message));
                return Ok(DAEMON_ERROR);
            }
            // An exit code is a byte; the low one is what the shell would see of anything else.
            Ok(u8::try_from(reply.status_code & 0xff).unwrap_or(DAEMON_ERROR))
        }
        Ok(None) => {
            output::err_line("berth: the daemon went away; the container goes on without it");
            Ok(DAEMON_ERROR)
        }
        Err(error) => {
            output::err_line(&format!(
                "berth: error waiting for container: {}",
                describe(&error)
            ));
            Ok(DAEMON_ERROR)
        }
    }
}

/// Returns the failure of a call of `run`, with docker's exit code for it.
fn refused(error: &ClientError) -> Failure {
    refusal(&describe(error), &error.to_string())
}

/// Returns the failure that is shown as `text`, with the exit code that the daemon's `message` stands for.
fn refusal(text: &str, message: &str) -> Failure {
    Failure::Message {
        message: format!("berth: {text}\n\n{}", help::pointer(&COMMAND)),
        code: code_of(message),
    }
}

fn as_daemon_error(failure: Failure) -> Failure {
    match failure {
        Failure::Call(error) => Failure::invalid(format!("berth: {}", describe(&error))),
        failure => failure,
    }
}

/// Returns 127 for a command that is not there, 126 for one that cannot be run, else 125, by the text of the daemon's
/// error, which is all that the API carries.
fn code_of(message: &str) -> u8 {
    let has = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if has(&["executable file not found", "no such file or directory"]) {
        127
    } else if has(&["permission denied", "is a directory"]) {
        126
    } else {
        DAEMON_ERROR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_of_start_errors() {
        for (message, code) in [
            ("exec: \"x\": executable file not found in $PATH: unknown", 127),
            ("exec: \"/x\": stat /x: no such file or directory", 127),
            ("exec: \"/etc\": permission denied", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("Conflict. The container name \"/x\" is already in use", 125),
        ] {
            assert_eq!(code_of(message), code, "{message}");
        }
    }
}
