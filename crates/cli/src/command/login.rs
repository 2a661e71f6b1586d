//! `login`: checks credentials with their registry and keeps them.

use std::io::{self, BufRead, Read};

use api_types::registry::AuthConfig;
use client::Client;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::credentials::{CredentialStore, DOCKER_HUB, Kept, server_key};
use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::format::text::harmless;
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;
use crate::terminal;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["login"],
    aliases: &[],
    usage: "[OPTIONS] [SERVER]",
    about: "Log in to a registry; Docker Hub if none is named",
    flags: &[&[
        one("password", "string", "Password or access token").short('p'),
        switch("password-stdin", "Read the password or access token from STDIN"),
        one("username", "string", "User name").short('u'),
    ]],
    positionals: Positionals::AtMost(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

/// Longest password from standard input, in bytes.
const LONGEST_PASSWORD: u64 = 1 << 20;

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let (username, password) = given(arguments)?;
    let server = server(arguments);
    let mut store = CredentialStore::open(session)?;
    let client = session.connect().await?;
    let stored = match store.get(&server) {
        Ok(stored) => stored,
        Err(error) => {
            output::err_line(&format!("WARNING: {}", base::error::chain(&error)));
            None
        }
    };
    if username.is_empty()
        && password.is_empty()
        && let Some(auth) = &stored
        && (!auth.password.is_empty() || !auth.identitytoken.is_empty())
    {
        output::err(&format!(
            "Authenticating with existing credentials... [Username: {}]\n\n",
            harmless(&auth.username)
        ));
        output::err_line(
            " Info -> To login with a different account, run 'berth logout' followed by 'berth login'\n\n",
        );
        match client.login(auth).await {
            Ok(reply) => return finish(&mut store, auth.clone(), reply),
            Err(error) if error.status() == Some(401) => {
                output::err_line("Stored credentials invalid or expired");
            }
            Err(error) => output::err_line(&format!("Login did not succeed, error: {}", describe(&error))),
        }
    }
    let auth = ask(&server, username, password, stored)?;
    log_in(&client, &mut store, auth).await
}

/// Returns user name and password as the flags have them.
fn given(arguments: &Arguments) -> Result<(String, String), Failure> {
    let username = arguments.text("username").to_owned();
    if arguments.switch("password-stdin") {
        if arguments.is_set("password") {
            return Err(Failure::message(
                "conflicting options: cannot specify both --password and --password-stdin",
            ));
        }
        if username.is_empty() {
            return Err(Failure::message(
                "the --password-stdin option requires --username to be set",
            ));
        }
        let mut password = String::new();
        io::stdin()
            .take(LONGEST_PASSWORD)
            .read_to_string(&mut password)
            .map_err(|error| Failure::io("read the password", &error))?;
        let length = password.trim_end_matches(['\r', '\n']).len();
        password.truncate(length);
        return match password.is_empty() {
            true => Err(Failure::message("password is empty")),
            false => Ok((username, password)),
        };
    }
    if arguments.is_set("password") {
        output::err_line("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
        if arguments.text("password").is_empty() {
            return Err(Failure::message("password is empty"));
        }
    }
    Ok((username, arguments.text("password").to_owned()))
}

/// Returns the name under which credentials of the named registry are kept.
fn server(arguments: &Arguments) -> String {
    let server = arguments.positionals.first().map_or("", String::as_str);
    match server {
        DOCKER_HUB => DOCKER_HUB.to_owned(),
        server => server_key(crate::credentials::host_of(server)).to_owned(),
    }
}

/// Asks for what was not given, on a terminal.
fn ask(
    server: &str,
    username: String,
    password: String,
    stored: Option<AuthConfig>,
) -> Result<AuthConfig, Failure> {
    let mut auth = AuthConfig {
        username,
        password,
        serveraddress: server.to_owned(),
        ..AuthConfig::default()
    };
    if !auth.username.is_empty() && !auth.password.is_empty() {
        return Ok(auth);
    }
    if !terminal::stdin_is_terminal() {
        return Err(Failure::message(
            "Error: Cannot perform an interactive login from a non TTY device",
        ));
    }
    if auth.username.is_empty() {
        let default = stored.map(|auth| auth.username).unwrap_or_default();
        output::err(&match default.as_str() {
            "" => "Username: ".to_owned(),
            default => format!("Username ({}): ", harmless(default)),
        });
        auth.username = match line()? {
            empty if empty.is_empty() => default,
            username => username,
        };
        if auth.username.is_empty() {
            return Err(Failure::message("Error: Non-null Username Required"));
        }
    }
    if auth.password.is_empty() {
        auth.password = hidden_line("Password: ")?;
        if auth.password.is_empty() {
            return Err(Failure::message("Error: Password Required"));
        }
    }
    Ok(auth)
}

fn line() -> Result<String, Failure> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::io("read standard input", &error))?;
    Ok(line.trim().to_owned())
}

/// Asks for a line that the terminal does not show.
fn hidden_line(prompt: &str) -> Result<String, Failure> {
    let failed = |error: rustix::io::Errno| Failure::io("set up the terminal", &io::Error::from(error));
    output::err(prompt);
    let before = tcgetattr(rustix::stdio::stdin()).map_err(failed)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, &hidden).map_err(failed)?;
    let read = line();
    tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before).map_err(failed)?;
    output::err("\n");
    read
}

async fn log_in(client: &Client, store: &mut CredentialStore, auth: AuthConfig) -> Result<u8, Failure> {
    let reply = client.login(&auth).await?;
    finish(store, auth, reply)
}

fn finish(
    store: &mut CredentialStore,
    mut auth: AuthConfig,
    reply: api_types::registry::AuthReply,
) -> Result<u8, Failure> {
    if !reply.identity_token.is_empty() {
        // The registry prefers that its token is kept, not the password.
        auth.password.clear();
        auth.identitytoken = reply.identity_token;
    }
    let kept = store.store(&auth).map_err(|error| {
        Failure::message(format!(
            "Error saving credentials: {}",
            base::error::chain(&error)
        ))
    })?;
    if let Kept::Unencrypted(path) = kept {
        output::err_line(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this \
             warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    let status = match reply.status.as_str() {
        "" => "Login Succeeded".to_owned(),
        status => harmless(status),
    };
    output::out_line(&status)?;
    Ok(0)
}
