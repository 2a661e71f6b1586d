//! One container from nothing to gone on each kind of network: `run --rm busybox true`, the whole process of the command
//! line.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Effort;
use super::run::take_turns;
use crate::peer::Subject;
use crate::runner::{Hierarchies, Line};
use crate::sample::{difference, ratio, show};
use crate::site::Site;
use crate::table::Table;

const WAYS: [(&str, &[&str]); 4] = [
    ("no network", &["--network", "none"]),
    ("the default bridge", &[]),
    ("a network of one's own, with names", &["--network", "net"]),
    ("the default bridge, a port published", &["-p", "8080:80"]),
];

/// What was before each run. Whoever types a command leaves an engine time to make ready for the next one.
const RESTS: [(&str, Duration); 2] = [
    ("another run", Duration::ZERO),
    ("30 ms of rest", Duration::from_millis(30)),
];

/// Measures Berth and docker in turn.
pub fn measure(effort: Effort) -> Result<Table> {
    let sites = Site::both("busybox", testkit::image::busybox_tar)?;
    let mut subjects = Vec::new();
    for site in &sites {
        site.ok(&["network", "create", "net"])?;
        for (name, options) in WAYS {
            let program = ["busybox", "/bin/busybox", "true"];
            let line = Line::of(&site.command(&[&["run", "--rm"], options, &program].concat())?);
            subjects.push(Subject {
                name: format!("{}, {name}", site.name),
                line,
                hierarchies: Hierarchies::AsTheyAre,
                every: if site.name == "berth" { 1 } else { 10 },
            });
        }
    }
    let mut table = Table::new(
        "run --rm busybox true on networks",
        &[
            "engine, network",
            "before",
            "median",
            "10 %",
            "90 %",
            "runs",
            "more than without",
            "of berth's",
        ],
    );
    for (before, rest) in RESTS {
        let samples = take_turns(&subjects, effort.of(20, 200), rest)?;
        for (index, (subject, sample)) in subjects.iter().zip(&samples).enumerate() {
            let median = |index: usize| samples.get(index).and_then(|sample| sample.median());
            let time = median(index).with_context(|| format!("{} failed", subject.name))?;
            let way = index % WAYS.len();
            let bare = median(index - way).unwrap_or_default();
            let more = difference(bare, time);
            let percentile = |percent| sample.percentile(percent).map(show).unwrap_or_default();
            table.row([
                subject.name.clone(),
                before.to_owned(),
                show(time),
                percentile(10),
                percentile(90),
                sample.count().to_string(),
                if way == 0 { String::new() } else { more },
                format!("{} ×", ratio(median(way).unwrap_or_default(), time)),
            ]);
        }
    }
    if sites.len() < 2 {
        table.row(["docker", "not installed"]);
    }
    for site in sites {
        site.ok(&["network", "rm", "net"])?;
        site.finish()?;
    }
    Ok(table)
}
