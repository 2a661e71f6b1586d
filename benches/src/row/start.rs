//! From starting the daemon to its first answer, with and without stopped containers.

use anyhow::Result;

use super::{Effort, many};
use crate::peer::Bench;
use crate::sample::{Sample, show};
use crate::table::Table;

/// Measures Berth.
pub fn measure(effort: Effort) -> Result<Table> {
    let stopped = effort.of(50, 1000);
    let mut table = Table::new(
        "daemon start to first answer",
        &["stopped containers", "median", "90 %", "starts"],
    );
    let mut bench = Bench::set_up(false)?;
    let starts = |bench: &mut Bench| -> Result<Sample> {
        let mut sample = Sample::default();
        for _ in 0..effort.of(5, 20) {
            bench.berth.terminate()?;
            sample.add(bench.berth.launch()?);
        }
        Ok(sample)
    };
    let mut add = |count: usize, sample: Sample| {
        let cell = |percent| sample.percentile(percent).map_or_else(String::new, show);
        table.row([count.to_string(), cell(50), cell(90), sample.count().to_string()]);
    };
    let empty = starts(&mut bench)?;
    add(0, empty);
    many::by_clients(stopped, &|number| {
        let name = format!("stopped-{number}");
        bench
            .berth
            .ok(&[
                "run",
                "--name",
                &name,
                "--network",
                "none",
                "busybox",
                "/bin/busybox",
                "true",
            ])
            .map(drop)
    })?;
    let full = starts(&mut bench)?;
    add(stopped, full);
    bench.finish()?;
    Ok(table)
}
