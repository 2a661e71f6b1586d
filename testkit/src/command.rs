//! Running a program with its output captured and a limit on its time.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long any command may take before it is killed and the test fails.
pub const LIMIT: Duration = Duration::from_secs(60);

/// What a program printed and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; 128 + signal when a signal ended it.
    pub code: i32,
    /// Standard output, with invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, with invalid UTF-8 replaced.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Output {
    /// Fails unless the exit code is `code`.
    pub fn expect(self, code: i32) -> Result<Self> {
        if self.code != code {
            bail!(
                "`{}` ended with {} instead of {code}\nstdout: {}\nstderr: {}",
                self.command,
                self.code,
                self.stdout,
                self.stderr
            );
        }
        Ok(self)
    }

    /// Fails unless the exit code is 0; returns standard output without the white space around it.
    pub fn text(self) -> Result<String> {
        Ok(self.expect(0)?.stdout.trim().to_owned())
    }
}

/// Runs `command` to its end with `stdin` as its input.
pub fn run(command: &mut Command, stdin: &[u8]) -> Result<Output> {
    run_within(command, stdin, LIMIT)
}

/// Runs `command` to its end with `stdin` as its input; kills it and fails after `limit`.
pub fn run_within(command: &mut Command, stdin: &[u8], limit: Duration) -> Result<Output> {
    let name = describe(command);
    let mut child = command
        .stdin(if stdin.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{name}`"))?;
    let input = child.stdin.take().map(|mut pipe| {
        let bytes = stdin.to_vec();
        // A program that ends without reading its input breaks the pipe; that is its right.
        std::thread::spawn(move || drop(pipe.write_all(&bytes)))
    });
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let start = Instant::now();
    let code = wait_within(&mut child, &name, limit)?;
    let took = start.elapsed();
    if let Some(thread) = input {
        drop(thread.join());
    }
    Ok(Output {
        command: name,
        code,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
        took,
    })
}

/// Waits for `child` at most [`LIMIT`]; then kills it and fails.
pub fn wait(child: &mut Child, name: &str) -> Result<i32> {
    wait_within(child, name, LIMIT)
}

fn wait_within(child: &mut Child, name: &str, limit: Duration) -> Result<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().context("wait")? {
            use std::os::unix::process::ExitStatusExt;
            return Ok(status
                .code()
                .or_else(|| status.signal().map(|signal| 128 + signal))
                .unwrap_or(-1));
        }
        if start.elapsed() > limit {
            child.kill().context("kill a command that hangs")?;
            child.wait().context("wait")?;
            bail!("`{name}` still ran after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns the command line of `command` as a person would type it.
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing.
            drop(pipe.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
