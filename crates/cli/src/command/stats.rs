//! `stats`: the resource use of containers, once or again and again.

use std::time::Duration;

use api_types::stats::Stats;
use base::size::{BinarySize, HumanSize};
use client::{Client, ListOptions};
use futures_util::future::join_all;

use crate::command::FORMAT;
use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State, switch};
use crate::format::list::{Layout, Row};
use crate::format::text::short_id;
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["container", "stats"],
    aliases: &[&["stats"]],
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Show the resource use of containers",
    flags: &[&[
        switch("all", "Also those that do not run").short('a'),
        FORMAT,
        switch("no-stream", "Show it once"),
        switch("no-trunc", "Do not cut anything short"),
    ]],
    positionals: Positionals::AtLeast(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

/// The pause between two rounds; a daemon that answers at once must not be asked without end.
const PAUSE: Duration = Duration::from_millis(500);

const LAYOUT: Layout<'static> = Layout {
    headings: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    columns: &[
        "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
    ],
    quiet: "ID",
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let client = session.connect().await?;
    let once = arguments.switch("no-stream");
    loop {
        let names = if arguments.positionals.is_empty() {
            let options = ListOptions {
                all: arguments.switch("all"),
                ..ListOptions::default()
            };
            let containers = client.list_containers(&options).await?;
            containers.into_iter().map(|container| container.id).collect()
        } else {
            arguments.positionals.clone()
        };
        let samples = join_all(names.iter().map(|name| sample(&client, name))).await;
        let mut rows = Vec::new();
        for (name, sample) in names.iter().zip(samples) {
            match sample {
                Ok(Some(stats)) => rows.push(row(name, &stats, !arguments.switch("no-trunc"))),
                Ok(None) => {}
                Err(failure) if arguments.positionals.is_empty() => {
                    // It has ended since the list was made.
                    drop(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        let text = LAYOUT.render(arguments.text("format"), false, &rows)?;
        if once {
            output::out(&text)?;
            return Ok(0);
        }
        // Home, the text, and nothing after it: the screen does not flicker.
        output::out(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")))?;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn sample(client: &Client, name: &str) -> Result<Option<Stats>, Failure> {
    let mut stream = client
        .container_stats(name, false)
        .await
        .map_err(|error| Failure::message(describe(&error)))?;
    Ok(stream.next().await.transpose()?)
}

fn row(name: &str, stats: &Stats, truncate: bool) -> Row {
    let used = used_memory(stats);
    let limit = stats.memory_stats.limit;
    let (received, sent) = stats
        .networks
        .values()
        .fold((0u64, 0u64), |(received, sent), network| {
            (received + network.rx_bytes, sent + network.tx_bytes)
        });
    let blocks = stats.blkio_stats.io_service_bytes_recursive.iter().flatten();
    let (read, written) = blocks.fold((0u64, 0u64), |(read, written), entry| {
        match entry.op.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'r') => (read + entry.value, written),
            Some(b'w') => (read, written + entry.value),
            _ => (read, written),
        }
    });
    Row {
        fields: vec![
            ("Container", name.to_owned()),
            (
                "ID",
                if truncate {
                    short_id(&stats.id).to_owned()
                } else {
                    stats.id.clone()
                },
            ),
            ("Name", stats.name.trim_start_matches('/').to_owned()),
            ("CPUPerc", format!("{:.2}%", cpu_percent(stats))),
            (
                "MemUsage",
                format!("{} / {}", BinarySize(used), BinarySize(limit)),
            ),
            ("MemPerc", format!("{:.2}%", ratio(used, limit) * 100.0)),
            ("NetIO", format!("{} / {}", HumanSize(received), HumanSize(sent))),
            ("BlockIO", format!("{} / {}", HumanSize(read), HumanSize(written))),
            ("PIDs", stats.pids_stats.current.to_string()),
        ],
        ..Row::default()
    }
}

/// Memory in use without what the kernel gives back at once (inactive pages of files).
fn used_memory(stats: &Stats) -> u64 {
    let memory = &stats.memory_stats;
    let inactive = ["total_inactive_file", "inactive_file"]
        .iter()
        .find_map(|name| memory.stats.get(*name))
        .copied()
        .unwrap_or_default();
    if inactive < memory.usage {
        memory.usage - inactive
    } else {
        memory.usage
    }
}

/// Share of one CPU, so that two busy ones are 200%.
fn cpu_percent(stats: &Stats) -> f64 {
    let (now, before) = (&stats.cpu_stats, &stats.precpu_stats);
    let used = now
        .cpu_usage
        .total_usage
        .saturating_sub(before.cpu_usage.total_usage);
    let passed = now.system_cpu_usage.saturating_sub(before.system_cpu_usage);
    ratio(used, passed) * f64::from(now.online_cpus.max(1)) * 100.0
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a table shows four digits")]
    let ratio = part as f64 / whole as f64;
    ratio
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_sizes() {
        let stats: Stats = serde_json::from_value(serde_json::json!({
            "id": "0123456789abcdef", "name": "/x",
            "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
            "memory_stats": {"usage": 3145728, "limit": 52428800, "stats": {"total_inactive_file": 1048576}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 1000}, {"op": "write", "value": 2000}]},
            "pids_stats": {"current": 3},
        }))
        .unwrap();
        let row = row("x", &stats, true);
        let cells = [
            "ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs",
        ]
        .map(|field| row.field(field));
        assert_eq!(
            cells,
            [
                "0123456789ab",
                "x",
                "40.00%",
                "2MiB / 50MiB",
                "4.00%",
                "0B / 0B",
                "1kB / 2kB",
                "3"
            ]
        );
    }
}
