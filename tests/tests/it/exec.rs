//! `berth exec`: another process in a running container.

use anyhow::Result;
use testkit::Daemon;

fn running() -> Result<Daemon> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "c1",
        "-e",
        "FROM=container",
        "busybox",
        "sleep",
        "1000",
    ])?;
    Ok(daemon)
}

#[test]
fn exec_sees_the_container() -> Result<()> {
    let daemon = running()?;
    let output = daemon
        .berth(&["exec", "c1", "sh", "-c", "echo $FROM; echo err >&2; hostname"])?
        .expect(0)?;
    let id = daemon.inspect("c1", "{{.Id}}")?;
    assert_eq!(output.stdout, format!("container\n{}\n", &id[..12]));
    assert_eq!(output.stderr, "err\n");
    daemon.finish()
}

#[test]
fn exec_flags() -> Result<()> {
    let daemon = running()?;
    let text = daemon.ok(&[
        "exec",
        "-e",
        "MORE=1",
        "-w",
        "/tmp",
        "-u",
        "app",
        "c1",
        "sh",
        "-c",
        "echo $MORE; pwd; id",
    ])?;
    assert_eq!(
        text,
        "1\n/tmp\nuid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"
    );
    daemon.finish()
}

#[test]
fn exec_stdin_reaches_the_program() -> Result<()> {
    let daemon = running()?;
    let input = "line\n".repeat(50_000);
    let output = daemon.berth_with(&["exec", "-i", "c1", "wc", "-l"], input.as_bytes())?;
    assert_eq!(output.text()?, "50000");
    daemon.finish()
}

#[test]
fn detached_exec_runs_on() -> Result<()> {
    let daemon = running()?;
    assert_eq!(
        daemon.ok(&["exec", "-d", "c1", "sh", "-c", "echo done > /tmp/mark"])?,
        ""
    );
    testkit::until(
        "the detached exec to write",
        std::time::Duration::from_secs(5),
        || Ok(daemon.berth(&["exec", "c1", "cat", "/tmp/mark"])?.stdout == "done\n"),
    )?;
    daemon.finish()
}

#[test]
fn exec_needs_a_running_container() -> Result<()> {
    let daemon = running()?;
    daemon.ok(&["stop", "-t", "0", "c1"])?;
    let output = daemon.berth(&["exec", "c1", "true"])?.expect(1)?;
    assert!(output.stderr.contains("is not running"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn exec_is_in_every_namespace_and_the_cgroup() -> Result<()> {
    let daemon = running()?;
    let list = "for n in cgroup ipc mnt net pid time user uts; do readlink /proc/PID/ns/$n; done; cat /proc/PID/cgroup";
    let pid_one = daemon.ok(&["exec", "c1", "sh", "-c", &list.replace("PID", "1")])?;
    let own = daemon.ok(&["exec", "c1", "sh", "-c", &list.replace("PID", "self")])?;
    assert_eq!(own, pid_one);
    daemon.finish()
}

#[test]
fn many_short_execs() -> Result<()> {
    let daemon = running()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|client| {
                let daemon = &daemon;
                scope.spawn(move || -> Result<()> {
                    for turn in 0..10 {
                        let code = client * 10 + turn;
                        daemon
                            .berth(&["exec", "c1", "sh", "-c", &format!("exit {code}")])?
                            .expect(code)?;
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })?;
    let zombies = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l";
    assert_eq!(daemon.ok(&["exec", "c1", "sh", "-c", zombies])?, "0");
    daemon.finish()
}
