//! Exit codes as docker gives them: 125 ours, 126 cannot be run, 127 not found, else the program's.

use anyhow::Result;
use testkit::Daemon;

#[test]
fn the_program_decides() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for code in [0, 1, 42, 125, 255] {
        daemon
            .berth(&["run", "--rm", "busybox", "sh", "-c", &format!("exit {code}")])?
            .expect(code)?;
    }
    daemon.finish()
}

#[test]
fn ours_are_125() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for arguments in [
        &["run", "--no-such-flag", "busybox"][..],
        &["run", "--rm", "--memory", "lots", "busybox", "true"],
        &["run", "--rm", "--pull", "never", "no-such-image", "true"],
        &["run", "--rm", "Not:A:Reference", "true"],
    ] {
        let output = daemon.berth(arguments)?.expect(125)?;
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    daemon.finish()
}

#[test]
fn not_executable_is_126() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for program in ["/etc/passwd", "/etc"] {
        let output = daemon.berth(&["run", "--rm", "busybox", program])?.expect(126)?;
        assert!(output.stderr.contains(program), "{}", output.stderr);
    }
    daemon.finish()
}

#[test]
fn not_found_is_127() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for program in ["no-such-program", "/no/such/program"] {
        let output = daemon.berth(&["run", "--rm", "busybox", program])?.expect(127)?;
        assert!(output.stderr.contains(program), "{}", output.stderr);
    }
    daemon.finish()
}

#[test]
fn signals_are_128_and_more() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    daemon.ok(&["kill", "-s", "KILL", "c1"])?;
    assert_eq!(daemon.ok(&["wait", "c1"])?, "137");
    let segv = "sh -c 'kill -SEGV $$'; exit $?";
    daemon
        .berth(&["run", "--rm", "busybox", "sh", "-c", segv])?
        .expect(139)?;
    daemon.finish()
}

#[test]
fn exec_has_the_same_codes() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    daemon.berth(&["exec", "c1", "sh", "-c", "exit 12"])?.expect(12)?;
    daemon.berth(&["exec", "c1", "/etc/passwd"])?.expect(126)?;
    daemon.berth(&["exec", "c1", "no-such-program"])?.expect(127)?;
    daemon
        .berth(&["exec", "c1", "sh", "-c", "kill -KILL $$"])?
        .expect(137)?;
    daemon.berth(&["exec", "missing", "true"])?.expect(1)?;
    daemon.finish()
}

#[test]
fn signals_to_the_client_reach_the_container() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "trap 'exit 21' TERM; echo ready; while :; do sleep 0.05; done";
    let mut command = daemon.command(["run", "--name", "c1", "busybox", "sh", "-c", program])?;
    let mut child = command.stdout(std::process::Stdio::null()).spawn()?;
    testkit::until(
        "the container to be ready",
        std::time::Duration::from_secs(10),
        || Ok(daemon.berth(&["logs", "c1"])?.stdout.contains("ready")),
    )?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id())?).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    assert_eq!(testkit::command::wait(&mut child, "berth run")?, 21);
    daemon.finish()
}
