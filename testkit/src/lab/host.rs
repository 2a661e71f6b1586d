//! A network namespace as a host.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::thread::LinkNameSpaceType;

use crate::command::{self, Output};

/// A host: a network namespace. Clones are the same host.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    namespace: Arc<File>,
}

impl Host {
    /// Makes a host with nothing but a loopback interface, which is up; the name is for messages.
    pub fn new(name: &str) -> Result<Self> {
        // A program of its own enters the new namespace, so that no thread of the test has to.
        let mut child = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run unshare")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(mut stdout)) = (stdin, stdout) else {
            bail!("no pipes");
        };
        // What comes back was read inside.
        stdin.write_all(b"x")?;
        stdout.read_exact(&mut [0]).context("unshare --net")?;
        let namespace = File::open(format!("/proc/{}/ns/net", child.id())).context("open the namespace")?;
        drop(stdin);
        child.wait()?;
        let host = Self {
            name: name.to_owned(),
            namespace: Arc::new(namespace),
        };
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// Returns the host that a process is on: a container, say.
    pub fn of_process(pid: u32, name: &str) -> Result<Self> {
        let namespace = File::open(format!("/proc/{pid}/ns/net")).context("open a process's namespace")?;
        Ok(Self {
            name: name.to_owned(),
            namespace: Arc::new(namespace),
        })
    }

    /// Returns its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does `work` in a thread of this host. Sockets that it opens belong to the host wherever they are used later, and
    /// processes that it starts live there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| -> Result<T> {
                let kind = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(self.namespace.as_fd(), kind)
                    .with_context(|| format!("enter the host {}", self.name))?;
                Ok(work())
            });
            match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Starts a program on this host.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.inside(|| command.spawn())?
            .with_context(|| format!("start a program on {}", self.name))
    }

    /// Runs a program to its end on this host.
    pub fn run(&self, words: &[&str]) -> Result<Output> {
        let (program, arguments) = words.split_first().context("no program")?;
        self.inside(|| command::run(Command::new(program).args(arguments), b""))?
    }

    /// Runs `ip WORDS`, which must succeed.
    pub fn ip(&self, words: &str) -> Result<String> {
        let words: Vec<&str> = std::iter::once("ip").chain(words.split_whitespace()).collect();
        self.run(&words)?.text()
    }

    /// Runs `nft -f -` with a script, which must succeed.
    pub fn nft(&self, script: &str) -> Result<String> {
        self.inside(|| command::run(Command::new("nft").args(["-f", "-"]), script.as_bytes()))??
            .text()
    }

    /// Sets a parameter of the network, in `sysctl`'s spelling.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.inside(|| {
            let mut file = File::options().write(true).open(&path)?;
            file.write_all(value.as_bytes())
        })?
        .with_context(|| format!("set {name} on {}", self.name))
    }

    /// Lays a cable to another host; both ends are up.
    pub fn wire(&self, own: &str, other: &Self, theirs: &str) -> Result<()> {
        // A number would be taken for a pid, a word for a name below /run/netns; with slashes it is a file.
        let namespace = format!("/proc/{}/fd/{}", std::process::id(), other.namespace.as_raw_fd());
        self.ip(&format!(
            "link add {own} type veth peer name {theirs} netns {namespace}"
        ))?;
        self.ip(&format!("link set {own} up"))?;
        other.ip(&format!("link set {theirs} up"))?;
        Ok(())
    }
}
