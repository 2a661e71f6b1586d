//! Measures what the groups of a default container cost: `cargo run -p cgroup --example cgroup-cost`.
#![expect(clippy::print_stdout, reason = "a tool for people")]

use std::time::{Duration, Instant};

use cgroup::{Cgroup, DeviceAccess, DeviceKind, DeviceRule, Layout, Limits};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const ROUNDS: u32 = 200;
    let start = Instant::now();
    let layout = Layout::detect()?;
    println!("detect                {:>7} us", start.elapsed().as_micros());
    let parent = format!("/berth-cost-{}", std::process::id());
    let limits = Limits {
        pids: Some(2048),
        devices: Some(
            [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)]
                .map(|(major, minor)| DeviceRule {
                    allow: true,
                    kind: DeviceKind::Character,
                    major: Some(major),
                    minor: Some(minor),
                    access: DeviceAccess::ALL,
                })
                .to_vec(),
        ),
        ..Limits::default()
    };
    let mut sums = [Duration::ZERO; 5];
    for round in 0..ROUNDS {
        let path = format!("{parent}/{round}");
        let mut clock = Instant::now();
        let mut lap = |slot: usize| {
            let now = Instant::now();
            sums[slot] += now - clock;
            clock = now;
        };
        let group = Cgroup::create(&layout, &path)?;
        lap(0);
        group.apply(&limits)?;
        lap(1);
        let entry = group.entry()?;
        lap(2);
        let joined = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let clock = Instant::now();
                    entry.join_v1().map(|()| clock.elapsed())
                })
                .join()
        });
        sums[3] += joined.map_err(|_panic| "the thread failed")??;
        drop(entry);
        let clock = Instant::now();
        group.remove(Duration::from_secs(5))?;
        sums[4] += clock.elapsed();
    }
    for (name, sum) in ["create", "limits", "entry files", "join (self, v1)", "remove"]
        .iter()
        .zip(sums)
    {
        println!("{name:<20} {:>8} us", (sum / ROUNDS).as_micros());
    }
    Cgroup::remove_path(&layout, &parent, Duration::from_secs(5))?;
    Ok(())
}
