//! 100 containers, started and then removed by 8 clients at once.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Effort;
use crate::peer::Bench;
use crate::sample::{ratio, show};
use crate::table::Table;

const CLIENTS: usize = 8;

/// Measures Berth, then docker.
pub fn measure(effort: Effort) -> Result<Table> {
    let count = effort.of(24, 100);
    let title = format!("{count} containers by {CLIENTS} clients at once");
    let mut table = Table::new(&title, &["engine", "started", "removed", "of berth's"]);
    let bench = Bench::set_up(true)?;
    let own = start_and_remove(count, |arguments| bench.berth.command(arguments))?;
    table.row(["berth".into(), show(own.0), show(own.1), String::new()]);
    match &bench.docker {
        Some(docker) => {
            let other = start_and_remove(count, |arguments| Ok(docker.command(arguments)))?;
            let ratios = format!("{} ×, {} ×", ratio(own.0, other.0), ratio(own.1, other.1));
            table.row(["docker".into(), show(other.0), show(other.1), ratios]);
        }
        None => table.row(["docker", "not installed"]),
    }
    bench.finish()?;
    Ok(table)
}

/// Starts and removes `count` containers; `command` makes a command line from arguments.
fn start_and_remove(
    count: usize,
    command: impl Fn(&[&str]) -> Result<Command> + Sync,
) -> Result<(Duration, Duration)> {
    let run = |number: usize| -> Result<()> {
        let name = format!("many-{number}");
        let program = ["busybox", "/bin/busybox", "sleep", "100000"];
        let arguments = [&["run", "-d", "--name", &name, "--network", "none"], &program[..]].concat();
        succeed(command(&arguments)?)
    };
    let remove = |number: usize| succeed(command(&["rm", "-f", &format!("many-{number}")])?);
    Ok((by_clients(count, &run)?, by_clients(count, &remove)?))
}

/// Lets [`CLIENTS`] threads take numbers from 0 to `count` until none is left.
pub(super) fn by_clients(count: usize, act: &(impl Fn(usize) -> Result<()> + Sync)) -> Result<Duration> {
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return Ok(());
                        }
                        act(number)?;
                    }
                })
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().ok().context("a client panicked")?)
    })?;
    Ok(start.elapsed())
}

fn succeed(mut command: Command) -> Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        bail!(
            "{}: {}",
            testkit::command::describe(&command),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
