//! `network audit`: what the outside can reach on this machine, and why. Docker has no such command.

use api_types::network::Exposure;

use crate::command::FORMAT;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State};
use crate::format::list::{Layout, Row};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["network", "audit"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Show which ports the outside can reach, and why",
    flags: &[&[FORMAT]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(audit(arguments, session))),
};

const LAYOUT: Layout<'static> = Layout {
    headings: &[
        ("Address", "ADDRESS"),
        ("Port", "PORT"),
        ("Protocol", "PROTOCOL"),
        ("Container", "CONTAINER"),
        ("Reachable", "REACHABLE"),
        ("Because", "BECAUSE"),
    ],
    columns: &["Address", "Port", "Protocol", "Container", "Reachable", "Because"],
    quiet: "Port",
};

async fn audit(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let audit = client.audit_networks().await?;
    let rows: Vec<Row> = audit.exposures.iter().map(row).collect();
    LAYOUT.print(arguments.text("format"), false, &rows)?;
    Ok(0)
}

fn row(exposure: &Exposure) -> Row {
    let (reachable, because) = match exposure.blocked_by.as_str() {
        "" => ("yes", exposure.because.join("; ")),
        rule => ("no", rule.to_owned()),
    };
    Row {
        fields: vec![
            ("Address", exposure.address.clone()),
            ("Port", exposure.port.clone()),
            ("Protocol", exposure.protocol.clone()),
            (
                "Container",
                Some(exposure.container.clone())
                    .filter(|name| !name.is_empty())
                    .unwrap_or_else(|| "-".to_owned()),
            ),
            ("Reachable", reachable.to_owned()),
            ("Because", because),
        ],
        labels: std::collections::BTreeMap::new(),
    }
}
