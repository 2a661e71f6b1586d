//! Another engine to compare with: a `dockerd` of the machine's package, on its own directories and socket,
//! without touching the host's networks and firewall.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::command::{self, Output};
use crate::lab::Host;
use crate::place::Place;
use crate::{binary, http, residue, wait};

/// A running `dockerd`; dropping it stops it and removes what it made.
#[derive(Debug)]
pub struct Dockerd {
    place: Place,
    process: Child,
}

impl Dockerd {
    /// Starts one; `None` when the machine has no `dockerd`.
    pub fn start() -> Result<Option<Self>> {
        Self::launch(None, &[])
    }

    /// Starts one on a host of the test's own, with its networks and its rules in that host's firewall; `None` when the
    /// machine has no `dockerd`.
    pub fn start_on(host: &Host) -> Result<Option<Self>> {
        Self::launch(Some(host), &[])
    }

    /// The same with more arguments of `dockerd`.
    pub fn start_on_with(host: &Host, arguments: &[&str]) -> Result<Option<Self>> {
        Self::launch(Some(host), arguments)
    }

    fn launch(host: Option<&Host>, arguments: &[&str]) -> Result<Option<Self>> {
        let Some(program) = binary::find("dockerd") else {
            return Ok(None);
        };
        let place = Place::create()?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(place.log())?;
        let mut command = Command::new(program);
        command
            .arg("--host")
            .arg(place.host())
            .arg("--data-root")
            .arg(place.data_root())
            .arg("--exec-root")
            .arg(place.exec_root())
            .arg("--pidfile")
            .arg(place.directory().join("daemon.pid"))
            .arg("--cgroup-parent")
            .arg(place.cgroup_parent())
            .args(arguments)
            .env("BERTH_TEST_PLACE", place.directory())
            .env("HOME", place.directory())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = match host {
            Some(host) => host.spawn(&mut command)?,
            None => command
                .args([
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--ip-forward=false",
                ])
                .spawn()
                .context("start dockerd")?,
        };
        let mut dockerd = Self { place, process };
        let socket = dockerd.place.socket();
        wait::until("dockerd's first answer", Duration::from_secs(60), || {
            if let Some(status) = dockerd.process.try_wait()? {
                let log = std::fs::read_to_string(dockerd.place.log()).unwrap_or_default();
                bail!("dockerd ended at once: {status}\n{log}");
            }
            Ok(http::request(&socket, "GET", "/_ping", None).is_ok_and(|reply| reply.status == 200))
        })?;
        Ok(Some(dockerd))
    }

    /// Returns where it lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns its pid.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Returns a `docker` command line against it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env_remove("DOCKER_CONTEXT")
            .env("DOCKER_HOST", self.place.host())
            .env("HOME", self.place.directory());
        command
    }

    /// Runs `docker ARGUMENTS` against it.
    pub fn docker(&self, arguments: &[&str], stdin: &[u8]) -> Result<Output> {
        command::run(&mut self.command(arguments), stdin)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            rustix::process::kill_process(pid, Signal::TERM).ok();
        }
        drop(command::wait(&mut self.process, "dockerd"));
        if let Ok(left) = residue::remove(&self.place)
            && !left.is_empty()
        {
            use std::io::Write;
            drop(writeln!(std::io::stderr(), "dockerd left: {}", left.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows that what the testkit itself starts is found and removed again, with an engine that is not ours.
    #[test]
    fn a_peer_runs_a_container_and_leaves_nothing() -> Result<()> {
        let Some(dockerd) = Dockerd::start()? else {
            return binary::skip("dockerd is not installed");
        };
        let tar = crate::image::busybox_tar(dockerd.place().directory())?;
        let tar = tar.to_str().context("path")?;
        dockerd.docker(&["import", tar, "busybox"], b"")?.expect(0)?;
        let run = ["run", "--rm", "--network", "none", "busybox", "echo", "hello"];
        assert_eq!(dockerd.docker(&run, b"")?.text()?, "hello");
        let run = [
            "run",
            "-d",
            "--name",
            "peer",
            "--network",
            "none",
            "busybox",
            "sleep",
            "1000",
        ];
        dockerd.docker(&run, b"")?.expect(0)?;
        assert!(!residue::cgroups(dockerd.place())?.is_empty());
        assert!(!residue::processes(dockerd.place())?.is_empty());
        assert!(!residue::mounts(dockerd.place())?.is_empty());
        let name = dockerd.place().name();
        // Otherwise the daemon waits ten seconds for its container when it is stopped.
        dockerd.docker(&["kill", "peer"], b"")?.expect(0)?;
        drop(dockerd);
        assert!(!std::fs::read_to_string("/proc/self/mountinfo")?.contains(&name));
        Ok(())
    }
}
