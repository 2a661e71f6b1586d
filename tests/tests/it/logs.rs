//! `berth logs`: what a container printed, when, and as it happens.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Result;
use testkit::{Daemon, Start};

#[test]
fn streams_stay_apart() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2",
    ])?;
    daemon.ok(&["wait", "c1"])?;
    let output = daemon.berth(&["logs", "c1"])?.expect(0)?;
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    daemon.finish()
}

#[test]
fn tail_and_timestamps() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "--name", "c1", "busybox", "seq", "1", "100"])?;
    assert_eq!(daemon.ok(&["logs", "c1"])?.lines().count(), 100);
    assert_eq!(daemon.ok(&["logs", "--tail", "2", "c1"])?, "99\n100");
    assert_eq!(daemon.ok(&["logs", "-n", "0", "c1"])?, "");
    assert_eq!(daemon.ok(&["logs", "--tail", "all", "c1"])?.lines().count(), 100);
    let stamped = daemon.ok(&["logs", "-t", "--tail", "1", "c1"])?;
    let (time, line) = stamped.split_once(' ').unwrap();
    assert!(
        time.starts_with("20") && time.ends_with('Z') && line == "100",
        "{stamped}"
    );
    daemon.finish()
}

#[test]
fn since_and_until() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "echo early; sleep 0.3; echo late",
    ])?;
    let stamped = daemon.ok(&["logs", "-t", "c1"])?;
    let late = stamped.lines().last().unwrap().split(' ').next().unwrap();
    assert_eq!(daemon.ok(&["logs", "--since", late, "c1"])?, "late");
    assert_eq!(
        daemon.ok(&["logs", "--until", late, "c1"])?.lines().next(),
        Some("early")
    );
    assert_eq!(daemon.ok(&["logs", "--since", "1h", "c1"])?.lines().count(), 2);
    assert_eq!(daemon.ok(&["logs", "--until", "1h", "c1"])?, "");
    daemon.finish()
}

#[test]
fn follow_shows_lines_as_they_come_and_ends_with_the_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "echo first; read go; echo second";
    daemon.ok(&["run", "-d", "-i", "--name", "c1", "busybox", "sh", "-c", program])?;
    let mut follow = daemon.command(["logs", "-f", "c1"])?;
    let mut child = follow.stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap()?, "first");
    daemon.berth_with(&["attach", "c1"], b"go\n")?.expect(0)?;
    assert_eq!(lines.next().unwrap()?, "second");
    assert!(lines.next().is_none());
    assert_eq!(testkit::command::wait(&mut child, "logs -f")?, 0);
    daemon.finish()
}

#[test]
fn rotation_keeps_the_newest_and_the_limit() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let options = ["--log-opt", "max-size=100k", "--log-opt", "max-file=2"];
    let program = ["busybox", "seq", "1", "20000"];
    daemon.ok(&[&["run", "--name", "c1"][..], &options, &program].concat())?;
    let log = daemon.ok(&["logs", "c1"])?;
    let numbers: Vec<u32> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&20_000));
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "a gap in the log"
    );
    assert!(numbers.len() < 20_000, "nothing was dropped");
    let path = daemon.inspect("c1", "{{.LogPath}}")?;
    let size: u64 = ["", ".1", ".2"]
        .iter()
        .filter_map(|ending| std::fs::metadata(format!("{path}{ending}")).ok())
        .map(|file| file.len())
        .sum();
    assert!(size <= 220_000, "{size} bytes");
    daemon.finish()
}

#[test]
fn drivers_local_and_none() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "--name",
        "local",
        "--log-driver",
        "local",
        "busybox",
        "echo",
        "kept",
    ])?;
    assert_eq!(daemon.ok(&["logs", "local"])?, "kept");
    daemon.ok(&[
        "run",
        "--name",
        "none",
        "--log-driver",
        "none",
        "busybox",
        "echo",
        "lost",
    ])?;
    let output = daemon.berth(&["logs", "none"])?.expect(1)?;
    assert!(
        output.stderr.contains("does not support reading"),
        "{}",
        output.stderr
    );
    let output = daemon
        .berth(&["run", "--rm", "--log-driver", "nosuch", "busybox", "true"])?
        .expect(125)?;
    assert!(output.stderr.contains("nosuch"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn long_lines_and_missing_line_ends() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'no end'";
    daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", program])?;
    let output = daemon.berth(&["logs", "c1"])?.expect(0)?;
    assert_eq!(output.stdout, format!("{}\nno end", "x".repeat(100_000)));
    daemon.finish()
}

#[test]
fn output_before_the_client_came_is_not_lost() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["create", "--name", "c1", "busybox", "sh", "-c", "seq 1 5000"])?;
    let output = daemon.berth(&["start", "-a", "c1"])?.expect(0)?;
    assert_eq!(output.stdout.lines().count(), 5000);
    testkit::until("the log to be whole", Duration::from_secs(5), || {
        Ok(daemon.ok(&["logs", "c1"])?.lines().count() == 5000)
    })?;
    daemon.finish()
}

/// I13: the log of a removed container is there for a while, bounded, by its name and its id, and only when it is asked for.
#[test]
fn i13_logs_outlive_their_container() -> Result<()> {
    let start = Start {
        arguments: vec!["--kept-log-opt".to_owned(), "max-containers=3".to_owned()],
        environment: Vec::new(),
        host: None,
    };
    let mut daemon = Daemon::with_busybox_and(start)?;
    let script = "echo out $0; echo err $0 >&2";
    daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", script, "1"])?;
    let id = daemon.ok(&["rm", "c1"]).and(daemon.ok(&["ps", "-aq"]))?;
    assert_eq!(id, "");
    let gone = daemon.berth(&["logs", "c1"])?.expect(1)?;
    assert!(gone.stderr.contains("No such container: c1"), "{}", gone.stderr);
    kept(&daemon, "c1", "out 1\n", "err 1\n")?;
    // The newest of that name; also of one that removes itself, and by another driver.
    let options = ["--log-driver", "local", "--log-opt", "max-size=1m"];
    let run = [
        &["run", "--rm", "--name", "c1"],
        &options[..],
        &["busybox", "sh", "-c", script, "2"],
    ]
    .concat();
    daemon.ok(&run)?;
    kept(&daemon, "c1", "out 2\n", "err 2\n")?;
    assert_eq!(daemon.ok(&["logs", "--name", "-n", "2", "-f", "c1"])?, "out 2");
    // A living container of that name comes first; the log of a killed one is kept too.
    let id = daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "echo alive; sleep 1000",
    ])?;
    daemon.wait_for_log("c1", "alive")?;
    kept(&daemon, "c1", "alive\n", "")?;
    daemon.crash()?;
    daemon.ok(&["rm", "-f", "c1"])?;
    kept(&daemon, &id[..12], "alive\n", "")?;
    // Over a restart of the daemon, and never more than three.
    daemon.crash()?;
    kept(&daemon, "c1", "alive\n", "")?;
    for number in ["c3", "c4", "c5"] {
        daemon.ok(&["run", "--rm", "--name", number, "busybox", "echo", number])?;
        kept(&daemon, number, &format!("{number}\n"), "")?;
    }
    daemon.ok(&["run", "--rm", "--name", "silent", "busybox", "true"])?;
    for gone in [id.as_str(), "c1", "silent"] {
        daemon.berth(&["logs", "--name", gone])?.expect(1)?;
    }
    let directory = daemon.place().data_root().join("logs");
    testkit::until("old logs to be removed", Duration::from_secs(5), || {
        Ok(std::fs::read_dir(&directory)?.count() == 3)
    })?;
    daemon.finish()
}

/// Files are moved after the reply to the removal.
fn kept(daemon: &Daemon, name: &str, stdout: &str, stderr: &str) -> Result<()> {
    testkit::until("the log to be kept", Duration::from_secs(5), || {
        let output = daemon.berth(&["logs", "--name", name])?;
        Ok(output.code == 0 && output.stdout == stdout && output.stderr == stderr)
    })
}
