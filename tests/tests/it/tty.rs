//! A terminal: prompt, size, ctrl-c, detach keys.

use std::time::Duration;

use anyhow::Result;
use testkit::{Daemon, Pty};

fn shell(daemon: &Daemon, arguments: &[&str]) -> Result<Pty> {
    let command = daemon.command([&["run", "-it", "-e", "PS1=ready> "], arguments].concat())?;
    let pty = Pty::spawn(&command, 30, 100)?;
    pty.expect("ready> ")?;
    Ok(pty)
}

#[test]
fn a_shell_on_a_terminal() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let mut pty = shell(&daemon, &["--rm", "busybox", "sh"])?;
    pty.send("tty; test -t 0 && test -t 2 && echo is a $((1+1))-way terminal\r")?;
    pty.expect("/dev/")?;
    pty.expect("is a 2-way terminal")?;
    pty.send("exit 17\r")?;
    assert_eq!(pty.wait()?, 17);
    daemon.finish()
}

#[test]
fn size_is_passed_and_follows() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let mut pty = shell(&daemon, &["--rm", "--name", "c1", "busybox", "sh"])?;
    pty.send("stty size\r")?;
    pty.expect("30 100")?;
    pty.resize(41, 123)?;
    testkit::until(
        "the new size to arrive",
        std::time::Duration::from_secs(5),
        || Ok(daemon.ok(&["exec", "c1", "stty", "-F", "/dev/pts/0", "size"])? == "41 123"),
    )?;
    pty.send("exit\r")?;
    assert_eq!(pty.wait()?, 0);
    daemon.finish()
}

#[test]
fn ctrl_c_interrupts_the_program_inside() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let mut pty = shell(&daemon, &["--rm", "--name", "c1", "busybox", "sh"])?;
    pty.send("sleep 1000; echo code $?\r")?;
    // Only once it runs is it in the terminal's foreground: before, the shell would be interrupted in its place.
    testkit::until("the program", Duration::from_secs(20), || {
        Ok(daemon.ok(&["top", "c1"])?.contains("sleep 1000"))
    })?;
    pty.send([3])?;
    pty.send("echo still $((40+2))\r")?;
    pty.expect("still 42")?;
    pty.send("exit\r")?;
    pty.wait()?;
    daemon.finish()
}

#[test]
fn detach_keys_leave_it_running() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let mut pty = shell(&daemon, &["--name", "c1", "busybox", "sh"])?;
    pty.send("mark=$((6*7))\r")?;
    pty.send([16, 17])?;
    assert_eq!(pty.wait()?, 0);
    assert_eq!(daemon.inspect("c1", "{{.State.Running}}")?, "true");

    let mut pty = Pty::spawn(&daemon.command(["attach", "c1"])?, 24, 80)?;
    pty.send("echo mark is $mark\r")?;
    pty.expect("mark is 42")?;
    pty.send("exit 5\r")?;
    assert_eq!(pty.wait()?, 5);
    daemon.finish()
}

#[test]
fn other_detach_keys() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let mut pty = shell(
        &daemon,
        &["--name", "c1", "--detach-keys", "ctrl-x,q", "busybox", "sh"],
    )?;
    pty.send([16, 17])?;
    pty.send("echo still $((40+2))\r")?;
    pty.expect("still 42")?;
    pty.send([24, b'q'])?;
    assert_eq!(pty.wait()?, 0);
    assert_eq!(daemon.inspect("c1", "{{.State.Running}}")?, "true");
    daemon.finish()
}

#[test]
fn exec_on_a_terminal() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"])?;
    let command = daemon.command(["exec", "-it", "-e", "PS1=ready> ", "c1", "sh"])?;
    let mut pty = Pty::spawn(&command, 33, 99)?;
    pty.expect("ready> ")?;
    pty.send("stty size\r")?;
    pty.expect("33 99")?;
    pty.send("exit 4\r")?;
    assert_eq!(pty.wait()?, 4);
    daemon.finish()
}

#[test]
fn a_terminal_needs_a_terminal() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let output = daemon.berth_with(&["run", "--rm", "-it", "busybox", "true"], b"x")?;
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("not a TTY"), "{}", output.stderr);
    daemon.finish()
}

#[test]
fn output_of_a_terminal_is_logged_raw() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["run", "-t", "--name", "c1", "busybox", "echo", "hello"])?;
    assert_eq!(daemon.berth(&["logs", "c1"])?.expect(0)?.stdout, "hello\r\n");
    daemon.finish()
}

#[test]
fn the_size_at_creation_is_the_first_one() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let body = r#"{"Image": "busybox", "Cmd": ["stty", "size"], "Tty": true, "HostConfig": {"ConsoleSize": [33, 77]}}"#;
    let reply = daemon.api("POST", "/v1.50/containers/create?name=c1", Some(body))?;
    assert_eq!(reply.status, 201, "{}", reply.body);
    daemon.ok(&["start", "c1"])?;
    daemon.wait_for("c1", "{{.State.Status}}", "exited")?;
    assert_eq!(daemon.ok(&["logs", "c1"])?.trim(), "33 77");
    assert_eq!(
        daemon.inspect("c1", "{{json .HostConfig.ConsoleSize}}")?,
        "[33,77]"
    );
    daemon.finish()
}
