//! `volume create`, `ls` and `rm`.

use api_types::volume::{Volume, VolumeCreateRequest};
use base::size::HumanSize;

use crate::check;
use crate::command::{FILTER, FORMAT, filters, for_each};
use crate::create::pairs;
use crate::failure::Failure;
use crate::flag::{Command, Flag, Order, Positionals, State, many, one, switch};
use crate::format::list::{Layout, Row, joined_labels};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// Why flags of cluster volumes are refused.
const CLUSTER: &str = "it is for volumes of a swarm";

const CREATE_FLAGS: &[Flag] = &[
    one("availability", "string", "Cluster volume availability").never(CLUSTER),
    one("driver", "string", "Driver of the volume")
        .short('d')
        .default("local"),
    one("group", "string", "Cluster volume group").never(CLUSTER),
    many("label", "list", "Set metadata on the volume").check(check::label),
    one("limit-bytes", "bytes", "Size of the cluster volume").never(CLUSTER),
    many("opt", "map", "Options of the driver").short('o'),
    one("required-bytes", "bytes", "Size of the cluster volume").never(CLUSTER),
    one("scope", "string", "Cluster volume scope").never(CLUSTER),
    many("secret", "map", "Cluster volume secrets").never(CLUSTER),
    one("sharing", "string", "Cluster volume sharing").never(CLUSTER),
    many("topology-preferred", "list", "Cluster volume topology").never(CLUSTER),
    many("topology-required", "list", "Cluster volume topology").never(CLUSTER),
    one("type", "string", "Cluster volume access type").never(CLUSTER),
];

/// The table entry of `volume create`.
pub(crate) static CREATE: Command = Command {
    path: &["volume", "create"],
    aliases: &[],
    usage: "[OPTIONS] [VOLUME]",
    about: "Create a volume",
    flags: &[CREATE_FLAGS],
    positionals: Positionals::AtMost(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(create(arguments, session))),
};

/// The table entry of `volume ls`.
pub(crate) static LIST: Command = Command {
    path: &["volume", "ls"],
    aliases: &[&["volume", "list"]],
    usage: "[OPTIONS]",
    about: "List volumes",
    flags: &[&[
        switch("cluster", "Show cluster volumes").never(CLUSTER),
        FILTER.short('f'),
        FORMAT,
        switch("quiet", "Show names only").short('q'),
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(list(arguments, session))),
};

/// The table entry of `volume rm`.
pub(crate) static REMOVE: Command = Command {
    path: &["volume", "rm"],
    aliases: &[&["volume", "remove"]],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove volumes that no container uses",
    flags: &[&[switch("force", "A volume that is not there is no error").short('f')]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(remove(arguments, session))),
};

const LAYOUT: Layout<'static> = Layout {
    headings: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
    columns: &["Driver", "Name"],
    quiet: "Name",
};

async fn create(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let request = VolumeCreateRequest {
        name: arguments.positionals.first().cloned().unwrap_or_default(),
        driver: arguments.text("driver").to_owned(),
        driver_opts: pairs(&arguments.list("opt")),
        labels: pairs(&arguments.list("label")),
        cluster_volume_spec: None,
    };
    let client = session.connect().await?;
    output::out_line(&client.create_volume(&request).await?.name)?;
    Ok(0)
}

async fn list(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let mut list = client.list_volumes(&filters(arguments)).await?;
    for warning in list.warnings.iter().flatten() {
        output::err_line(&format!("WARNING: {warning}"));
    }
    list.volumes.sort_by(|left, right| left.name.cmp(&right.name));
    let rows: Vec<Row> = list.volumes.iter().map(row).collect();
    LAYOUT.print(arguments.text("format"), arguments.switch("quiet"), &rows)?;
    Ok(0)
}

fn row(volume: &Volume) -> Row {
    let labels = volume.labels.clone().unwrap_or_default();
    let usage = volume.usage_data.as_ref();
    let size = usage.and_then(|usage| u64::try_from(usage.size).ok());
    Row {
        fields: vec![
            ("Name", volume.name.clone()),
            ("Driver", volume.driver.clone()),
            ("Scope", volume.scope.clone()),
            ("Mountpoint", volume.mountpoint.clone()),
            ("Labels", joined_labels(&labels)),
            (
                "Links",
                usage.map_or("N/A".to_owned(), |usage| usage.ref_count.to_string()),
            ),
            (
                "Size",
                size.map_or("N/A".to_owned(), |size| HumanSize(size).to_string()),
            ),
            ("Availability", "N/A".to_owned()),
            ("Group", "N/A".to_owned()),
            ("Status", "N/A".to_owned()),
        ],
        labels,
    }
}

async fn remove(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let force = arguments.switch("force");
    for_each(&arguments.positionals, |name| client.remove_volume(name, force)).await
}
