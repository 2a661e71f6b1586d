//! A Berth daemon of a test's own.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

use crate::command::{self, Output};
use crate::lab::Host;
use crate::place::Place;
use crate::{http, image, residue, wait};

/// How a daemon is started.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// More arguments of `berth daemon`.
    pub arguments: Vec<String>,
    /// More environment.
    pub environment: Vec<(String, String)>,
    /// The host that it runs on; `None`: the test's own, where the daemon has no networks.
    pub host: Option<Host>,
}

/// A running (or killed, or stopped) daemon and everything it made. [`Daemon::finish`] ends a test; dropping it
/// without that cleans up all the same.
#[derive(Debug)]
pub struct Daemon {
    place: Place,
    start: Start,
    process: Option<Child>,
    finished: bool,
}

impl Daemon {
    /// Starts a daemon in a new place and waits for its first answer.
    pub fn start() -> Result<Self> {
        Self::start_with(Start::default())
    }

    /// Starts a daemon with more arguments or environment.
    pub fn start_with(start: Start) -> Result<Self> {
        let mut daemon = Self::prepare(start)?;
        daemon.launch()?;
        Ok(daemon)
    }

    /// Makes a place without starting its daemon.
    pub fn prepare(start: Start) -> Result<Self> {
        crate::berth()?;
        Ok(Self {
            place: Place::create()?,
            start,
            process: None,
            finished: false,
        })
    }

    /// Starts the daemon (again) and waits for its first answer; returns how long that took.
    pub fn launch(&mut self) -> Result<Duration> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.place.log())
            .context("open the daemon's log")?;
        let start = Instant::now();
        let mut command = self.daemon_command()?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(match &self.start.host {
            None => command.spawn().context("start the daemon")?,
            Some(host) => host.spawn(&mut command)?,
        });
        let socket = self.place.socket();
        let answered = wait::until("the daemon's first answer", Duration::from_secs(20), || {
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the daemon ended at once: {status}\n{}", self.log_tail());
            }
            Ok(http::request(&socket, "GET", "/_ping", None).is_ok_and(|reply| reply.status == 200))
        });
        answered.with_context(|| self.log_tail())?;
        Ok(start.elapsed())
    }

    /// Returns the command that starts this daemon, without running it.
    pub fn daemon_command(&self) -> Result<Command> {
        let mut command = Command::new(crate::berth()?);
        command
            .arg("daemon")
            .arg("--host")
            .arg(self.place.host())
            .arg("--data-root")
            .arg(self.place.data_root())
            .arg("--exec-root")
            .arg(self.place.exec_root())
            .arg("--pidfile")
            .arg(self.place.directory().join("daemon.pid"))
            .arg("--cgroup-parent")
            .arg(self.place.cgroup_parent())
            .args(&self.start.arguments)
            .envs(self.start.environment.iter().map(|(name, value)| (name, value)))
            .env("BERTH_TEST_PLACE", self.place.directory());
        if self.start.host.is_none() {
            command.args(["--bridge", "none"]);
        }
        Ok(command)
    }

    /// Changes how the next [`Daemon::launch`] starts it.
    pub fn set_start(&mut self, start: Start) {
        self.start = start;
    }

    /// Returns where this daemon lives.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the directory that is removed at the end: for files of the test.
    pub fn directory(&self) -> &Path {
        self.place.directory()
    }

    /// Returns the daemon's pid.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the daemon does not run")?.id())
    }

    /// Returns a `berth` command line against this daemon, to be started by the caller.
    pub fn command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Result<Command> {
        let mut command = Command::new(crate::berth()?);
        self.point(command.args(arguments));
        Ok(command)
    }

    /// Returns a `docker` command line against this daemon.
    pub fn docker_command<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new("docker");
        self.point(command.args(arguments));
        command
    }

    fn point(&self, command: &mut Command) {
        command
            .env_remove("DOCKER_CONTEXT")
            .env("BERTH_HOST", self.place.host())
            .env("DOCKER_HOST", self.place.host())
            .env("HOME", self.place.directory());
    }

    /// Runs `berth ARGUMENTS` and returns what it printed, whatever its exit code.
    pub fn berth(&self, arguments: &[&str]) -> Result<Output> {
        command::run(&mut self.command(arguments)?, b"")
    }

    /// Runs `berth ARGUMENTS` with `stdin` as its input.
    pub fn berth_with(&self, arguments: &[&str], stdin: &[u8]) -> Result<Output> {
        command::run(&mut self.command(arguments)?, stdin)
    }

    /// Runs `berth ARGUMENTS`, which must succeed, and returns its standard output, trimmed.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        self.berth(arguments)?.text()
    }

    /// Runs `docker ARGUMENTS` and returns what it printed, whatever its exit code.
    pub fn docker(&self, arguments: &[&str]) -> Result<Output> {
        command::run(&mut self.docker_command(arguments), b"")
    }

    /// Starts a daemon that has the image `busybox` ([`crate::image::busybox_tree`], command `sh`).
    pub fn with_busybox() -> Result<Self> {
        Self::with_busybox_and(Start::default())
    }

    /// Like [`Daemon::with_busybox`], with more arguments or environment.
    pub fn with_busybox_and(start: Start) -> Result<Self> {
        let daemon = Self::start_with(start)?;
        let archive = image::busybox_tar(daemon.directory())?;
        let archive = archive
            .to_str()
            .context("a temporary directory that is not UTF-8")?;
        daemon.ok(&["import", "--change", "CMD [\"sh\"]", archive, "busybox"])?;
        Ok(daemon)
    }

    /// Sends a request to the API socket.
    pub fn api(&self, method: &str, path: &str, body: Option<&str>) -> Result<http::Reply> {
        http::request(&self.place.socket(), method, path, body)
    }

    /// Returns one field of `inspect`, by Go template.
    pub fn inspect(&self, container: &str, template: &str) -> Result<String> {
        self.ok(&["inspect", "-f", template, container])
    }

    /// Waits until a field of `inspect` is `value`.
    pub fn wait_for(&self, container: &str, template: &str, value: &str) -> Result<()> {
        let what = format!("{template} of {container} to be {value}");
        wait::until(&what, Duration::from_secs(20), || {
            Ok(self.berth(&["inspect", "-f", template, container])?.stdout.trim() == value)
        })
    }

    /// Waits until the container's log holds `text`.
    pub fn wait_for_log(&self, container: &str, text: &str) -> Result<()> {
        wait::until(
            &format!("\"{text}\" in the log of {container}"),
            Duration::from_secs(20),
            || {
                let output = self.berth(&["logs", container])?;
                Ok(output.stdout.contains(text) || output.stderr.contains(text))
            },
        )
    }

    /// Kills the daemon without warning and waits for its end. Containers are not touched.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the daemon does not run")?;
        process.kill().context("kill the daemon")?;
        process.wait().context("wait for the killed daemon")?;
        Ok(())
    }

    /// Waits for a daemon that ends by itself (at a failpoint); fails when it does not.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<()> {
        let mut process = self.process.take().context("the daemon does not run")?;
        let ended = wait::until("the daemon to end", limit, || Ok(process.try_wait()?.is_some()));
        if ended.is_err() {
            self.process = Some(process);
        }
        ended
    }

    /// Asks the daemon to end, as a service manager would, and waits.
    pub fn terminate(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let pid = Pid::from_raw(i32::try_from(process.id())?).context("pid 0")?;
        rustix::process::kill_process(pid, Signal::TERM).context("SIGTERM")?;
        let code = command::wait(&mut process, "berth daemon")?;
        if code != 0 {
            bail!("the daemon ended with {code} on SIGTERM\n{}", self.log_tail());
        }
        Ok(())
    }

    /// Kills the daemon and starts it again.
    pub fn crash(&mut self) -> Result<Duration> {
        self.kill()?;
        self.launch()
    }

    /// Removes all containers, stops the daemon and fails if anything is left on the host.
    pub fn finish(mut self) -> Result<()> {
        if self.process.is_none() {
            self.launch()?;
        }
        let all = self.ok(&["ps", "--all", "--quiet", "--no-trunc"])?;
        for id in all.lines() {
            // An auto-removed container may go at the same moment.
            let output = self.berth(&["rm", "--force", id])?;
            if output.code != 0 && !output.stderr.contains("No such container") {
                bail!("rm --force {id}: {}", output.stderr);
            }
        }
        self.terminate()?;
        let mut left = Vec::new();
        let gone = wait::until("nothing left", Duration::from_secs(5), || {
            left = residue::find(&self.place)?;
            Ok(left.is_empty())
        });
        if gone.is_err() {
            bail!("left on the host:\n  {}\n{}", left.join("\n  "), self.log_tail());
        }
        self.finished = true;
        let uncleaned = residue::remove(&self.place)?;
        if !uncleaned.is_empty() {
            bail!("cannot be removed: {}", uncleaned.join(", "));
        }
        Ok(())
    }

    /// Returns the last lines of the daemon's own log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.place.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines.len().saturating_sub(40);
        format!("daemon's log:\n  {}", lines[last..].join("\n  "))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        use std::io::Write;
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
        let text = match residue::remove(&self.place) {
            Ok(left) if left.is_empty() => self.log_tail(),
            Ok(left) => format!("cannot be removed: {}\n{}", left.join(", "), self.log_tail()),
            Err(error) => format!("clean-up failed: {error:#}"),
        };
        drop(writeln!(std::io::stderr(), "{text}"));
    }
}
