//! One container from nothing to gone: `run --rm --network none busybox true`, the whole process of the command line.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Effort;
use crate::peer::{Bench, Subject, Users};
use crate::runner::{Hierarchies, Runner};
use crate::sample::{Sample, ratio, show};
use crate::table::Table;

/// Measures the floor, Berth and all peers in turn.
pub fn measure(effort: Effort) -> Result<Table> {
    let bench = Bench::set_up(true)?;
    let mut subjects = vec![
        bench.berth_run(&[])?,
        bench.floor("floor: all namespaces but net", &["--user", "--time"])?,
        bench.floor("floor with net", &["--user", "--time", "--net"])?,
        bench.floor("floor without user and time", &[])?,
    ];
    let mut host_users = bench.berth_run(&["--userns", "host"])?;
    host_users.name = "berth, --userns host".into();
    subjects.push(host_users);
    let mut missing = Vec::new();
    for (runtime, users) in [
        ("crun", Users::Own),
        ("crun", Users::Host),
        ("runc", Users::Own),
        ("runc", Users::Host),
    ] {
        match bench.bundle_run(runtime, users)? {
            Some(subject) => subjects.push(subject),
            None => missing.push(runtime),
        }
    }
    match bench.podman_run()? {
        Some(subject) => subjects.push(subject),
        None => missing.push("podman"),
    }
    match bench.docker_run() {
        Some(subject) => subjects.push(subject),
        None => missing.push("docker"),
    }
    let samples = take_turns(&subjects, effort.of(20, 300), Duration::ZERO)?;
    let table = tabulate(
        "run --rm --network none busybox true",
        &subjects,
        &samples,
        &missing,
    )?;
    bench.finish()?;
    Ok(table)
}

/// Runs all subjects one after the other, `turns` times, each after a `rest` of the machine. A subject that fails at its first
/// run is left out, with its reason on stderr.
pub fn take_turns(subjects: &[Subject], turns: usize, rest: Duration) -> Result<Vec<Sample>> {
    let mut plain = Runner::start(Hierarchies::AsTheyAre)?;
    let mut without_unified = Runner::start(Hierarchies::WithoutUnified)?;
    let mut samples = vec![Sample::default(); subjects.len()];
    let mut broken = vec![false; subjects.len()];
    // The first two turns warm caches and are not counted.
    for turn in 0..turns + 2 {
        for (index, subject) in subjects.iter().enumerate() {
            if broken[index] || turn % subject.every != 0 && turn > 1 {
                continue;
            }
            let runner = match subject.hierarchies {
                Hierarchies::AsTheyAre => &mut plain,
                Hierarchies::WithoutUnified => &mut without_unified,
            };
            std::thread::sleep(rest);
            match runner.time(&subject.line) {
                Ok(time) if turn > 1 => samples[index].add(time),
                Ok(_) => {}
                Err(error) if turn == 0 && index > 0 => {
                    broken[index] = true;
                    let note = format!("{}: {error:#}\n", subject.name);
                    std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes())?;
                }
                Err(error) => return Err(error).context(subject.name.clone()),
            }
        }
    }
    Ok(samples)
}

/// Writes medians and what each is of the first subject's.
pub fn tabulate(title: &str, subjects: &[Subject], samples: &[Sample], missing: &[&str]) -> Result<Table> {
    let own = samples
        .first()
        .and_then(Sample::median)
        .context("no time of berth")?;
    let mut table = Table::new(title, &["engine", "median", "10 %", "90 %", "runs", "of berth's"]);
    for (subject, sample) in subjects.iter().zip(samples) {
        let cell = |percent| {
            sample
                .percentile(percent)
                .map_or_else(|| "failed".to_owned(), show)
        };
        let of_own = sample
            .median()
            .map_or_else(String::new, |median| format!("{} ×", ratio(own, median)));
        table.row([
            subject.name.clone(),
            cell(50),
            cell(10),
            cell(90),
            sample.count().to_string(),
            of_own,
        ]);
    }
    for name in missing {
        table.row([*name, "not installed"]);
    }
    Ok(table)
}
