//! docker's Python library: the client of many scripts and of compose v1.

use std::process::Command;

use anyhow::Result;
use testkit::{Daemon, binary, command, skip};

#[test]
fn docker_py_runs_a_container() -> Result<()> {
    let pythons = ["python3", "/usr/bin/python3"];
    let usable = |python: &&str| {
        Command::new(python)
            .args(["-c", "import docker"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let Some(python) = pythons.into_iter().find(usable) else {
        return skip("python has no docker module");
    };
    let daemon = Daemon::with_busybox()?;
    let script = binary::root().join("tests/tests/it/docker_py.py");
    let mut run = Command::new(python);
    run.arg(script).env("DOCKER_HOST", daemon.place().host());
    let output = command::run(&mut run, b"")?;
    assert!(
        output.code == 0 && output.stdout.ends_with("all good\n"),
        "{}\n{}",
        output.stdout,
        output.stderr
    );
    daemon.finish()
}
