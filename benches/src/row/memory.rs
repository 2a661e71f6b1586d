//! Memory of the daemon, idle and with containers, and of the shims.

use anyhow::{Context, Result};

use super::{Effort, many};
use crate::memory::{self, Memory, show};
use crate::peer::Bench;
use crate::table::Table;

/// Measures Berth, then docker.
pub fn measure(effort: Effort) -> Result<Table> {
    let count = effort.of(10, 100);
    let head = format!("{count} running");
    let mut table = Table::new("memory (RSS / PSS)", &["process", "idle", &head]);
    let bench = Bench::set_up(true)?;
    let both = |memory: Memory| format!("{} / {}", show(memory.rss), show(memory.pss));
    let run = |number: usize| -> [String; 3] { ["run".into(), "-d".into(), format!("--name=m{number}")] };
    let program = ["--network", "none", "busybox", "/bin/busybox", "sleep", "100000"];

    let daemon = bench.berth.pid()?;
    let idle = memory::of(daemon)?;
    many::by_clients(count, &|number| {
        let start = run(number);
        let arguments: Vec<&str> = start.iter().map(String::as_str).chain(program).collect();
        bench.berth.ok(&arguments).map(drop)
    })?;
    let busy = memory::of(daemon)?;
    table.row(["berth daemon".into(), both(idle), both(busy)]);
    let zygote: Vec<u32> = memory::descendants(daemon)?;
    let zygote = zygote
        .first()
        .copied()
        .map(memory::of)
        .transpose()?
        .unwrap_or_default();
    table.row(["berth zygote".into(), both(zygote), String::new()]);
    let pids = bench.berth.ok(&["inspect", "-f", "{{.State.Pid}}", "m0"])?;
    let shim = memory::of(memory::parent(pids.parse().context("a pid")?)?)?;
    table.row([
        "berth shim of one container".into(),
        String::new(),
        format!("{}; private {} KiB", both(shim), shim.private),
    ]);

    match &bench.docker {
        Some(docker) => {
            let all = || -> Result<(Memory, Vec<Memory>)> {
                let (mut daemons, mut shims) = (memory::of(docker.pid())?, Vec::new());
                for pid in testkit::residue::processes(docker.place())? {
                    let id = u32::try_from(pid.pid)?;
                    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
                    match name.trim() {
                        "containerd" => daemons = daemons + memory::of(id)?,
                        name if name.starts_with("containerd-shim") => shims.push(memory::of(id)?),
                        _ => {}
                    }
                }
                Ok((daemons, shims))
            };
            let (idle, _) = all()?;
            many::by_clients(count, &|number| {
                let start = run(number);
                let arguments: Vec<&str> = start.iter().map(String::as_str).chain(program).collect();
                docker.docker(&arguments, b"")?.expect(0).map(drop)
            })?;
            let (busy, shims) = all()?;
            table.row(["dockerd + containerd".into(), both(idle), both(busy)]);
            if let Some(shim) = shims.first() {
                let cell = format!("{}; private {} KiB", both(*shim), shim.private);
                table.row(["containerd-shim of one container".into(), String::new(), cell]);
            }
            many::by_clients(count, &|number| {
                docker
                    .docker(&["rm", "-f", &format!("m{number}")], b"")?
                    .expect(0)
                    .map(drop)
            })?;
        }
        None => table.row(["dockerd", "not installed"]),
    }
    bench.finish()?;
    Ok(table)
}
