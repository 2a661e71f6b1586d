//! Restart policies: `no`, `on-failure`, `always`, `unless-stopped`; also while no daemon runs.

use std::time::Duration;

use anyhow::Result;
use testkit::Daemon;

#[test]
fn on_failure_counts() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--restart",
        "on-failure:2",
        "busybox",
        "sh",
        "-c",
        "echo run; exit 3",
    ])?;
    daemon.wait_for("c1", "{{.State.Status}} {{.RestartCount}}", "exited 2")?;
    assert_eq!(daemon.inspect("c1", "{{.State.ExitCode}}")?, "3");
    assert_eq!(daemon.ok(&["logs", "c1"])?, "run\nrun\nrun");
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "fine",
        "--restart",
        "on-failure",
        "busybox",
        "true",
    ])?;
    daemon.wait_for("fine", "{{.State.Status}} {{.RestartCount}}", "exited 0")?;
    daemon.finish()
}

#[test]
fn always_until_stopped() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "echo run; sleep 0.1",
    ])?;
    testkit::until("three runs", Duration::from_secs(20), || {
        Ok(daemon.ok(&["logs", "c1"])?.lines().count() >= 3)
    })?;
    daemon.ok(&["stop", "-t", "1", "c1"])?;
    let count = daemon.inspect("c1", "{{.State.Status}} {{.RestartCount}}")?;
    assert!(count.starts_with("exited "), "{count}");
    daemon.finish()
}

#[test]
fn policy_is_kept_while_no_daemon_runs() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    let bind = format!("{}:/shared", shared.display());
    let program =
        "echo run >> /shared/runs; while [ ! -e /shared/go ]; do sleep 0.02; done; sleep 0.1; exit 1";
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--restart",
        "always",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
        program,
    ])?;
    testkit::until("the first run", Duration::from_secs(10), || {
        Ok(shared.join("runs").exists())
    })?;
    daemon.kill()?;
    testkit::image::put(&shared.join("go"), "")?;
    testkit::until("more runs without a daemon", Duration::from_secs(20), || {
        Ok(std::fs::read_to_string(shared.join("runs"))?.lines().count() >= 3)
    })?;
    daemon.launch()?;
    let count: u32 = daemon.inspect("c1", "{{.RestartCount}}")?.parse()?;
    assert!(count >= 2, "{count} restarts are known");
    daemon.finish()
}

#[test]
fn unless_stopped_stays_stopped_over_a_restart_of_the_daemon() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    for (name, policy) in [("kept-down", "unless-stopped"), ("comes-back", "always")] {
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            policy,
            "busybox",
            "sleep",
            "1000",
        ])?;
        daemon.ok(&["stop", "-t", "0", name])?;
    }
    daemon.terminate()?;
    daemon.launch()?;
    daemon.wait_for("comes-back", "{{.State.Status}}", "running")?;
    assert_eq!(daemon.inspect("kept-down", "{{.State.Status}}")?, "exited");
    daemon.finish()
}

#[test]
fn rm_and_restart_do_not_go_together() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let output = daemon
        .berth(&["run", "--rm", "--restart", "always", "busybox", "true"])?
        .expect(125)?;
    assert!(output.stderr.contains("onflicting options"), "{}", output.stderr);
    daemon
        .berth(&["run", "--restart", "sometimes", "busybox", "true"])?
        .expect(125)?;
    daemon.finish()
}

/// With a shared PID namespace each run has a new cgroup, made from the document that the shim keeps.
#[test]
fn what_was_updated_holds_for_the_next_run() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--pid",
        "host",
        "--restart",
        "always",
        "-m",
        "64m",
        "busybox",
        "sleep",
        "1000",
    ])?;
    let first = daemon.inspect("c1", "{{.State.Pid}}")?;
    daemon.ok(&["update", "-m", "80m", "--memory-swap", "-1", "c1"])?;
    // The exec belongs to the container and may end with it.
    daemon.berth(&["exec", "c1", "kill", "-9", &first])?;
    daemon.wait_for("c1", "{{.RestartCount}} {{.State.Status}}", "1 running")?;
    assert_ne!(daemon.inspect("c1", "{{.State.Pid}}")?, first);
    let program =
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    assert_eq!(
        daemon.ok(&["exec", "c1", "sh", "-c", program])?,
        (80u64 << 20).to_string()
    );
    daemon.ok(&["update", "--restart", "no", "c1"])?;
    let second = daemon.inspect("c1", "{{.State.Pid}}")?;
    daemon.berth(&["exec", "c1", "kill", "-9", &second])?;
    daemon.wait_for("c1", "{{.State.Status}}", "exited")?;
    daemon.finish()
}
