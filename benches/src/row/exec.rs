//! `exec` of `true` in a running container.

use std::time::Duration;

use anyhow::Result;

use super::Effort;
use super::run::{tabulate, take_turns};
use crate::peer::{Bench, Subject};
use crate::runner::{Hierarchies, Line};
use crate::table::Table;

/// Measures Berth and docker in turn.
pub fn measure(effort: Effort) -> Result<Table> {
    let bench = Bench::set_up(true)?;
    let run = [
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "none",
        "busybox",
        "/bin/busybox",
        "sleep",
        "100000",
    ];
    let exec = ["exec", "c1", "/bin/busybox", "true"];
    bench.berth.ok(&run)?;
    let mut subjects = vec![subject("berth", Line::of(&bench.berth.command(exec)?), 1)];
    let mut missing = Vec::new();
    match &bench.docker {
        Some(docker) => {
            docker.docker(&run, b"")?.expect(0)?;
            subjects.push(subject("docker", Line::of(&docker.command(&exec)), 5));
        }
        None => missing.push("docker"),
    }
    let samples = take_turns(&subjects, effort.of(20, 300), Duration::ZERO)?;
    let table = tabulate(
        "exec busybox true in a running container",
        &subjects,
        &samples,
        &missing,
    )?;
    if let Some(docker) = &bench.docker {
        docker.docker(&["rm", "-f", "c1"], b"")?.expect(0)?;
    }
    bench.finish()?;
    Ok(table)
}

fn subject(name: &str, line: Line, every: usize) -> Subject {
    Subject {
        name: name.to_owned(),
        line,
        hierarchies: Hierarchies::AsTheyAre,
        every,
    }
}
