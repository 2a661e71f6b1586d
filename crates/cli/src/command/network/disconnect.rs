//! `network disconnect`: unplugs a container from a network.

use api_types::network::NetworkDisconnectRequest;

use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, switch};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["network", "disconnect"],
    aliases: &[],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Disconnect a container from a network",
    flags: &[&[switch("force", "Also when the container is not in order").short('f')]],
    positionals: Positionals::Exactly(2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(disconnect(arguments, session))),
};

async fn disconnect(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let [network, container] = arguments.positionals.as_slice() else {
        return Ok(1);
    };
    let request = NetworkDisconnectRequest {
        container: container.clone(),
        force: arguments.switch("force"),
    };
    let client = session.connect().await?;
    client.disconnect_network(network, &request).await?;
    Ok(0)
}
