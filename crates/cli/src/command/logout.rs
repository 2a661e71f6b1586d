//! `logout`: forgets the credentials of a registry.

use crate::credentials::{CredentialStore, DOCKER_HUB, host_of, server_key};
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["logout"],
    aliases: &[],
    usage: "[SERVER]",
    about: "Log out of a registry; Docker Hub if none is named",
    flags: &[],
    positionals: Positionals::AtMost(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let named = arguments.positionals.first().map_or("", String::as_str);
    let server = match named {
        DOCKER_HUB => DOCKER_HUB,
        named => server_key(host_of(named)),
    };
    let mut store = CredentialStore::open(session)?;
    output::out_line(&format!("Removing login credentials for {server}"))?;
    store.erase(server).map_err(|error| {
        Failure::message(format!(
            "WARNING: could not erase credentials:\n{server}: {}",
            base::error::chain(&error)
        ))
    })?;
    Ok(0)
}
