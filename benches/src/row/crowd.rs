//! The first container of a network and the thousandth (`--count N`: as many as one likes).

use std::time::Duration;

use anyhow::Result;

use super::Effort;
use super::run::take_turns;
use crate::peer::Subject;
use crate::runner::{Hierarchies, Line, Runner};
use crate::sample::{Sample, ratio, show};
use crate::site::Site;
use crate::table::Table;

/// Measures Berth.
pub fn measure(effort: Effort) -> Result<Table> {
    let count = effort.many(50, 999);
    let turns = effort.of(10, 60);
    let mut table = Table::new(
        &format!("run --rm busybox true among {count} containers of one network"),
        &["where", "median", "10 %", "90 %", "runs", "of the first's"],
    );
    let place = testkit::place::Place::create()?;
    let archive = testkit::image::busybox_tar(place.directory())?;
    let berth = Site::berth()?;
    berth.ok(&["import", &archive.to_string_lossy(), "busybox"])?;
    for network in ["full", "other"] {
        // Room for all of them, and for more than a bridge has ports.
        let subnet = if network == "full" {
            "10.201.0.0/16"
        } else {
            "10.202.0.0/16"
        };
        berth.ok(&["network", "create", "--subnet", subnet, network])?;
    }
    let on = |network: &'static str, name: String| -> Result<Subject> {
        let words = [
            "run",
            "--rm",
            "--network",
            network,
            "busybox",
            "/bin/busybox",
            "true",
        ];
        Ok(Subject {
            name,
            line: Line::of(&berth.command(&words)?),
            hierarchies: Hierarchies::AsTheyAre,
            every: 1,
        })
    };

    let alone = take_turns(
        &[on("full", "the first of the machine".to_owned())?],
        turns,
        Duration::ZERO,
    )?;
    let first = alone.first().and_then(Sample::median).unwrap_or_default();
    let mut add = |name: &str, sample: &Sample| {
        let cell = |percent| sample.percentile(percent).map(show).unwrap_or_default();
        let times = ratio(first, sample.median().unwrap_or_default());
        table.row([
            name.to_owned(),
            cell(50),
            cell(10),
            cell(90),
            sample.count().to_string(),
            format!("{times} ×"),
        ]);
    };
    for sample in &alone {
        add("the first of the machine", sample);
    }
    let mut runner = Runner::start(Hierarchies::AsTheyAre)?;
    let (mut early, mut late) = (Sample::default(), Sample::default());
    let few = (count / 10).clamp(1, 50);
    for number in 0..count {
        let name = format!("crowd-{number}");
        let words = ["run", "-d", "--name", &name, "--network", "full"];
        let program = ["busybox", "/bin/busybox", "sleep", "100000"];
        let time = runner.time(&Line::of(&berth.command(&[&words[..], &program].concat())?))?;
        if number < few {
            early.add(time);
        } else if number >= count - few {
            late.add(time);
        }
    }
    add(&format!("run -d, the first {few}"), &early);
    add(&format!("run -d, the last {few}"), &late);
    let among = [
        on("full", format!("one more, after {count}"))?,
        on("other", format!("the first of another network, after {count}"))?,
    ];
    for (subject, sample) in among.iter().zip(take_turns(&among, turns, Duration::ZERO)?) {
        add(&subject.name, &sample);
    }
    super::many::by_clients(count, &|number| {
        berth.ok(&["rm", "-f", &format!("crowd-{number}")]).map(drop)
    })?;
    berth.ok(&["network", "rm", "full", "other"])?;
    berth.finish()?;
    Ok(table)
}
