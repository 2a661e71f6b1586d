//! A container's or an exec's streams on this program's own: bytes both ways, signals, terminal size, detach keys.

use std::io;

use client::{Client, Hijacked, Reader, Writer};
use tokio::io::AsyncReadExt;

use crate::demux::{Demux, Stream};
use crate::detach_keys::{DetachKeys, Typed};
use crate::failure::Failure;
use crate::output::{self, Sink, Source};
use crate::signal::{Resizes, Signals};
use crate::terminal::{self, RawMode};

/// How much is read at once, from the daemon or from standard input.
const BUFFER: usize = 32 << 10;

/// What the streams belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    /// A container's first process.
    Container(&'a str),
    /// An exec session.
    Exec(&'a str),
}

/// How the streams are connected.
#[derive(Debug)]
pub(crate) struct Attachment<'a> {
    /// The daemon.
    pub client: &'a Client,
    /// What the streams belong to.
    pub target: Target<'a>,
    /// Whether the process has a terminal; then the stream has no frames.
    pub tty: bool,
    /// Whether to send standard input.
    pub stdin: bool,
    /// Whether to show anything.
    pub output: bool,
    /// Whether to pass signals on.
    pub signal_proxy: bool,
    /// What leaves without ending the process.
    pub keys: DetachKeys,
}

/// Why the copying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The process closed its streams, or the daemon did.
    Closed,
    /// The user pressed the detach keys.
    Detached,
    /// A signal that nobody wanted passed on.
    Signal(i32),
}

/// What must be in place before the process starts: raw mode and signal handlers.
#[derive(Debug)]
pub(crate) struct Prepared {
    raw: Option<RawMode>,
    signals: Signals,
    resizes: Resizes,
}

impl Attachment<'_> {
    /// Switches the terminal and catches signals, so that none is lost between start and copying.
    pub(crate) fn prepare(&self) -> Result<Prepared, Failure> {
        let failed = |error: io::Error| Failure::io("set up the terminal", &error);
        let raw = if self.tty && self.stdin {
            RawMode::enter().map_err(failed)?
        } else {
            None
        };
        let signals = if self.signal_proxy {
            Signals::forwarded()
        } else if raw.is_some() {
            Signals::ending()
        } else {
            Ok(Signals::none())
        };
        let resizes = if self.tty && terminal::stdout_is_terminal() {
            Resizes::catch()
        } else {
            Ok(Resizes::none())
        };
        Ok(Prepared {
            raw,
            signals: signals.map_err(failed)?,
            resizes: resizes.map_err(failed)?,
        })
    }

    /// Copies until the process closes its streams or the user leaves; the terminal is itself again afterwards.
    pub(crate) async fn copy(mut self, hijacked: Hijacked, prepared: Prepared) -> Result<End, Failure> {
        let Prepared {
            raw,
            signals,
            resizes,
        } = prepared;
        let keys = std::mem::replace(&mut self.keys, DetachKeys::parse("").map_err(Failure::message)?);
        let multiplexed = hijacked.multiplexed().unwrap_or(!self.tty);
        let (reader, writer) = hijacked.split();
        let end = tokio::select! {
            // Output first: what the process said before its end must not be lost.
            biased;
            shown = show(reader, multiplexed, self.output) => shown.map(|()| End::Closed),
            end = self.send(writer, keys) => end,
            end = self.watch(signals, resizes) => end,
        };
        drop(raw);
        end
    }

    /// Sends standard input; returns only when the user detaches.
    async fn send(&self, mut writer: Writer, mut keys: DetachKeys) -> Result<End, Failure> {
        if !self.stdin {
            return std::future::pending().await;
        }
        let source = Source::stdin();
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = source
                .read(&mut buffer)
                .await
                .map_err(|error| Failure::io("read standard input", &error))?;
            if length == 0 {
                break;
            }
            let bytes = &buffer[..length];
            let sent = if self.tty {
                match keys.typed(bytes) {
                    Typed::Send(bytes) => writer.write_all(&bytes).await,
                    Typed::Detach(bytes) => {
                        // The process may have gone; the user leaves all the same.
                        let _gone = writer.write_all(&bytes).await;
                        return Ok(End::Detached);
                    }
                }
            } else {
                writer.write_all(bytes).await
            };
            // A process that no longer reads is no error: its output tells the end.
            if sent.is_err() {
                break;
            }
        }
        let _gone = writer.close().await;
        // Dropping the writer would be no harm, but its end must not end the copying.
        std::future::pending().await
    }

    /// Passes on signals and sizes; returns only when a signal is for this program.
    async fn watch(&self, mut signals: Signals, mut resizes: Resizes) -> Result<End, Failure> {
        if self.tty {
            self.resize().await;
        }
        loop {
            tokio::select! {
                (number, name) = signals.next() => {
                    if !self.signal_proxy {
                        return Ok(End::Signal(number));
                    }
                    if let Target::Container(id) = self.target {
                        // A container that has just ended cannot take it any more.
                        let _ended = self.client.kill_container(id, name).await;
                    }
                }
                () = resizes.next() => self.resize().await,
            }
        }
    }

    /// Tells the daemon the terminal's size; a process that has just ended needs none.
    async fn resize(&self) {
        let (rows, columns) = terminal::size();
        if (rows, columns) == (0, 0) {
            return;
        }
        let _ended = match self.target {
            Target::Container(id) => self.client.resize_container(id, rows, columns).await,
            Target::Exec(id) => self.client.resize_exec(id, rows, columns).await,
        };
    }
}

/// Writes what comes to standard output and standard error until it ends.
pub(crate) async fn show(mut reader: Reader, multiplexed: bool, wanted: bool) -> Result<(), Failure> {
    // Most containers write to one of them or to none.
    let (mut stdout, mut stderr) = (None::<Sink>, None::<Sink>);
    let mut demux = Demux::default();
    let mut buffer = vec![0; BUFFER];
    let written = |error: io::Error| Failure::io("write the output", &error);
    let mut daemon_error = String::new();
    loop {
        let length = match reader.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => length,
            // A daemon that was killed; the wait tells what became of the container.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => {
                return Err(Failure::message(format!(
                    "read the output: {}",
                    crate::failure::describe_io(&error)
                )));
            }
        };
        if !wanted {
            continue;
        }
        if !multiplexed {
            let stdout = stdout.get_or_insert_with(Sink::stdout);
            stdout.write_all(&buffer[..length]).await.map_err(written)?;
            continue;
        }
        let mut bytes = &buffer[..length];
        while let Some((stream, piece)) = demux
            .next(&mut bytes)
            .map_err(|error| Failure::message(error.to_string()))?
        {
            match stream {
                Stream::Stdout => {
                    let stdout = stdout.get_or_insert_with(Sink::stdout);
                    stdout.write_all(piece).await.map_err(written)?;
                }
                Stream::Stderr => {
                    let stderr = stderr.get_or_insert_with(Sink::stderr);
                    stderr.write_all(piece).await.map_err(written)?;
                }
                Stream::Daemon => daemon_error.push_str(&String::from_utf8_lossy(piece)),
            }
        }
    }
    if !daemon_error.is_empty() {
        output::err_line(&format!("error from daemon in stream: {daemon_error}"));
    }
    Ok(())
}
