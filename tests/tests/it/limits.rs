//! Resource limits: set where the kernel reads them, and felt by the program.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::Daemon;

/// The container's group in the hierarchy that has `file`, v1 or v2.
fn group_file(daemon: &Daemon, container: &str, names: &[&str]) -> Result<PathBuf> {
    let id = daemon.inspect(container, "{{.Id}}")?;
    let parent = daemon.place().cgroup_parent();
    let mounts = testkit::residue::cgroup_mounts()?;
    let group = |mount: &PathBuf| mount.join(parent.trim_start_matches('/')).join(&id);
    names
        .iter()
        .flat_map(|name| {
            mounts
                .iter()
                .map(|mount| group(mount).join(name))
                .collect::<Vec<_>>()
        })
        .find(|path| path.exists())
        .with_context(|| format!("no {names:?} of {container}"))
}

fn read(path: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(path)?.trim().to_owned())
}

#[test]
fn out_of_memory_is_137_and_says_so() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "exec head -c 200m /dev/zero | tail";
    let output = daemon.berth(&[
        "run",
        "--name",
        "c1",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        "busybox",
        "sh",
        "-c",
        program,
    ])?;
    assert_eq!(output.code, 137, "{}", output.stderr);
    assert_eq!(
        daemon.inspect("c1", "{{.State.OOMKilled}} {{.State.ExitCode}}")?,
        "true 137"
    );
    daemon.finish()
}

#[test]
fn memory_limits_reach_the_kernel() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "-m",
        "64m",
        "--memory-reservation",
        "32m",
        "busybox",
        "sleep",
        "1000",
    ])?;
    let limit = group_file(&daemon, "c1", &["memory.limit_in_bytes", "memory.max"])?;
    assert_eq!(read(&limit)?, "67108864");
    let low = group_file(&daemon, "c1", &["memory.soft_limit_in_bytes", "memory.low"])?;
    assert_eq!(read(&low)?, "33554432");
    daemon.finish()
}

#[test]
fn pids_are_limited() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "few",
        "--pids-limit",
        "10",
        "busybox",
        "sleep",
        "1000",
    ])?;
    assert_eq!(read(&group_file(&daemon, "few", &["pids.max"])?)?, "10");
    let program = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; echo all started";
    let output = daemon.berth(&["exec", "few", "sh", "-c", program])?;
    assert!(
        !output.stdout.contains("all started") || output.stderr.contains("fork"),
        "{output:?}"
    );
    daemon.ok(&["run", "-d", "--name", "default", "busybox", "sleep", "1000"])?;
    assert_eq!(read(&group_file(&daemon, "default", &["pids.max"])?)?, "2048");
    daemon.finish()
}

#[test]
fn cpu_quota_is_felt() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--cpus",
        "0.2",
        "busybox",
        "sh",
        "-c",
        "while :; do :; done",
    ])?;
    let usage = group_file(&daemon, "c1", &["cpuacct.usage", "cpu.stat"])?;
    let nanos = || -> Result<u64> {
        let text = read(&usage)?;
        match text.strip_prefix("usage_usec ") {
            Some(rest) => Ok(rest.lines().next().unwrap_or_default().parse::<u64>()? * 1000),
            None => Ok(text.parse()?),
        }
    };
    let (start, before) = (Instant::now(), nanos()?);
    testkit::until("a second of measuring", Duration::from_secs(5), || {
        Ok(start.elapsed() > Duration::from_secs(1))
    })?;
    let used = Duration::from_nanos(nanos()? - before).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!((0.1..0.3).contains(&used), "{used} of a processor");
    daemon.finish()
}

#[test]
fn shares_and_processor_sets() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "-c",
        "512",
        "--cpuset-cpus",
        "0",
        "busybox",
        "sleep",
        "1000",
    ])?;
    let shares = group_file(&daemon, "c1", &["cpu.shares", "cpu.weight"])?;
    let expected = if shares.ends_with("cpu.shares") {
        "512"
    } else {
        // As crun and newer runc count: 1024 shares are weight 100.
        "59"
    };
    assert_eq!(read(&shares)?, expected);
    assert_eq!(read(&group_file(&daemon, "c1", &["cpuset.cpus"])?)?, "0");
    assert_eq!(
        daemon.ok(&[
            "exec",
            "c1",
            "sh",
            "-c",
            "grep Cpus_allowed_list /proc/self/status | cut -f2"
        ])?,
        "0"
    );
    let output = daemon
        .berth(&["run", "--rm", "--cpuset-cpus", "0-4294967295", "busybox", "true"])?
        .expect(125)?;
    assert!(!output.stderr.is_empty());
    daemon.finish()
}

#[test]
fn ulimits_shm_and_oom_score() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let text = daemon.ok(&[
        "run",
        "--rm",
        "--ulimit",
        "nofile=100:200",
        "--shm-size",
        "16m",
        "--oom-score-adj",
        "300",
        "busybox",
        "sh",
        "-c",
        "ulimit -n; ulimit -Hn; df -k /dev/shm | tail -1 | awk '{print $2}'; cat /proc/self/oom_score_adj",
    ])?;
    assert_eq!(text, "100\n200\n16384\n300");
    daemon.finish()
}

#[test]
fn devices_are_denied_until_given() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let text = daemon.ok(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "ls /dev; mknod /tmp/disk b 254 0 2>&1; cat /tmp/disk 2>&1; true",
    ])?;
    for name in [
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin",
    ] {
        assert!(
            text.lines().any(|line| line == name),
            "/dev/{name} is missing: {text}"
        );
    }
    assert!(
        !text.contains("vda") && text.contains("Operation not permitted"),
        "{text}"
    );
    if Path::new("/dev/fuse").exists() {
        let program = "exec 3<>/dev/fuse && echo open";
        assert_eq!(
            daemon.ok(&[
                "run",
                "--rm",
                "--device",
                "/dev/fuse",
                "busybox",
                "sh",
                "-c",
                program
            ])?,
            "open"
        );
        let moved = "exec 3<>/dev/other && echo open";
        assert_eq!(
            daemon.ok(&[
                "run",
                "--rm",
                "--device",
                "/dev/fuse:/dev/other:rw",
                "busybox",
                "sh",
                "-c",
                moved
            ])?,
            "open"
        );
    }
    let output = daemon
        .berth(&["run", "--rm", "--device", "/dev/no-such", "busybox", "true"])?
        .expect(125)?;
    assert!(output.stderr.contains("/dev/no-such"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn groups_of_a_removed_container_are_gone_in_every_hierarchy() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "sleep 1000 & sleep 1000",
    ])?;
    assert!(!testkit::residue::cgroups(daemon.place())?.is_empty());
    daemon.ok(&["rm", "-f", "c1"])?;
    // What nobody waits for is removed after the reply.
    testkit::until("the groups to be removed", Duration::from_secs(2), || {
        Ok(testkit::residue::cgroups(daemon.place())?.is_empty())
    })?;
    daemon.finish()
}

#[test]
fn limits_out_of_range_are_refused() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for flags in [
        ["--memory", "1k"],
        ["--cpus", "1000"],
        ["--cpuset-cpus", "999"],
        ["--memory-swappiness", "101"],
        ["--oom-score-adj", "1001"],
    ] {
        daemon
            .berth(&["run", "--rm", flags[0], flags[1], "busybox", "true"])?
            .expect(125)?;
    }
    daemon.finish()
}

#[test]
fn update_changes_a_running_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    daemon.ok(&[
        "update",
        "--memory",
        "96m",
        "--memory-swap",
        "96m",
        "--pids-limit",
        "33",
        "c1",
    ])?;
    let limit = group_file(&daemon, "c1", &["memory.limit_in_bytes", "memory.max"])?;
    assert_eq!(read(&limit)?, "100663296");
    assert_eq!(read(&group_file(&daemon, "c1", &["pids.max"])?)?, "33");
    assert_eq!(
        daemon.inspect("c1", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}")?,
        "100663296 33"
    );
    daemon.finish()
}
