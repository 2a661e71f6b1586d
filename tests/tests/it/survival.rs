//! Killed at any moment, nothing acknowledged is lost and nothing is left (F-01 to F-04 of docs/threat-model.md).

use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::{Daemon, Start, residue};

/// Reached only when a run ended without its shim's help.
const AFTER_A_LOST_SHIM: &str = "exit.clean";

/// The steps at which the daemon can be killed, from the code itself.
fn steps(verbs: &[&str]) -> Vec<&'static str> {
    engine::failpoint::STEPS
        .iter()
        .copied()
        .filter(|step| *step != AFTER_A_LOST_SHIM)
        .filter(|step| verbs.iter().any(|verb| step.split('.').next() == Some(verb)))
        .collect()
}

#[test]
fn f01_every_step_has_a_test() {
    let tested = steps(&[
        "create", "start", "exec", "stop", "exit", "commit", "rollback", "remove", "network",
    ]);
    assert_eq!(
        tested.len() + 1,
        engine::failpoint::STEPS.len(),
        "a new verb needs a test here"
    );
}

/// Starts the daemon so that it is killed at `step`.
fn relaunch_with(daemon: &mut Daemon, step: Option<&str>) -> Result<()> {
    let environment = step.map(|step| ("BERTH_FAILPOINT".to_owned(), step.to_owned()));
    daemon.set_start(Start {
        arguments: Vec::new(),
        environment: environment.into_iter().collect(),
        host: None,
    });
    daemon.launch().map(drop)
}

/// Kills the daemon at `step` while `act` runs, starts it again, and returns whether the step was reached.
fn killed_at(daemon: &mut Daemon, step: &str, act: impl Fn(&Daemon) -> Result<()>) -> Result<()> {
    daemon.terminate()?;
    relaunch_with(daemon, Some(step))?;
    act(daemon).with_context(|| format!("killed at {step}"))?;
    daemon
        .wait_for_end(Duration::from_secs(10))
        .with_context(|| format!("the daemon was not killed at {step}"))?;
    relaunch_with(daemon, None)
}

/// The next operation works, and a container that is there is whole.
fn is_sound(daemon: &Daemon, step: &str) -> Result<()> {
    let text = daemon.ok(&["run", "--rm", "busybox", "echo", "sound"])?;
    assert_eq!(text, "sound", "after a kill at {step}");
    for id in daemon.ok(&["ps", "-aq", "--no-trunc"])?.lines() {
        let state = daemon.inspect(id, "{{.State.Status}}")?;
        if !["created", "running", "exited"].contains(&state.as_str()) {
            bail!("{id} is {state} after a kill at {step}");
        }
        daemon.ok(&["rm", "-f", id])?;
    }
    // What nobody waits for is removed after the reply.
    testkit::until("cgroups and mounts to be removed", Duration::from_secs(5), || {
        Ok(residue::cgroups(daemon.place())?.is_empty() && residue::mounts(daemon.place())?.is_empty())
    })
    .with_context(|| format!("after a kill at {step}"))?;
    Ok(())
}

#[test]
fn f01_killed_at_every_step_of_create_and_start() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    for step in steps(&["create", "start"]) {
        killed_at(&mut daemon, step, |daemon| {
            daemon.berth(&[
                "create", "--name", "c1", "-v", "/data", "busybox", "sleep", "1000",
            ])?;
            daemon.berth(&["start", "c1"]).map(drop)
        })?;
        is_sound(&daemon, step)?;
    }
    daemon.finish()
}

#[test]
fn f01_killed_at_every_step_of_run() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    for step in steps_of_run(&[]) {
        killed_at(&mut daemon, step, |daemon| {
            daemon
                .berth(&[
                    "run", "-d", "--name", "c1", "-v", "/data", "busybox", "sleep", "1000",
                ])
                .map(drop)
        })?;
        is_sound(&daemon, step)?;
    }
    daemon.finish()
}

/// Returns the steps of a `run`, which records what it creates with the start, and those of more verbs.
fn steps_of_run(more: &[&str]) -> Vec<&'static str> {
    let mut steps = steps(&[&["create", "start"], more].concat());
    steps.retain(|step| *step != "create.record");
    steps
}

#[test]
fn f01_killed_at_every_step_of_exec() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    let id = daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    for step in steps(&["exec"]) {
        killed_at(&mut daemon, step, |daemon| {
            daemon.berth(&["exec", "c1", "true"]).map(drop)
        })?;
        assert_eq!(
            daemon.inspect("c1", "{{.Id}} {{.State.Pid}}")?,
            format!("{id} {pid}"),
            "{step}"
        );
        assert_eq!(daemon.ok(&["exec", "c1", "echo", "works"])?, "works", "{step}");
    }
    daemon.finish()
}

#[test]
fn f01_killed_at_every_step_of_stop_and_exit() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    for step in steps(&["stop", "exit"]) {
        daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
        killed_at(&mut daemon, step, |daemon| {
            daemon.berth(&["stop", "-t", "0", "c1"]).map(drop)
        })?;
        // What the killed daemon had begun may or may not be done; asked again, it is.
        daemon.ok(&["stop", "-t", "0", "c1"])?;
        daemon
            .wait_for("c1", "{{.State.Status}} {{.State.ExitCode}}", "exited 137")
            .with_context(|| format!("after a kill at {step}"))?;
        is_sound(&daemon, step)?;
    }
    daemon.finish()
}

#[test]
fn f01_killed_at_every_step_of_remove() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    for step in steps(&["remove"]) {
        daemon.ok(&["run", "--name", "c1", "busybox", "true"])?;
        killed_at(&mut daemon, step, |daemon| daemon.berth(&["rm", "c1"]).map(drop))?;
        daemon.berth(&["rm", "c1"])?;
        assert_eq!(daemon.ok(&["ps", "-aq"])?, "", "after a kill at {step}");
        daemon.ok(&["run", "--rm", "--name", "c1", "busybox", "true"])?;
        is_sound(&daemon, step)?;
    }
    daemon.finish()
}

#[test]
fn f01_killed_at_every_step_of_rollback() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    for step in steps(&["rollback"]) {
        daemon.ok(&["run", "--name", "c1", "busybox", "sh", "-c", "echo x > /made"])?;
        killed_at(&mut daemon, step, |daemon| {
            daemon.berth(&["rollback", "c1"]).map(drop)
        })?;
        // The record said what is to be before the first step: the next daemon has finished it.
        assert_eq!(daemon.ok(&["diff", "c1"])?, "", "after a kill at {step}");
        daemon.ok(&["start", "c1"])?;
        daemon.ok(&["wait", "c1"])?;
        assert_eq!(daemon.ok(&["diff", "c1"])?, "A /made", "after a kill at {step}");
        is_sound(&daemon, step)?;
    }
    daemon.finish()
}

#[test]
fn f01_killed_in_an_auto_removed_run() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    for step in steps_of_run(&["exit", "remove"]) {
        killed_at(&mut daemon, step, |daemon| {
            daemon.berth(&["run", "--rm", "busybox", "true"]).map(drop)
        })?;
        testkit::until("auto-removal to be finished", Duration::from_secs(5), || {
            Ok(daemon.ok(&["ps", "-q"])?.is_empty())
        })?;
        is_sound(&daemon, step)?;
    }
    daemon.finish()
}

#[test]
fn f02_a_killed_shim_ends_its_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "4242"])?;
    let pid = kill_shim_of(&daemon, "c1")?;
    daemon.wait_for("c1", "{{.State.Status}} {{.State.ExitCode}}", "exited 137")?;
    testkit::until("the orphan to be gone", Duration::from_secs(5), || {
        Ok(!std::path::Path::new(&format!("/proc/{pid}")).exists())
    })?;
    assert_eq!(daemon.ok(&["start", "c1"])?, "c1", "it can be started again");
    daemon.finish()
}

#[test]
fn f01_killed_while_cleaning_after_a_lost_shim() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "4242"])?;
    killed_at(&mut daemon, AFTER_A_LOST_SHIM, |daemon| {
        kill_shim_of(daemon, "c1").map(drop)
    })?;
    daemon.wait_for("c1", "{{.State.Status}} {{.State.ExitCode}}", "exited 137")?;
    is_sound(&daemon, AFTER_A_LOST_SHIM)?;
    daemon.finish()
}

/// Kills the shim of a running container; returns the pid of its PID 1.
fn kill_shim_of(daemon: &Daemon, container: &str) -> Result<i32> {
    let pid: i32 = daemon.inspect(container, "{{.State.Pid}}")?.parse()?;
    let shim = rustix::process::Pid::from_raw(parent_of(pid)?).context("pid")?;
    rustix::process::kill_process(shim, rustix::process::Signal::KILL)?;
    Ok(pid)
}

fn parent_of(pid: i32) -> Result<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(')').context("stat")?.1;
    Ok(rest.split_whitespace().nth(1).context("ppid")?.parse()?)
}

#[test]
fn f03_exits_while_no_daemon_runs_are_known() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    let shared = daemon.directory().join("shared");
    std::fs::create_dir(&shared)?;
    let bind = format!("{}:/shared", shared.display());
    for code in 0..8 {
        let program = format!("while [ ! -e /shared/go ]; do sleep 0.02; done; echo bye {code}; exit {code}");
        let name = format!("c{code}");
        daemon.ok(&[
            "run", "-d", "--name", &name, "-v", &bind, "busybox", "sh", "-c", &program,
        ])?;
    }
    daemon.kill()?;
    testkit::image::put(&shared.join("go"), "")?;
    testkit::until("all containers to end", Duration::from_secs(20), || {
        let left = residue::processes(daemon.place())?;
        Ok(!left.iter().any(|process| process.command.contains("/shared/go")))
    })?;
    daemon.launch()?;
    for code in 0..8 {
        let name = format!("c{code}");
        daemon.wait_for(
            &name,
            "{{.State.Status}} {{.State.ExitCode}}",
            &format!("exited {code}"),
        )?;
        assert_eq!(daemon.ok(&["logs", &name])?, format!("bye {code}"));
    }
    daemon.finish()
}

#[test]
fn f04_running_containers_do_not_notice() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    let program = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.005; done";
    daemon.ok(&["run", "-d", "-i", "--name", "c1", "busybox", "sh", "-c", program])?;
    daemon.wait_for_log("c1", "line 10")?;
    let before = daemon.inspect("c1", "{{.State.Pid}} {{.State.StartedAt}}")?;
    for _ in 0..5 {
        daemon.crash()?;
        assert_eq!(
            daemon.inspect("c1", "{{.State.Pid}} {{.State.StartedAt}}")?,
            before
        );
        assert_eq!(daemon.ok(&["exec", "c1", "echo", "exec works"])?, "exec works");
    }
    daemon.terminate()?;
    daemon.launch()?;
    assert_eq!(
        daemon.inspect("c1", "{{.State.Pid}} {{.State.StartedAt}}")?,
        before
    );
    daemon.ok(&["kill", "c1"])?;
    let log = daemon.ok(&["logs", "c1"])?;
    for (index, line) in log.lines().enumerate() {
        assert_eq!(line, format!("line {}", index + 1), "a gap or a doubled line");
    }
    daemon.finish()
}

#[test]
fn f04_attach_works_again() -> Result<()> {
    let mut daemon = Daemon::with_busybox()?;
    let program = "while read line; do echo \"got $line\"; [ \"$line\" = end ] && exit 3; done";
    daemon.ok(&["run", "-d", "-i", "--name", "c1", "busybox", "sh", "-c", program])?;
    daemon.crash()?;
    let output = daemon.berth_with(&["attach", "c1"], b"hello\nend\n")?.expect(3)?;
    assert_eq!(output.stdout, "got hello\ngot end\n");
    daemon.finish()
}

#[test]
fn two_daemons_do_not_share_a_data_root() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let other = daemon.directory().join("other.sock");
    let mut command = daemon.daemon_command()?;
    command.arg("--host").arg(format!("unix://{}", other.display()));
    let output = testkit::command::run(&mut command, b"")?;
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("in use"), "{}", output.stderr);
    assert_eq!(
        daemon.ok(&["run", "--rm", "busybox", "echo", "unharmed"])?,
        "unharmed"
    );
    daemon.finish()
}
