//! `ps`: lists containers.

use api_types::container::{ContainerSummary, Port};
use base::size::HumanSize;
use client::ListOptions;

use crate::check;
use crate::command::{FILTER, FORMAT, filters};
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::format::list::{Layout, Row, joined_labels};
use crate::format::text::{ellipsis, quote, short_id};
use crate::format::time::{ago, created_at};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "ls"],
    aliases: &[&["container", "list"], &["container", "ps"], &["ps"]],
    usage: "[OPTIONS]",
    about: "List containers",
    flags: &[&[
        switch("all", "Also those that do not run").short('a'),
        FILTER.short('f'),
        FORMAT,
        one("last", "int", "The last n created, in whatever state")
            .short('n')
            .default("-1")
            .check(check::integer),
        switch("latest", "The last created, in whatever state").short('l'),
        switch("no-trunc", "Do not cut anything short"),
        switch("quiet", "Show ids only").short('q'),
        switch("size", "Show sizes").short('s'),
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let format = arguments.text("format");
    // Sizes take the daemon time, so they are asked for only where they are shown.
    let size = arguments.switch("size") || format.contains(".Size");
    let last = match arguments.number_if_set("last") {
        Some(last) if last > 0 => Some(last),
        _ if arguments.switch("latest") => Some(1),
        _ => None,
    };
    let options = ListOptions {
        all: arguments.switch("all") || last.is_some(),
        limit: last,
        size,
        filters: filters(arguments),
    };
    let client = session.connect().await?;
    let containers = client.list_containers(&options).await?;
    let truncate = !arguments.switch("no-trunc");
    let rows: Vec<Row> = containers
        .iter()
        .map(|container| row(container, truncate))
        .collect();
    let plain = [
        "ID",
        "Image",
        "Command",
        "RunningFor",
        "Status",
        "Ports",
        "Names",
        "Size",
    ];
    let layout = Layout {
        headings: HEADINGS,
        columns: if size { &plain } else { &plain[..7] },
        quiet: "ID",
    };
    layout.print(format, arguments.switch("quiet"), &rows)?;
    Ok(0)
}

/// Returns what the list shows of a container.
pub(crate) fn row(container: &ContainerSummary, truncate: bool) -> Row {
    let image = match container.image.as_str() {
        "" => "<no image>".to_owned(),
        image if truncate && image == container.image_id => short_id(image).to_owned(),
        image => image.to_owned(),
    };
    let command = if truncate {
        ellipsis(&container.command, 20)
    } else {
        container.command.clone()
    };
    let names = container.names.iter().map(|name| name.trim_start_matches('/'));
    // Old links make names with a slash inside; those are not the container's own.
    let names: Vec<&str> = names.filter(|name| !truncate || !name.contains('/')).collect();
    let mounts = container.mounts.iter().map(|mount| {
        let name = if mount.name.is_empty() {
            &mount.source
        } else {
            &mount.name
        };
        if truncate {
            ellipsis(name, 15)
        } else {
            name.clone()
        }
    });
    let mounts: Vec<String> = mounts.collect();
    let volumes = container
        .mounts
        .iter()
        .filter(|mount| mount.driver == "local")
        .count();
    let networks: Vec<&str> = container
        .network_settings
        .networks
        .keys()
        .map(String::as_str)
        .collect();
    Row {
        fields: vec![
            (
                "ID",
                if truncate {
                    short_id(&container.id).to_owned()
                } else {
                    container.id.clone()
                },
            ),
            ("Names", names.join(",")),
            ("Image", image),
            ("Command", quote(&command)),
            ("CreatedAt", created_at(container.created)),
            ("RunningFor", ago(container.created)),
            ("Ports", ports(&container.ports)),
            ("State", container.state.clone()),
            ("Status", container.status.clone()),
            ("Size", size(container)),
            ("Labels", joined_labels(&container.labels)),
            ("Mounts", mounts.join(",")),
            ("LocalVolumes", volumes.to_string()),
            ("Networks", networks.join(",")),
            ("Platform", String::new()),
        ],
        labels: container.labels.clone(),
    }
}

fn size(container: &ContainerSummary) -> String {
    let human = |bytes: i64| HumanSize(u64::try_from(bytes).unwrap_or_default()).to_string();
    let written = human(container.size_rw);
    if container.size_root_fs > 0 {
        format!("{written} (virtual {})", human(container.size_root_fs))
    } else {
        written
    }
}

/// Returns ports as `0.0.0.0:80-81->80-81/tcp, 90/tcp`: neighbours that keep their numbers are joined, and what is moved to
/// another number comes last.
fn ports(ports: &[Port]) -> String {
    struct Group<'a> {
        ip: &'a str,
        kind: &'a str,
        first: u16,
        last: u16,
    }
    let mut ports: Vec<&Port> = ports.iter().collect();
    ports.sort_by_key(|port| (port.private_port, &port.ip, port.public_port, &port.kind));
    let mut texts = Vec::new();
    let mut moved = Vec::new();
    // In the order in which they begin.
    let mut open: Vec<Group<'_>> = Vec::new();
    for port in ports {
        let (ip, kind, number) = (port.ip.as_str(), port.kind.as_str(), port.private_port);
        if !ip.is_empty() && port.public_port != number {
            moved.push(format!(
                "{}->{number}/{kind}",
                address(ip, &port.public_port.to_string())
            ));
            continue;
        }
        match open.iter_mut().find(|group| (group.ip, group.kind) == (ip, kind)) {
            None => open.push(Group {
                ip,
                kind,
                first: number,
                last: number,
            }),
            Some(group) if group.last.checked_add(1) == Some(number) => group.last = number,
            Some(group) => {
                texts.push((group.ip, group.kind, group.first, group.last));
                (group.first, group.last) = (number, number);
            }
        }
    }
    texts.extend(
        open.iter()
            .map(|group| (group.ip, group.kind, group.first, group.last)),
    );
    let joined = texts.into_iter().map(|(ip, kind, first, last)| {
        let range = if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        };
        match ip {
            "" => format!("{range}/{kind}"),
            ip => format!("{}->{range}/{kind}", address(ip, &range)),
        }
    });
    joined.chain(moved).collect::<Vec<_>>().join(", ")
}

fn address(ip: &str, port: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_short() {
        let container = ContainerSummary {
            id: "0123456789abcdef".to_owned(),
            names: vec!["/elegant_hawking".to_owned(), "/other/alias".to_owned()],
            image: "busybox".to_owned(),
            command: "sleep 1000000000000000000".to_owned(),
            status: "Up 3 seconds".to_owned(),
            ports: vec![
                Port {
                    private_port: 90,
                    kind: "tcp".to_owned(),
                    ..Port::default()
                },
                Port {
                    private_port: 80,
                    public_port: 8080,
                    ip: "0.0.0.0".to_owned(),
                    kind: "tcp".to_owned(),
                },
            ],
            size_rw: 4_270_000,
            size_root_fs: 5_000_000,
            ..ContainerSummary::default()
        };
        let short = row(&container, true);
        assert_eq!(short.field("ID"), "0123456789ab");
        assert_eq!(short.field("Names"), "elegant_hawking");
        assert_eq!(short.field("Command"), "\"sleep 1000000000000…\"");
        assert_eq!(short.field("Ports"), "90/tcp, 0.0.0.0:8080->80/tcp");
        assert_eq!(short.field("Size"), "4.27MB (virtual 5MB)");
        let long = row(&container, false);
        assert_eq!(long.field("Names"), "elegant_hawking,other/alias");
        assert_eq!(long.field("Command"), "\"sleep 1000000000000000000\"");
    }

    /// What `docker ps` of docker 28.2.2 shows of sets of ports.
    const DOCKER: &str = include_str!("docker-28.2.2-ports.jsonl");

    #[test]
    fn ports_are_shown_as_docker_shows_them() {
        #[derive(serde::Deserialize)]
        struct Recorded {
            ports: Vec<Port>,
            shown: String,
        }
        for line in DOCKER.lines() {
            let recorded: Recorded = serde_json::from_str(line).unwrap();
            assert_eq!(ports(&recorded.ports), recorded.shown);
        }
    }
}
