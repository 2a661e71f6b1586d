//! The unmodified `docker` command line, pointed at our socket by `DOCKER_HOST`.

use anyhow::Result;
use testkit::{Daemon, Pty, command, has, skip};

fn ready() -> Result<Option<Daemon>> {
    if !has("docker") {
        skip("docker's command line is not installed")?;
        return Ok(None);
    }
    Daemon::with_busybox().map(Some)
}

#[test]
fn docker_asks_who_we_are() -> Result<()> {
    let Some(daemon) = ready()? else { return Ok(()) };
    assert!(
        daemon
            .docker(&["version", "--format", "{{.Server.APIVersion}}"])?
            .text()?
            .starts_with("1.")
    );
    let info = daemon.docker(&["info"])?.expect(0)?;
    assert!(info.stdout.contains("Server Version:"), "{}", info.stdout);
    assert_eq!(daemon.docker(&["images", "-q"])?.text()?.lines().count(), 1);
    assert_eq!(daemon.docker(&["ps", "-aq"])?.text()?, "");
    daemon.finish()
}

#[test]
fn docker_runs() -> Result<()> {
    let Some(daemon) = ready()? else { return Ok(()) };
    let run = ["run", "--rm", "--network", "none", "busybox"];
    let output = daemon
        .docker(&[&run[..], &["sh", "-c", "echo out; echo err >&2; exit 7"]].concat())?
        .expect(7)?;
    assert_eq!(
        (output.stdout.as_str(), output.stderr.as_str()),
        ("out\n", "err\n")
    );
    daemon
        .docker(&[&run[..], &["no-such-program"]].concat())?
        .expect(127)?;
    daemon
        .docker(&[&run[..], &["/etc/passwd"]].concat())?
        .expect(126)?;
    let mut piped = daemon.docker_command(["run", "--rm", "-i", "--network", "none", "busybox", "wc", "-c"]);
    assert_eq!(command::run(&mut piped, &vec![b'x'; 300_000])?.text()?, "300000");
    assert_eq!(daemon.docker(&["ps", "-aq"])?.text()?, "");
    daemon.finish()
}

#[test]
fn docker_without_a_network_flag() -> Result<()> {
    let Some(daemon) = ready()? else { return Ok(()) };
    assert_eq!(
        daemon
            .docker(&["run", "--rm", "busybox", "echo", "default network"])?
            .text()?,
        "default network"
    );
    daemon.finish()
}

#[test]
fn docker_lives_with_a_container() -> Result<()> {
    let Some(daemon) = ready()? else { return Ok(()) };
    let program = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let id = daemon
        .docker(&["run", "-d", "--name", "c1", "busybox", "sh", "-c", program])?
        .text()?;
    daemon.wait_for_log("c1", "ready")?;
    assert_eq!(
        daemon
            .docker(&["inspect", "-f", "{{.Id}} {{.State.Status}}", "c1"])?
            .text()?,
        format!("{id} running")
    );
    assert_eq!(
        daemon
            .docker(&[
                "exec",
                "-e",
                "A=1",
                "-u",
                "app",
                "c1",
                "sh",
                "-c",
                "echo $A $(id -u)"
            ])?
            .text()?,
        "1 1000"
    );
    daemon.docker(&["exec", "c1", "sh", "-c", "exit 9"])?.expect(9)?;
    assert_eq!(daemon.docker(&["logs", "--tail", "1", "c1"])?.text()?, "ready");
    assert!(daemon.docker(&["logs", "-t", "c1"])?.text()?.ends_with("Z ready"));
    assert!(daemon.docker(&["ps"])?.text()?.contains("Up "));
    daemon.docker(&["restart", "-t", "1", "c1"])?.expect(0)?;
    daemon.docker(&["stop", "c1"])?.expect(0)?;
    assert_eq!(daemon.docker(&["wait", "c1"])?.text()?, "3");
    daemon.docker(&["rm", "c1"])?.expect(0)?;
    let output = daemon.docker(&["inspect", "c1"])?.expect(1)?;
    assert!(
        output.stderr.to_lowercase().contains("no such object"),
        "{}",
        output.stderr
    );
    daemon.finish()
}

#[test]
fn docker_follows_logs() -> Result<()> {
    let Some(daemon) = ready()? else { return Ok(()) };
    daemon
        .docker(&[
            "run",
            "-d",
            "--name",
            "c1",
            "busybox",
            "sh",
            "-c",
            "for i in 1 2 3; do echo $i; sleep 0.1; done",
        ])?
        .expect(0)?;
    assert_eq!(daemon.docker(&["logs", "-f", "c1"])?.text()?, "1\n2\n3");
    daemon.finish()
}

#[test]
fn docker_on_a_terminal() -> Result<()> {
    let Some(daemon) = ready()? else { return Ok(()) };
    let command = daemon.docker_command(["run", "-it", "--name", "c1", "-e", "PS1=ready> ", "busybox", "sh"]);
    let mut pty = Pty::spawn(&command, 31, 97)?;
    pty.expect("ready> ")?;
    pty.send("stty size\r")?;
    pty.expect("31 97")?;
    pty.resize(42, 142)?;
    testkit::until(
        "the new size to arrive",
        std::time::Duration::from_secs(5),
        || {
            Ok(daemon
                .docker(&["exec", "c1", "stty", "-F", "/dev/pts/0", "size"])?
                .stdout
                .trim()
                == "42 142")
        },
    )?;
    pty.send("echo go$((1)); sleep 1000\r")?;
    pty.expect("go1")?;
    pty.send([3])?;
    pty.send("echo still $((40+2))\r")?;
    pty.expect("still 42")?;
    pty.send([16, 17])?;
    pty.wait()?;
    assert_eq!(daemon.inspect("c1", "{{.State.Running}}")?, "true");

    let mut pty = Pty::spawn(&daemon.docker_command(["attach", "c1"]), 24, 80)?;
    pty.send("echo back $((50+5))\r")?;
    pty.expect("back 55")?;
    pty.send("exit 6\r")?;
    assert_eq!(pty.wait()?, 6);
    daemon.finish()
}

#[test]
fn docker_imports_and_removes_images() -> Result<()> {
    let Some(daemon) = ready()? else { return Ok(()) };
    let tar = daemon.directory().join("busybox.tar");
    let id = daemon
        .docker(&["import", tar.to_str().unwrap(), "again:1"])?
        .text()?;
    assert!(id.starts_with("sha256:"), "{id}");
    daemon.docker(&["tag", "again:1", "again:2"])?.expect(0)?;
    assert!(
        daemon
            .docker(&["image", "inspect", "again:2"])?
            .text()?
            .contains(&id)
    );
    daemon.docker(&["rmi", "again:1", "again:2"])?.expect(0)?;
    daemon.finish()
}
