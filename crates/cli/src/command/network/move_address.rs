//! `ip move`, `ip rm`: addresses that go from one container to another. Docker has no such commands.

use api_types::network::AddressMoveRequest;

use crate::failure::Failure;
use crate::flag::{Command, Flag, Order, Positionals, State, one};
use crate::parse::Arguments;
use crate::session::Session;

const NETWORK: Flag = one(
    "network",
    "string",
    "The network; if not given, the one whose subnet the address is of",
);

/// The table entry of `ip move`.
pub(crate) static MOVE: Command = Command {
    path: &["ip", "move"],
    aliases: &[],
    usage: "[OPTIONS] ADDRESS CONTAINER",
    about: "Give a container an address of a network, on top of its own, from whichever container has it",
    flags: &[&[NETWORK]],
    positionals: Positionals::Exactly(2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(move_address(arguments, session))),
};

/// The table entry of `ip rm`.
pub(crate) static RELEASE: Command = Command {
    path: &["ip", "rm"],
    aliases: &[],
    usage: "[OPTIONS] ADDRESS",
    about: "Take an address that was moved from the container that has it",
    flags: &[&[NETWORK]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(move_address(arguments, session))),
};

async fn move_address(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let mut positionals = arguments.positionals.iter().cloned();
    let request = AddressMoveRequest {
        address: positionals.next().unwrap_or_default(),
        network: arguments.text("network").to_owned(),
        container: positionals.next().unwrap_or_default(),
    };
    let client = session.connect().await?;
    client.move_address(&request).await?;
    Ok(0)
}
