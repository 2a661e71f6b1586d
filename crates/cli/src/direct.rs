//! A `run` or `exec` in one call to a Berth, without a runtime: standard streams and signals around one socket.
//!
//! One `poll` loop, because whoever types the command waits for every page that it touches. It serves what has no terminal;
//! terminals, other daemons and everything that goes wrong before a process runs are left to the commands over Docker's
//! API, which have the words for it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use api_types::session::{RunRefused, RunStarted};
use client::{Next, Session};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use sys::signal::SignalSet;

use crate::failure::{DAEMON_ERROR, Failure};
use crate::output;
use crate::signal;

/// How much of standard input is read at once.
const BUFFER: usize = 32 << 10;

/// What a pipe takes without blocking once it is writable (`PIPE_BUF`, pipe(7)).
const PIPE_PIECE: usize = 4096;

/// A conversation in progress.
pub(crate) struct Direct<'a> {
    session: Session,
    /// Whether standard input is sent.
    stdin: bool,
    signals: Option<Forwarded>,
    /// Called with a signal's name.
    forward: &'a dyn Fn(&str),
    /// What was read from standard input and not sent yet.
    input: Vec<u8>,
}

/// Signals that are kept for the container as long as this lives.
pub(crate) struct Forwarded {
    fd: OwnedFd,
    former: SignalSet,
}

impl Forwarded {
    /// Catches all signals that are passed on.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let failed = |error: sys::SyscallError| Failure::message(format!("catch signals: {error}"));
        let signals = signal::FORWARDED
            .iter()
            .fold(SignalSet::empty(), |set, (number, _)| set.with(*number));
        let former = sys::signal::sigprocmask(signals).map_err(failed)?;
        match sys::signal::signalfd(signals) {
            Ok(fd) => Ok(Self { fd, former }),
            Err(error) => {
                let _first_error_told = sys::signal::sigprocmask(former);
                Err(failed(error))
            }
        }
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        let _cannot_fail = sys::signal::sigprocmask(self.former);
    }
}

/// The daemon's first word.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It has no such call, or nothing could be done.
    Other,
    /// The container runs.
    Started(RunStarted),
    /// The container could not be started.
    Refused(RunRefused),
}

impl<'a> Direct<'a> {
    /// Takes over a call that was sent.
    pub(crate) fn new(
        session: Session,
        stdin: bool,
        signals: Option<Forwarded>,
        forward: &'a dyn Fn(&str),
    ) -> Self {
        Self {
            session,
            stdin,
            signals,
            forward,
            input: Vec::new(),
        }
    }

    /// Waits for what the daemon says of a run.
    pub(crate) fn begin_run(&mut self) -> Result<Begun, Failure> {
        loop {
            match self.session.take_next() {
                Ok(Next::Nothing) => self.receive()?,
                Ok(Next::Started(started)) => return Ok(Begun::Started(started)),
                Ok(Next::Refused(refused)) => return Ok(Begun::Refused(refused)),
                // Before a daemon has done anything it says so with a status.
                Ok(_) => return Ok(Begun::Other),
                Err(error) => return Err(Failure::invalid(format!("berth: {error}"))),
            }
        }
    }

    /// Copies until the end; returns the exit code, or `None` if the daemon did not take the call.
    pub(crate) fn copy(mut self) -> Result<Option<u8>, Failure> {
        let written = |error: io::Error| Failure::io("write the output", &error);
        loop {
            // The piece is copied: signals are served while it is written.
            let (piece, fd) = match self.session.take_next() {
                Ok(Next::Nothing) => {
                    self.turn()?;
                    continue;
                }
                Ok(Next::Stdout(piece)) => (piece.to_vec(), rustix::stdio::stdout()),
                Ok(Next::Stderr(piece)) => (piece.to_vec(), rustix::stdio::stderr()),
                Ok(Next::Ended(ended)) => {
                    if let Some(error) = ended.error.filter(|error| !error.message.is_empty()) {
                        output::err_line(&format!("berth: error waiting for container: {}", error.message));
                        return Ok(Some(DAEMON_ERROR));
                    }
                    // An exit code is a byte; the low one is what the shell would see of anything else.
                    return Ok(Some(
                        u8::try_from(ended.status_code & 0xff).unwrap_or(DAEMON_ERROR),
                    ));
                }
                Ok(Next::Other) => return Ok(None),
                Ok(Next::Closed | Next::Started(_) | Next::Refused(_)) => {
                    output::err_line("berth: the daemon went away; the container goes on without it");
                    return Ok(Some(DAEMON_ERROR));
                }
                Err(error) => return Err(Failure::invalid(format!("berth: {error}"))),
            };
            self.write(fd, &piece).map_err(written)?;
        }
    }

    /// Waits until the daemon says something. Signals wait as well: nobody knows yet for whom they are.
    fn receive(&mut self) -> Result<(), Failure> {
        wait(&mut [PollFd::from_borrowed_fd(self.session.fd(), PollFlags::IN)])?;
        self.take()
    }

    fn take(&mut self) -> Result<(), Failure> {
        self.session.receive().map_err(|error| {
            Failure::message(format!(
                "read the output: {}",
                crate::failure::describe_io(&error)
            ))
        })
    }

    /// Waits once for the daemon, signals and standard input, and serves what came.
    fn turn(&mut self) -> Result<(), Failure> {
        let wants_input = self.stdin && self.input.is_empty();
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, !self.input.is_empty());
        let session = PollFd::from_borrowed_fd(self.session.fd(), flags);
        let stdin = rustix::stdio::stdin();
        let mut fds = vec![session];
        fds.extend(
            self.signals
                .as_ref()
                .map(|signals| PollFd::new(&signals.fd, PollFlags::IN)),
        );
        fds.extend(wants_input.then(|| PollFd::from_borrowed_fd(stdin, PollFlags::IN)));
        wait(&mut fds)?;
        let found: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        self.forward_signals();
        if found[0].intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.take()?;
        }
        if found[0].contains(PollFlags::OUT) {
            self.send();
        }
        if wants_input && found.last().is_some_and(|flags| !flags.is_empty()) {
            self.read_input(stdin)?;
        }
        Ok(())
    }

    fn read_input(&mut self, stdin: BorrowedFd<'_>) -> Result<(), Failure> {
        let mut buffer = vec![0; BUFFER];
        match rustix::io::read(stdin, &mut buffer) {
            // A terminal that hung up has no more input.
            Ok(0) | Err(Errno::IO) => {
                self.stdin = false;
                self.session.end_input();
            }
            Ok(length) => {
                buffer.truncate(length);
                self.input = buffer;
                self.send();
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(Failure::io("read standard input", &error.into())),
        }
        Ok(())
    }

    fn send(&mut self) {
        match self.session.send(&self.input) {
            Ok(length) => drop(self.input.drain(..length)),
            // A process that no longer reads is no error: its output tells the end.
            Err(_) => {
                self.stdin = false;
                self.input.clear();
            }
        }
    }

    fn forward_signals(&self) {
        let Some(signals) = &self.signals else { return };
        while let Ok(Some(received)) = sys::signal::read_signalfd(signals.fd.as_fd()) {
            let name = signal::FORWARDED
                .iter()
                .find(|(number, _)| *number == received.signal);
            if let Some((_, name)) = name {
                (self.forward)(name);
            }
        }
    }

    /// Writes all of `bytes`; signals are passed on while a slow reader is waited for.
    fn write(&self, fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
        // What is never busy need not be waited for.
        let is_file = rustix::fs::fstat(fd)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        while !bytes.is_empty() {
            let mut length = bytes.len();
            if !is_file {
                length = length.min(PIPE_PIECE);
                let mut fds = vec![PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
                fds.extend(
                    self.signals
                        .as_ref()
                        .map(|signals| PollFd::new(&signals.fd, PollFlags::IN)),
                );
                match poll(&mut fds, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
                let is_ready = !fds[0].revents().is_empty();
                drop(fds);
                self.forward_signals();
                if !is_ready {
                    continue;
                }
            }
            match rustix::io::write(fd, &bytes[..length]) {
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn wait(fds: &mut [PollFd<'_>]) -> Result<(), Failure> {
    match poll(fds, None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(Failure::io("wait for the daemon", &error.into())),
    }
}
