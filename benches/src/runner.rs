//! A small process that starts commands and times them.
//!
//! Times are taken here and not in the comparing program: its memory and threads would slow down every `fork`. A
//! runner can also live in a mount namespace without the cgroup v2 hierarchy, where crun agrees to run on a machine
//! whose cgroups are hybrid.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A command to be timed: words, and variables of the environment.
#[derive(Clone, Debug)]
pub struct Line {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Variables that are set.
    pub environment: Vec<(String, String)>,
}

impl Line {
    /// Returns a command without more environment.
    pub fn new<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// Returns the command that `command` describes.
    pub fn of(command: &Command) -> Self {
        let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        Self {
            words: words.map(text).collect(),
            environment: command
                .get_envs()
                .filter_map(|(name, value)| Some((text(name), text(value?))))
                .collect(),
        }
    }
}

/// In which mount namespace a runner lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchies {
    /// The machine's.
    AsTheyAre,
    /// One of its own where the cgroup v2 hierarchy beside v1 ones is not mounted.
    WithoutUnified,
}

/// A running runner.
#[derive(Debug)]
pub struct Runner {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
}

impl Runner {
    /// Starts one.
    pub fn start(hierarchies: Hierarchies) -> Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let mut command = match hierarchies {
            Hierarchies::AsTheyAre => {
                let mut command = Command::new(own);
                command.arg("--runner");
                command
            }
            Hierarchies::WithoutUnified => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "--propagation", "private", "sh", "-c"]);
                command
                    .arg("umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$0\" --runner")
                    .arg(own);
                command
            }
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a runner")?;
        let requests = child.stdin.take().context("no stdin")?;
        let replies = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self {
            child,
            requests,
            replies,
        })
    }

    /// Runs `line` once and returns its time; fails unless it ends with 0.
    pub fn time(&mut self, line: &Line) -> Result<Duration> {
        let request = serde_json::json!({ "words": line.words, "environment": line.environment });
        writeln!(self.requests, "{request}").context("ask the runner")?;
        let mut reply = String::new();
        self.replies.read_line(&mut reply).context("hear the runner")?;
        let (nanos, code) = reply.trim().split_once(' ').context("the runner is gone")?;
        if code != "0" {
            bail!("`{}` ended with {code}", line.words.join(" "));
        }
        Ok(Duration::from_nanos(nanos.parse()?))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What `compare --runner` does: one request a line on stdin, one `NANOSECONDS CODE` a line on stdout.
pub fn serve() -> Result<()> {
    let mut output = std::io::stdout();
    for request in std::io::stdin().lines() {
        let request: serde_json::Value = serde_json::from_str(&request?)?;
        let strings = |value: &serde_json::Value| -> Vec<String> {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter()
                .filter_map(|word| word.as_str().map(str::to_owned))
                .collect()
        };
        let words = strings(&request["words"]);
        let (program, arguments) = words.split_first().context("a command without words")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for pair in request["environment"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
        {
            if let [name, value] = strings(pair).as_slice() {
                command.env(name, value);
            }
        }
        let start = Instant::now();
        let code = command
            .status()
            .ok()
            .and_then(|status| status.code())
            .unwrap_or(-1);
        let time = start.elapsed();
        give_null_back();
        writeln!(output, "{} {code}", time.as_nanos())?;
    }
    Ok(())
}

/// crun gives its streams to the container's root, also when they are the machine's `/dev/null`.
fn give_null_back() {
    let owner = std::fs::metadata("/dev/null").map_or(0, |null| std::os::unix::fs::MetadataExt::uid(&null));
    if owner != 0 {
        drop(std::os::unix::fs::chown("/dev/null", Some(0), Some(0)));
    }
}
