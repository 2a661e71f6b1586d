//! `info` and `system df`: what the daemon says of itself, and what takes space.

use std::fmt::Write;

use api_types::image::ImageSummary;
use api_types::system::{DiskUsage, SystemInfo};
use base::size::{BinarySize, HumanSize, ShortSize};

use crate::command::{FORMAT, image, ps};
use crate::failure::{DAEMON_ERROR, Failure, describe};
use crate::flag::{Command, Order, Positionals, State, one, switch};
use crate::format::list::{Layout, Row};
use crate::format::table;
use crate::format::template::{Program, from_json};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry of `info`.
pub(crate) static INFO: Command = Command {
    path: &["system", "info"],
    aliases: &[&["info"]],
    usage: "[OPTIONS]",
    about: "Show what the daemon says of itself and the host",
    flags: &[&[one(
        "format",
        "string",
        "Format of the output: 'json' or 'TEMPLATE' (a Go template)",
    )
    .short('f')]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(info(arguments, session))),
};

/// The table entry of `system df`.
pub(crate) static DISK_USAGE: Command = Command {
    path: &["system", "df"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Show what takes space",
    flags: &[&[FORMAT, switch("verbose", "Show each object").short('v')]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(disk_usage(arguments, session))),
};

async fn info(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let program = match arguments.text("format") {
        "" | "json" => None,
        template => Some(Program::parse_renamed(template, NAMES)?),
    };
    let client = session.connect().await?;
    let document = client.info().await?;
    let undecodable =
        |error: serde_json::Error| Failure::message(format!("decode the daemon's answer: {error}"));
    match program {
        None if arguments.text("format") == "json" => output::out_line(document.get())?,
        None => {
            let info: SystemInfo = serde_json::from_str(document.get()).map_err(undecodable)?;
            output::out(&pretty(&info))?;
            for warning in info.warnings.iter().flatten() {
                output::err_line(warning);
            }
        }
        Some(program) => {
            let value: serde_json::Value = serde_json::from_str(document.get()).map_err(undecodable)?;
            output::out_line(&program.execute(&from_json(&value))?)?;
        }
    }
    Ok(0)
}

/// Fields whose names in Go and in JSON differ.
const NAMES: &[(&str, &str)] = &[
    ("CPUCfsPeriod", "CpuCfsPeriod"),
    ("CPUCfsQuota", "CpuCfsQuota"),
    ("HTTPProxy", "HttpProxy"),
    ("HTTPSProxy", "HttpsProxy"),
];

/// Stands for the value of a line that is only a name.
const NAME_ONLY: &str = "\0";

fn pretty(info: &SystemInfo) -> String {
    let mut text = String::from("Client:\n");
    let mut line = |indent: usize, name: &str, value: &str| {
        // A list of names stands without colons.
        let colon = if value == NAME_ONLY { "" } else { ": " };
        let value = if value == NAME_ONLY { "" } else { value };
        let _infallible = writeln!(text, "{:indent$}{name}{colon}{value}", "");
    };
    line(1, "Version", env!("CARGO_PKG_VERSION"));
    line(0, "\nServer", "");
    line(1, "Containers", &info.containers.to_string());
    line(2, "Running", &info.containers_running.to_string());
    line(2, "Paused", &info.containers_paused.to_string());
    line(2, "Stopped", &info.containers_stopped.to_string());
    line(1, "Images", &info.images.to_string());
    line(1, "Server Version", &info.server_version);
    line(1, "Storage Driver", &info.driver);
    for (name, value) in &info.driver_status {
        line(2, name, value);
    }
    line(1, "Logging Driver", &info.logging_driver);
    line(1, "Cgroup Driver", &info.cgroup_driver);
    line(1, "Cgroup Version", &info.cgroup_version);
    for (controller, hierarchy) in &info.cgroup_controllers {
        line(2, controller, hierarchy);
    }
    line(1, "Plugins", "");
    line(2, "Volume", &info.plugins.volume.join(" "));
    line(2, "Network", &info.plugins.network.join(" "));
    line(2, "Log", &info.plugins.log.join(" "));
    let runtimes: Vec<&str> = info.runtimes.keys().map(String::as_str).collect();
    line(1, "Runtimes", &runtimes.join(" "));
    line(1, "Default Runtime", &info.default_runtime);
    line(1, "Init Binary", &info.init_binary);
    line(1, "Security Options", "");
    for option in &info.security_options {
        let name = option.split(',').find_map(|part| part.strip_prefix("name="));
        line(2, name.unwrap_or(option), NAME_ONLY);
        for part in option
            .split(',')
            .filter(|part| !part.starts_with("name=") && part.contains('='))
        {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            line(3, if key == "profile" { "Profile" } else { key }, value);
        }
    }
    line(1, "Kernel Version", &info.kernel_version);
    line(1, "Operating System", &info.operating_system);
    line(1, "OSType", &info.os_type);
    line(1, "Architecture", &info.architecture);
    line(1, "CPUs", &info.n_cpu.to_string());
    let memory = u64::try_from(info.mem_total).unwrap_or_default();
    line(1, "Total Memory", &BinarySize(memory).to_string());
    line(1, "Name", &info.name);
    line(1, "ID", &info.id);
    line(1, "Docker Root Dir", &info.docker_root_dir);
    line(1, "Debug Mode", if info.debug { "true" } else { "false" });
    line(
        1,
        "Experimental",
        if info.experimental_build { "true" } else { "false" },
    );
    line(
        1,
        "Live Restore Enabled",
        if info.live_restore_enabled {
            "true"
        } else {
            "false"
        },
    );
    // A name without a value ends with its colon.
    text.replace(": \n", ":\n")
}

const USAGE: Layout<'static> = Layout {
    headings: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    columns: &["Type", "TotalCount", "Active", "Size", "Reclaimable"],
    quiet: "Type",
};

async fn disk_usage(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let (format, verbose) = (arguments.text("format"), arguments.switch("verbose"));
    if verbose && !format.is_empty() {
        return Err(Failure::Message {
            message: "berth: --verbose with --format is not supported yet".to_owned(),
            code: DAEMON_ERROR,
        });
    }
    let client = session.connect().await?;
    let usage = client
        .disk_usage()
        .await
        .map_err(|error| Failure::message(describe(&error)))?;
    if verbose {
        output::out(&in_detail(&usage))?;
    } else {
        USAGE.print(format, false, &summary(&usage))?;
    }
    Ok(0)
}

fn summary(usage: &DiskUsage) -> Vec<Row> {
    let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
    let unique = |image: &ImageSummary| size(image.size.saturating_sub(image.shared_size.max(0)));
    // What a used image shares with others is free in no case that docker counts.
    let used = usage.images.iter().filter(|image| image.containers > 0);
    let used: u64 = used.filter(|image| image.shared_size >= 0).map(unique).sum();
    let images = row(
        "Images",
        usage.images.len(),
        usage.images.iter().filter(|image| image.containers > 0).count(),
        size(usage.layers_size),
        size(usage.layers_size).saturating_sub(used),
    );
    let is_active = |state: &str| ["running", "paused", "restarting"].contains(&state);
    let stopped = usage
        .containers
        .iter()
        .filter(|container| !is_active(&container.state));
    let containers = row(
        "Containers",
        usage.containers.len(),
        usage
            .containers
            .iter()
            .filter(|container| is_active(&container.state))
            .count(),
        usage
            .containers
            .iter()
            .map(|container| size(container.size_rw))
            .sum(),
        stopped.map(|container| size(container.size_rw)).sum(),
    );
    let facts = |volume: &api_types::volume::Volume| {
        volume
            .usage_data
            .as_ref()
            .map_or((0, 0), |data| (data.ref_count, size(data.size)))
    };
    let unused = usage.volumes.iter().map(facts).filter(|(count, _)| *count <= 0);
    let volumes = row(
        "Local Volumes",
        usage.volumes.len(),
        usage
            .volumes
            .iter()
            .map(facts)
            .filter(|(count, _)| *count > 0)
            .count(),
        usage.volumes.iter().map(|volume| facts(volume).1).sum(),
        unused.map(|(_, size)| size).sum(),
    );
    vec![
        images,
        containers,
        volumes,
        row("Build Cache", usage.build_cache.len(), 0, 0, 0),
    ]
}

fn row(kind: &str, total: usize, active: usize, size: u64, reclaimable: u64) -> Row {
    let percent = reclaimable.saturating_mul(100).checked_div(size);
    let percent = percent.map_or(String::new(), |percent| format!(" ({percent}%)"));
    Row {
        fields: vec![
            ("Type", kind.to_owned()),
            ("TotalCount", total.to_string()),
            ("Active", active.to_string()),
            ("Size", HumanSize(size).to_string()),
            ("Reclaimable", format!("{}{percent}", HumanSize(reclaimable))),
        ],
        ..Row::default()
    }
}

fn in_detail(usage: &DiskUsage) -> String {
    let human =
        |bytes: i64| u64::try_from(bytes).map_or("N/A".to_owned(), |bytes| HumanSize(bytes).to_string());
    let mut text = String::from("Images space usage:\n\n");
    let mut lines =
        String::from("REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS\n");
    let fields = [
        "Repository",
        "Tag",
        "ID",
        "CreatedSince",
        "Size",
        "SharedSize",
        "UniqueSize",
        "Containers",
    ];
    for row in usage
        .images
        .iter()
        .flat_map(|image| image::rows(image, true, false))
    {
        lines.push_str(&fields.map(|field| row.field(field)).join("\t"));
        lines.push('\n');
    }
    text.push_str(&table::align(&lines));
    text.push_str("\nContainers space usage:\n\n");
    let mut lines =
        String::from("CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES\n");
    for container in &usage.containers {
        let row = ps::row(container, true);
        let volumes = container
            .mounts
            .iter()
            .filter(|mount| mount.kind == "volume")
            .count();
        let size =
            u64::try_from(container.size_rw).map_or("0B".to_owned(), |size| ShortSize(size).to_string());
        let _infallible = writeln!(
            lines,
            "{}\t{}\t{}\t{volumes}\t{size}\t{}\t{}\t{}",
            row.field("ID"),
            row.field("Image"),
            row.field("Command"),
            row.field("RunningFor"),
            row.field("Status"),
            row.field("Names")
        );
    }
    text.push_str(&table::align(&lines));
    text.push_str("\nLocal Volumes space usage:\n\n");
    let mut lines = String::from("VOLUME NAME\tLINKS\tSIZE\n");
    for volume in &usage.volumes {
        let (links, size) = volume
            .usage_data
            .as_ref()
            .map_or((-1, -1), |data| (data.ref_count, data.size));
        let _infallible = writeln!(lines, "{}\t{}\t{}", volume.name, links.max(0), human(size));
    }
    text.push_str(&table::align(&lines));
    // Nothing is built here yet.
    text.push_str("\nBuild cache usage: 0B\n\n");
    text.push_str(&table::align(
        "CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED\n",
    ));
    text
}
