//! `network ls`.

use api_types::network::Network;

use crate::command::{FILTER, FORMAT, filters};
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, switch};
use crate::format::list::{Layout, Row, joined_labels};
use crate::format::text::{natural_order, short_id};
use crate::format::time::as_go_writes;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["network", "ls"],
    aliases: &[&["network", "list"]],
    usage: "[OPTIONS]",
    about: "List networks",
    flags: &[&[
        FILTER.short('f'),
        FORMAT,
        switch("no-trunc", "Do not cut anything short"),
        switch("quiet", "Show ids only").short('q'),
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(list(arguments, session))),
};

const LAYOUT: Layout<'static> = Layout {
    headings: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
    columns: &["ID", "Name", "Driver", "Scope"],
    quiet: "ID",
};

async fn list(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let mut networks = client.list_networks(&filters(arguments)).await?;
    networks.sort_by(|left, right| natural_order(&left.name, &right.name));
    let truncate = !arguments.switch("no-trunc");
    let rows: Vec<Row> = networks.iter().map(|network| row(network, truncate)).collect();
    LAYOUT.print(arguments.text("format"), arguments.switch("quiet"), &rows)?;
    Ok(0)
}

fn row(network: &Network, truncate: bool) -> Row {
    let id = if truncate {
        short_id(&network.id)
    } else {
        &network.id
    };
    Row {
        fields: vec![
            ("ID", id.to_owned()),
            ("Name", network.name.clone()),
            ("Driver", network.driver.clone()),
            ("Scope", network.scope.clone()),
            ("IPv4", network.enable_ipv4.to_string()),
            ("IPv6", network.enable_ipv6.to_string()),
            ("Internal", network.internal.to_string()),
            ("Labels", joined_labels(&network.labels)),
            ("CreatedAt", as_go_writes(&network.created)),
        ],
        labels: network.labels.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Recorded with docker 28.2.2.
    #[test]
    fn rows_are_dockers() {
        let network: Network = serde_json::from_value(serde_json::json!({
            "Name": "aaa10", "Id": "a1ebc7c5e13fc156de8fec5456d4205519db566145031a820c15e8c4dd528c75",
            "Created": "2026-11-20T16:37:05.197432513Z", "Scope": "local", "Driver": "bridge", "EnableIPv4": true,
            "EnableIPv6": true, "Internal": true, "Labels": {"x": "y", "z": "w"},
        }))
        .unwrap();
        let rows = [row(&network, true)];
        assert_eq!(
            LAYOUT.render("", false, &rows).unwrap(),
            "NETWORK ID     NAME      DRIVER    SCOPE\na1ebc7c5e13f   aaa10     bridge    local\n"
        );
        assert_eq!(
            LAYOUT.render("json", false, &rows).unwrap(),
            "{\"CreatedAt\":\"2026-11-20 16:37:05.197432513 +0000 UTC\",\"Driver\":\"bridge\",\"ID\":\"a1ebc7c5e13f\",\
             \"IPv4\":\"true\",\"IPv6\":\"true\",\"Internal\":\"true\",\"Labels\":\"x=y,z=w\",\"Name\":\"aaa10\",\
             \"Scope\":\"local\"}\n"
        );
        assert_eq!(
            LAYOUT.render("", true, &[row(&network, false)]).unwrap().len(),
            65
        );
    }
}
