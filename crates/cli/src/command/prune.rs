//! `container prune`, `image prune`, `network prune`, `volume prune` and `system prune`: removes what nothing uses.

use api_types::image::ImageDelete;
use base::size::HumanSize;
use client::{Client, Filters};

use crate::command::{FILTER, confirmed, filters};
use crate::failure::Failure;
use crate::flag::{Command, Flag, Order, Positionals, State, switch};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

const FORCE: Flag = switch("force", "Do not ask").short('f');

/// The table entry of `container prune`.
pub(crate) static CONTAINERS: Command = Command {
    path: &["container", "prune"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Remove all stopped containers",
    flags: &[&[FILTER, FORCE]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(containers(arguments, session))),
};

/// The table entry of `image prune`.
pub(crate) static IMAGES: Command = Command {
    path: &["image", "prune"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Remove unused images",
    flags: &[&[
        switch("all", "All unused images, not just those without a name").short('a'),
        FILTER,
        FORCE,
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(images(arguments, session))),
};

/// The table entry of `network prune`.
pub(crate) static NETWORKS: Command = Command {
    path: &["network", "prune"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Remove networks that no container uses",
    flags: &[&[FILTER, FORCE]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(networks(arguments, session))),
};

/// The table entry of `volume prune`.
pub(crate) static VOLUMES: Command = Command {
    path: &["volume", "prune"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Remove unused volumes",
    flags: &[&[
        switch("all", "All unused volumes, not just those without a name").short('a'),
        FILTER,
        FORCE,
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(volumes(arguments, session))),
};

/// The table entry of `system prune`.
pub(crate) static SYSTEM: Command = Command {
    path: &["system", "prune"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Remove unused data",
    flags: &[&[
        switch("all", "All unused images, not just those without a name").short('a'),
        FILTER,
        FORCE,
        switch("volumes", "Volumes without a name too"),
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(system(arguments, session))),
};

/// What a prune has removed.
#[derive(Default)]
struct Pruned {
    lines: Vec<String>,
    bytes: u64,
}

async fn containers(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    if !may(arguments, "WARNING! This will remove all stopped containers.")? {
        return Ok(0);
    }
    let client = session.connect().await?;
    report(&[prune_containers(&client, &filters(arguments)).await?])
}

async fn images(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let all = arguments.switch("all");
    let warning = if all {
        "WARNING! This will remove all images without at least one container associated to them."
    } else {
        "WARNING! This will remove all dangling images."
    };
    if !may(arguments, warning)? {
        return Ok(0);
    }
    let client = session.connect().await?;
    report(&[prune_images(&client, all, filters(arguments)).await?])
}

async fn networks(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    if !may(
        arguments,
        "WARNING! This will remove all custom networks not used by at least one container.",
    )? {
        return Ok(0);
    }
    let client = session.connect().await?;
    // Networks take no room, so no sum is told.
    let pruned = prune_networks(&client, &filters(arguments)).await?;
    let lines = pruned.lines.iter().map(|line| format!("{line}\n"));
    output::out(&lines.collect::<String>())?;
    Ok(0)
}

async fn volumes(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let all = arguments.switch("all");
    let warning = if all {
        "WARNING! This will remove all local volumes not used by at least one container."
    } else {
        "WARNING! This will remove anonymous local volumes not used by at least one container."
    };
    if !may(arguments, warning)? {
        return Ok(0);
    }
    let client = session.connect().await?;
    report(&[prune_volumes(&client, all, filters(arguments)).await?])
}

async fn system(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let (all, with_volumes) = (arguments.switch("all"), arguments.switch("volumes"));
    let mut warning = "WARNING! This will remove:\n  - all stopped containers\n".to_owned();
    warning.push_str("  - all networks not used by at least one container\n");
    if with_volumes {
        warning.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    warning.push_str(if all {
        "  - all images without at least one container associated to them\n"
    } else {
        "  - all dangling images\n"
    });
    let given = arguments.list("filter");
    if !given.is_empty() {
        warning.push_str("\n  Items to be pruned will be filtered with:\n");
        warning.extend(given.iter().map(|filter| format!("  - {filter}\n")));
    }
    if !may(arguments, &warning)? {
        return Ok(0);
    }
    let client = session.connect().await?;
    let filters = filters(arguments);
    let mut pruned = vec![
        prune_containers(&client, &filters).await?,
        prune_networks(&client, &filters).await?,
    ];
    if with_volumes {
        pruned.push(prune_volumes(&client, false, filters.clone()).await?);
    }
    pruned.push(prune_images(&client, all, filters).await?);
    report(&pruned)
}

fn may(arguments: &Arguments, warning: &str) -> Result<bool, Failure> {
    if arguments.switch("force") {
        Ok(true)
    } else {
        confirmed(warning)
    }
}

async fn prune_containers(client: &Client, filters: &Filters) -> Result<Pruned, Failure> {
    let reply = client.prune_containers(filters).await?;
    Ok(Pruned {
        lines: titled(
            "Deleted Containers:",
            reply.containers_deleted.unwrap_or_default(),
        ),
        bytes: reply.space_reclaimed,
    })
}

async fn prune_networks(client: &Client, filters: &Filters) -> Result<Pruned, Failure> {
    let reply = client.prune_networks(filters).await?;
    Ok(Pruned {
        lines: titled("Deleted Networks:", reply.networks_deleted.unwrap_or_default()),
        bytes: 0,
    })
}

async fn prune_images(client: &Client, all: bool, mut filters: Filters) -> Result<Pruned, Failure> {
    filters.add("dangling", if all { "false" } else { "true" });
    let reply = client.prune_images(&filters).await?;
    let line = |image: &ImageDelete| {
        if image.untagged.is_empty() {
            format!("deleted: {}", image.deleted)
        } else {
            format!("untagged: {}", image.untagged)
        }
    };
    let lines = reply
        .images_deleted
        .unwrap_or_default()
        .iter()
        .map(line)
        .collect();
    Ok(Pruned {
        lines: titled("Deleted Images:", lines),
        bytes: reply.space_reclaimed,
    })
}

async fn prune_volumes(client: &Client, all: bool, mut filters: Filters) -> Result<Pruned, Failure> {
    if all {
        filters.add("all", "true");
    }
    let reply = client.prune_volumes(&filters).await?;
    Ok(Pruned {
        lines: titled("Deleted Volumes:", reply.volumes_deleted.unwrap_or_default()),
        bytes: reply.space_reclaimed,
    })
}

fn titled(title: &str, mut lines: Vec<String>) -> Vec<String> {
    if !lines.is_empty() {
        lines.insert(0, title.to_owned());
        lines.push(String::new());
    }
    lines
}

fn report(pruned: &[Pruned]) -> Result<u8, Failure> {
    let lines = pruned.iter().flat_map(|pruned| &pruned.lines);
    let mut text: String = lines.map(|line| format!("{line}\n")).collect();
    let bytes = pruned.iter().map(|pruned| pruned.bytes).sum();
    text.push_str(&format!("Total reclaimed space: {}\n", HumanSize(bytes)));
    output::out(&text)?;
    Ok(0)
}
