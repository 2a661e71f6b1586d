//! `port`: shows where the ports of a container are reached on the host.

use api_types::inspect::ContainerInspect;

use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "port"],
    aliases: &[&["port"]],
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List the published ports of a container",
    flags: &[],
    positionals: Positionals::Between(1, 2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let Some(id) = arguments.positionals.first() else {
        return Ok(1);
    };
    let wanted = arguments.positionals.get(1).map(|port| {
        if port.contains('/') {
            port.clone()
        } else {
            format!("{port}/tcp")
        }
    });
    let client = session.connect().await?;
    let document = client.inspect_container(id, false).await?;
    let container: ContainerInspect = serde_json::from_str(document.get())
        .map_err(|error| Failure::message(format!("decode the daemon's answer: {error}")))?;
    let mut found = false;
    for (port, bindings) in &container.network_settings.ports {
        if wanted.as_ref().is_some_and(|wanted| wanted != port) {
            continue;
        }
        for binding in bindings.iter().flatten() {
            found = true;
            let address = if binding.host_ip.contains(':') {
                format!("[{}]:{}", binding.host_ip, binding.host_port)
            } else {
                format!("{}:{}", binding.host_ip, binding.host_port)
            };
            match wanted {
                Some(_) => output::out_line(&address)?,
                None => output::out_line(&format!("{port} -> {address}"))?,
            }
        }
    }
    match wanted {
        Some(port) if !found => Err(Failure::message(format!(
            "Error: No public port '{port}' published for {id}"
        ))),
        _ => Ok(0),
    }
}
