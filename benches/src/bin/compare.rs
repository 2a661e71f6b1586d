//! Compares Berth with the floor and with other engines: `cargo xtask bench [--quick] [--count N] [--list] [ROW…]`.
//!
//! Prints one markdown table per row on stdout, and the machine it was measured on.

use std::io::Write;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use benches::row::{Effort, ROWS};
use benches::runner;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = if arguments.first().is_some_and(|first| first == "--runner") {
        runner::serve()
    } else {
        compare(&arguments)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "compare: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &[String]) -> Result<()> {
    let mut output = std::io::stdout();
    let mut effort = Effort {
        quick: false,
        count: None,
    };
    let mut wanted = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => effort.quick = true,
            "--count" => {
                let count = arguments.next().context("--count needs a number")?;
                effort.count = Some(count.parse().context("--count")?);
            }
            "--list" => {
                for (name, _) in ROWS {
                    writeln!(output, "{name}")?;
                }
                return Ok(());
            }
            name => {
                let row = ROWS.iter().find(|(known, _)| *known == name);
                wanted.push(row.with_context(|| format!("there is no row \"{name}\": see --list"))?);
            }
        }
    }
    if wanted.is_empty() {
        wanted.extend(ROWS);
    }
    writeln!(output, "{}\n", machine())?;
    for (name, measure) in wanted {
        let table = measure(effort).with_context(|| format!("row \"{name}\""))?;
        writeln!(output, "{}", table.render())?;
    }
    Ok(())
}

/// One line on the machine and one on the versions of the peers.
fn machine() -> String {
    let first_line = |program: &str, arguments: &[&str]| -> Option<String> {
        let output = Command::new(program).args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(str::to_owned)
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = first_line("uname", &["-sr"]).unwrap_or_default();
    let date = first_line("date", &["-u", "+%F %H:%M UTC"]).unwrap_or_default();
    let versions: Vec<_> = [
        ("crun", &["--version"][..]),
        ("runc", &["--version"]),
        ("podman", &["--version"]),
        ("dockerd", &["--version"]),
        ("docker", &["--version"]),
    ]
    .into_iter()
    .filter_map(|(program, arguments)| first_line(program, arguments))
    .collect();
    format!(
        "{date}, {kernel}, {processors} processors, load {}\n\n{}",
        load.trim(),
        versions.join("; ")
    )
}
