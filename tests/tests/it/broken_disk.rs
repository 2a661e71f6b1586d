//! A disk that fails: F-08 of docs/security-tests.md. The daemon's calls are made to fail with EIO by strace.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal};
use testkit::command::Output;
use testkit::{Daemon, RegistryServer, has, skip};

/// Makes calls of a process fail until it is stopped.
struct Failing {
    strace: Child,
    log: PathBuf,
}

impl Failing {
    /// Lets the `number`th of these calls fail in each thread of the daemon.
    fn start(daemon: &Daemon, calls: &str, number: &str) -> Result<Self> {
        let log = daemon.directory().join("strace.log");
        drop(std::fs::remove_file(&log));
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &daemon.pid()?.to_string()])
            .arg("-o")
            .arg(&log)
            .args(["-e", &format!("trace={calls}")])
            .args(["-e", &format!("inject={calls}:error=EIO:when={number}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(strace.stderr.take().context("strace's words")?);
        let mut line = String::new();
        // One line when all threads are attached to.
        said.read_line(&mut line)?;
        ensure!(line.contains("attached"), "strace: {line}");
        // Never full: it says a line for each new thread at most.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Ok(Self { strace, log })
    }

    /// Ends it; returns whether a call was made to fail.
    fn stop(mut self) -> Result<bool> {
        self.end();
        Ok(std::fs::read_to_string(&self.log)?.contains("INJECTED"))
    }

    fn end(&mut self) {
        if let Some(pid) = i32::try_from(self.strace.id()).ok().and_then(Pid::from_raw) {
            rustix::process::kill_process(pid, Signal::INT).ok();
        }
        drop(self.strace.wait());
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.end();
    }
}

struct World {
    daemon: Daemon,
    registry: RegistryServer,
}

impl World {
    fn new() -> Result<Self> {
        let daemon = Daemon::with_busybox()?;
        let registry = RegistryServer::berth(&[])?;
        let world = Self { daemon, registry };
        let daemon = &world.daemon;
        let other = world.other();
        daemon.ok(&[
            "run",
            "--name",
            "changed",
            "--network",
            "none",
            "busybox",
            "sh",
            "-c",
            "echo new > /new",
        ])?;
        daemon.ok(&["commit", "changed", &other])?;
        daemon.ok(&["push", &other])?;
        daemon.ok(&["save", "-o", &world.file("other.tar"), &other])?;
        daemon.ok(&["rmi", &other])?;
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            "steady",
            "--network",
            "none",
            "busybox",
            "sleep",
            "10000",
        ])?;
        Ok(world)
    }

    fn other(&self) -> String {
        format!("{}/team/other:v1", self.registry.address())
    }

    fn file(&self, name: &str) -> String {
        self.daemon.directory().join(name).display().to_string()
    }

    /// What is done, and how it is undone.
    fn operations(&self) -> Vec<(Vec<String>, Vec<String>)> {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        let (other, tar) = (self.other(), self.file("busybox.tar"));
        [
            (format!("pull -q {other}"), format!("rmi {other}")),
            (
                format!("load -q -i {}", self.file("other.tar")),
                format!("rmi {other}"),
            ),
            (format!("import {tar} imported"), "rmi imported".to_owned()),
            ("commit changed committed".to_owned(), "rmi committed".to_owned()),
            ("tag busybox tagged".to_owned(), "rmi tagged".to_owned()),
            (
                "create --name made --network none busybox true".to_owned(),
                "rm made".to_owned(),
            ),
            (
                "run -d --name made --network none busybox sleep 1000".to_owned(),
                "rm -f made".to_owned(),
            ),
            ("volume create kept".to_owned(), "volume rm kept".to_owned()),
        ]
        .map(|(act, undo)| (words(&act), words(&undo)))
        .into()
    }

    fn run(&self, words: &[String]) -> Result<Output> {
        self.daemon
            .berth(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Does every operation with the first of `calls` failing, then with the second, until none is left to fail.
    fn each(&self, calls: &str, judge: impl Fn(&str, &Output) -> Result<()>) -> Result<()> {
        let most = std::env::var("BERTH_F08_CALLS").map_or(Ok(4), |text| text.parse::<usize>())?;
        for (act, undo) in self.operations() {
            for number in 1..=most {
                let told = format!("{}, call {number} of {calls}", act.join(" "));
                let failing = Failing::start(&self.daemon, calls, &number.to_string())?;
                let done = self.run(&act)?;
                let was_hit = failing.stop()?;
                if was_hit {
                    judge(&told, &done)?;
                }
                ensure!(self.daemon.api("GET", "/_ping", None)?.status == 200, "{told}");
                self.daemon
                    .ok(&["exec", "steady", "true"])
                    .with_context(|| told.clone())?;
                if done.code == 0 || act[0] == "run" {
                    drop(self.run(&undo)?);
                }
                // What could not be made whole is named, and nothing else is touched.
                self.daemon.berth(&["system", "check", "--repair"])?;
                self.daemon
                    .ok(&["system", "check"])
                    .with_context(|| told.clone())?;
                self.run(&act)?
                    .expect(0)
                    .with_context(|| format!("{told}, again"))?;
                self.run(&undo)?.expect(0).with_context(|| told.clone())?;
                if !was_hit {
                    break;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.daemon.crash()?;
        self.daemon.ok(&["system", "check"])?;
        self.daemon.ok(&["rm", "-f", "steady", "changed"])?;
        assert_eq!(self.daemon.ok(&["images", "-q"])?.lines().count(), 1);
        self.daemon.finish()
    }
}

/// F-08: what could not be synced is never told to be done.
#[test]
fn f_08_a_failed_sync_is_no_success() -> Result<()> {
    if !has("strace") {
        return skip("strace is not installed");
    }
    let world = World::new()?;
    world.each("fsync,fdatasync", |told, done| {
        ensure!(done.code != 0, "{told}: {done:?}");
        Ok(())
    })?;
    world.finish()
}

/// F-08: files that cannot be put in their places.
#[test]
fn f_08_failed_renames() -> Result<()> {
    if !has("strace") {
        return skip("strace is not installed");
    }
    let world = World::new()?;
    world.each("rename,renameat,renameat2", |_, _| Ok(()))?;
    world.finish()
}

/// F-08: what cannot be read or listed, and pages of the store that cannot be written.
#[test]
fn f_08_failed_reads_and_pages() -> Result<()> {
    if !has("strace") {
        return skip("strace is not installed");
    }
    let world = World::new()?;
    world.each("pread64,pwrite64,getdents64", |_, _| Ok(()))?;
    world.finish()
}

/// F-08: a layer that could not be synced after the reply is not taken for one that was.
#[test]
fn f_08_a_layer_that_was_not_synced_says_so() -> Result<()> {
    if !has("strace") {
        return skip("strace is not installed");
    }
    let world = World::new()?;
    let daemon = &world.daemon;
    let failing = Failing::start(daemon, "syncfs,sync_file_range", "1+")?;
    daemon.ok(&["load", "-q", "-i", &world.file("other.tar")])?;
    let tried = || Ok(std::fs::read_to_string(&failing.log)?.contains("INJECTED"));
    testkit::until("a sync to fail", std::time::Duration::from_secs(20), tried)?;
    failing.stop()?;
    let mut find = Command::new("grep");
    find.args(["-rl", "--include=facts.json", "\"boot\":\""])
        .arg(daemon.place().data_root().join("layers"));
    let marked = testkit::command::run(&mut find, b"")?;
    ensure!(marked.code == 0 && !marked.stdout.is_empty(), "{marked:?}");
    daemon.ok(&["run", "--rm", "--network", "none", &world.other(), "cat", "/new"])?;
    daemon.ok(&["rmi", &world.other()])?;
    world.finish()
}
