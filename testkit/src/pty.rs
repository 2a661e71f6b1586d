//! A command on a terminal of its own, as a person would run it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::{command, wait};

/// A running command and the terminal it believes in.
#[derive(Debug)]
pub struct Pty {
    terminal: File,
    child: Child,
    name: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Starts `command` in a session of its own with a new terminal of `rows` by `columns`.
    ///
    /// The session and its controlling terminal are made by util-linux's `setsid`, which then becomes the command.
    pub fn spawn(command: &Command, rows: u16, columns: u16) -> Result<Self> {
        let name = command::describe(command);
        let controller = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        rustix::pty::grantpt(&controller)?;
        rustix::pty::unlockpt(&controller)?;
        let path = rustix::pty::ptsname(&controller, Vec::new())?;
        let terminal = File::options()
            .read(true)
            .write(true)
            .open(path.to_str().context("ptsname")?)
            .context("open the terminal")?;
        set_size(&controller, rows, columns)?;

        let mut wrapped = Command::new("setsid");
        wrapped
            .arg("--ctty")
            .arg("--wait")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        let child = wrapped
            .env("TERM", "xterm")
            .stdin(terminal.try_clone()?)
            .stdout(terminal.try_clone()?)
            .stderr(terminal)
            .spawn()
            .with_context(|| format!("start `{name}`"))?;
        let controller = File::from(controller);
        let seen = Arc::new(Mutex::new(Vec::new()));
        read_along(controller.try_clone()?, Arc::clone(&seen));
        Ok(Self {
            terminal: controller,
            child,
            name,
            seen,
        })
    }

    /// Types `text`.
    pub fn send(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        self.terminal.write_all(text.as_ref()).context("type")
    }

    /// Changes the terminal's size; the command gets SIGWINCH.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        set_size(&self.terminal, rows, columns)
    }

    /// Returns everything that was printed so far.
    pub fn screen(&self) -> String {
        let seen = self.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Waits until `text` was printed.
    pub fn expect(&self, text: &str) -> Result<()> {
        wait::until(
            &format!("\"{text}\" on the terminal of `{}`", self.name),
            Duration::from_secs(20),
            || Ok(self.screen().contains(text)),
        )
        .with_context(|| format!("the terminal shows: {:?}", self.screen()))
    }

    /// Waits for the command's end and returns its exit code.
    pub fn wait(mut self) -> Result<i32> {
        command::wait(&mut self.child, &self.name)
            .with_context(|| format!("the terminal shows: {:?}", self.screen()))
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn set_size(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).context("set the terminal's size")
}

/// Copies what is printed until the terminal's last user is gone (then read fails with EIO).
fn read_along(mut controller: File, seen: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(count @ 1..) = controller.read(&mut buffer) {
            if let Ok(mut seen) = seen.lock() {
                seen.extend_from_slice(&buffer[..count]);
            }
        }
    });
}
