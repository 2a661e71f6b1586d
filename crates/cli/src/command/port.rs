//! `port`: shows where the ports of a container are reached on the host.

use api_types::inspect::ContainerInspect;

use crate::create::port_number;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::format::text::natural_order;
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
    let wanted = match arguments.positionals.get(1).map(String::as_str) {
        None | Some("") => None,
        Some(text) => Some((text, port(text)?)),
    };
    let client = session.connect().await?;
    let document = client.inspect_container(id, false).await?;
    let container: ContainerInspect = serde_json::from_str(document.get())
        .map_err(|error| Failure::message(format!("decode the daemon's answer: {error}")))?;
    let mut lines = Vec::new();
    for (port, bindings) in &container.network_settings.ports {
        if wanted.as_ref().is_some_and(|(_, wanted)| wanted != port) {
            continue;
        }
        for binding in bindings.iter().flatten() {
            let address = if binding.host_ip.contains(':') {
                format!("[{}]:{}", binding.host_ip, binding.host_port)
            } else {
                format!("{}:{}", binding.host_ip, binding.host_port)
            };
            lines.push(match wanted {
                Some(_) => address,
                None => format!("{port} -> {address}"),
            });
        }
    }
    if let (Some((text, _)), true) = (&wanted, lines.is_empty()) {
        return Err(Failure::message(format!(
            "Error: No public port '{text}' published for {id}"
        )));
    }
    lines.sort_by(|left, right| natural_order(left, right));
    for line in &lines {
        output::out_line(line)?;
    }
    Ok(0)
}

/// Reads `PORT[/PROTOCOL]` as the name of a port.
fn port(text: &str) -> Result<String, Failure> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let number = port_number(number)
        .map_err(|reason| Failure::message(format!("Error: invalid port ({number}): {reason}")))?;
    Ok(format!("{number}/{protocol}"))
}
