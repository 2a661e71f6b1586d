//! The standard streams of one process and the clients attached to them.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use logs::record::Stream;
use runtime::Stdio;
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;

use crate::client::{Client, Input};
use crate::container::Log;

/// Whose streams they are.
#[derive(Debug)]
pub(crate) enum Owner {
    /// PID 1.
    Container,
    /// An exec's process.
    Exec {
        /// The exec's id.
        id: String,
        /// Its pid.
        pid: i32,
        /// Its pidfd.
        pidfd: OwnedFd,
    },
    /// A process that has ended. Another one holds its output pipes: they are read and thrown away, so that it is not
    /// ended by SIGPIPE.
    Nobody,
}

/// A descriptor of a session that is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The end of stdin that we write.
    Stdin,
    /// stdout (0), or the terminal, or stderr (1).
    Output(usize),
    /// A client, by its position.
    Client(usize),
}

/// Which streams a process gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A terminal.
    Terminal,
    /// Pipes for output, and for stdin if so.
    Pipes {
        /// Whether stdin is a pipe; otherwise it is `/dev/null`.
        stdin: bool,
    },
    /// `/dev/null`.
    Null,
}

/// The streams of one process.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) owner: Owner,
    is_tty: bool,
    /// Whether clients may type at all (`-i`).
    pub(crate) takes_input: bool,
    stdin: Option<OwnedFd>,
    /// stdout and stderr; with a terminal its master and nothing.
    outputs: [Option<OwnedFd>; 2],
    /// What clients sent and the process has not read yet.
    to_stdin: Vec<u8>,
    /// Whether stdin is closed once `to_stdin` is written.
    stdin_has_ended: bool,
    /// Whether the end of a client's input is the end of stdin.
    closes_stdin: bool,
    pub(crate) clients: Vec<Client>,
}

const CHUNK: usize = 16 * 1024;
/// How much is read at most after a process has ended: more than a pipe can hold.
const LAST: usize = 4 << 20;

impl Session {
    /// Makes streams of `kind`: the process's ends, and ours.
    pub(crate) fn open(
        kind: Kind,
        size: Option<(u16, u16)>,
        closes_stdin: bool,
    ) -> io::Result<(Stdio, Self)> {
        let mut session = Self {
            owner: Owner::Nobody,
            is_tty: kind == Kind::Terminal,
            takes_input: true,
            stdin: None,
            outputs: [None, None],
            to_stdin: Vec::new(),
            stdin_has_ended: false,
            closes_stdin,
            clients: Vec::new(),
        };
        let null = || {
            File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .map(OwnedFd::from)
        };
        let stdio = match kind {
            Kind::Terminal => Stdio::Terminal { size },
            Kind::Null => Stdio::Fds {
                stdin: null()?,
                stdout: null()?,
                stderr: null()?,
            },
            Kind::Pipes { stdin } => {
                let stdin = if stdin {
                    let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                    session.stdin = Some(without_blocking(ours)?);
                    theirs
                } else {
                    null()?
                };
                let (out, stdout) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                let (err, stderr) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                session.outputs = [Some(without_blocking(out)?), Some(without_blocking(err)?)];
                Stdio::Fds {
                    stdin,
                    stdout,
                    stderr,
                }
            }
        };
        Ok((stdio, session))
    }

    /// Takes the terminal's master.
    pub(crate) fn set_console(&mut self, console: OwnedFd) -> io::Result<()> {
        self.outputs[0] = Some(without_blocking(console)?);
        Ok(())
    }

    /// Returns whether the process has a terminal.
    pub(crate) fn is_tty(&self) -> bool {
        self.is_tty
    }

    /// Returns the terminal, if there is one and it is still open.
    pub(crate) fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.outputs[0].as_ref().filter(|_| self.is_tty).map(AsFd::as_fd)
    }

    /// Calls `add` for each descriptor to poll.
    pub(crate) fn poll<'a>(&'a self, mut add: impl FnMut(Part, BorrowedFd<'a>, PollFlags)) {
        let is_held_up = self.clients.iter().any(Client::holds_up);
        let wants_write = !self.to_stdin.is_empty();
        for (index, output) in self.outputs.iter().enumerate() {
            let Some(output) = output else { continue };
            let mut flags = PollFlags::empty();
            if !is_held_up {
                flags |= PollFlags::IN;
            }
            if self.is_tty && wants_write {
                flags |= PollFlags::OUT;
            }
            // A descriptor polled for nothing would still report that the other side has gone, again and again.
            if !flags.is_empty() {
                add(Part::Output(index), output.as_fd(), flags);
            }
        }
        if let Some(stdin) = self.stdin.as_ref().filter(|_| wants_write) {
            add(Part::Stdin, stdin.as_fd(), PollFlags::OUT);
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if client.gives_input() && !wants_write {
                flags |= PollFlags::IN;
            }
            if client.has_pending() {
                flags |= PollFlags::OUT;
            }
            add(Part::Client(index), client.fd(), flags);
        }
    }

    /// Serves what poll has found.
    pub(crate) fn handle(&mut self, part: Part, found: PollFlags, log: Option<&mut Log>) {
        match part {
            Part::Stdin => self.write_stdin(),
            Part::Output(index) => {
                if found.contains(PollFlags::OUT) {
                    self.write_stdin();
                }
                if found.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    self.read_output(index, log);
                }
            }
            Part::Client(index) => self.serve_client(index, found),
        }
    }

    /// Reads everything that is in the output pipes of a process that has ended; returns whether they are at their
    /// end, so that nobody else holds them.
    pub(crate) fn drain(&mut self, mut log: Option<&mut Log>) -> bool {
        for index in 0..self.outputs.len() {
            let mut left = LAST;
            while let Some(count) = self.read_output(index, log.as_deref_mut()) {
                left = left.saturating_sub(count);
                if left == 0 {
                    break;
                }
            }
        }
        self.outputs.iter().all(Option::is_none)
    }

    /// Ends the session of a process that has ended; returns the clients that have not read everything.
    pub(crate) fn close(&mut self) -> Vec<Client> {
        self.owner = Owner::Nobody;
        self.stdin = None;
        self.to_stdin = Vec::new();
        let clients = std::mem::take(&mut self.clients);
        clients.into_iter().filter(Client::has_pending).collect()
    }

    /// Returns whether there is nothing left to do here.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.owner, Owner::Nobody) && self.outputs.iter().all(Option::is_none)
    }

    /// Returns the earliest time at which a client is given up.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.clients.iter().filter_map(Client::deadline).min()
    }

    /// Drops clients that are gone or too slow.
    pub(crate) fn sweep(&mut self, now: Instant) {
        for client in &mut self.clients {
            client.check_deadline(now);
        }
        self.clients.retain(|client| !client.is_dead);
    }

    /// Reads once; returns how much, or `None` if there is nothing now or ever.
    fn read_output(&mut self, index: usize, log: Option<&mut Log>) -> Option<usize> {
        let output = self.outputs[index].as_ref()?;
        let mut buffer = [0u8; CHUNK];
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => {}
            Ok(count) => {
                let stream = if index == 0 {
                    Stream::Stdout
                } else {
                    Stream::Stderr
                };
                self.distribute(stream, &buffer[..count], log);
                return Some(count);
            }
            Err(Errno::AGAIN | Errno::INTR) => return None,
            // EIO: nobody holds the terminal any more.
            Err(_) => {}
        }
        self.outputs[index] = None;
        None
    }

    fn distribute(&mut self, stream: Stream, bytes: &[u8], log: Option<&mut Log>) {
        if matches!(self.owner, Owner::Nobody) {
            return;
        }
        for client in &mut self.clients {
            client.send(stream, bytes);
        }
        if let Some(log) = log {
            log.write(stream, bytes);
        }
    }

    fn serve_client(&mut self, index: usize, found: PollFlags) {
        let Some(client) = self.clients.get_mut(index) else {
            return;
        };
        if found.contains(PollFlags::OUT) {
            client.flush();
        }
        let is_gone = found.intersects(PollFlags::HUP | PollFlags::ERR);
        let mut ended = is_gone && client.gives_input();
        while client.gives_input() && (is_gone || found.contains(PollFlags::IN)) {
            match client.receive(&mut self.to_stdin) {
                Input::Bytes if is_gone => {}
                Input::Bytes | Input::Nothing => break,
                Input::Ended => ended = true,
                Input::Detached => client.is_dead = true,
            }
        }
        if is_gone {
            client.is_dead = true;
        }
        if ended && self.closes_stdin && !self.is_tty {
            self.stdin_has_ended = true;
        }
        self.write_stdin();
    }

    /// Writes to the process what clients have sent.
    fn write_stdin(&mut self) {
        let target = if self.is_tty {
            self.outputs[0].as_ref()
        } else {
            self.stdin.as_ref()
        };
        let Some(target) = target.filter(|_| self.takes_input) else {
            // Nobody reads stdin: it is thrown away.
            self.to_stdin = Vec::new();
            return;
        };
        let mut written = 0;
        while written < self.to_stdin.len() {
            match rustix::io::write(target, &self.to_stdin[written..]) {
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    written = self.to_stdin.len();
                    self.stdin_has_ended = true;
                }
            }
        }
        if written == self.to_stdin.len() {
            self.to_stdin = Vec::new();
            if self.stdin_has_ended {
                self.stdin = None;
            }
        } else {
            self.to_stdin.drain(..written);
        }
    }
}

fn without_blocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    let flags = rustix::fs::fcntl_getfl(&fd)?;
    rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use shim_api::message::AttachOptions;

    use super::*;
    use crate::client::Patience;

    fn session() -> (Stdio, Session, OwnedFd) {
        let (stdio, mut session) = Session::open(Kind::Pipes { stdin: true }, None, true).unwrap();
        session.owner = Owner::Container;
        let (ours, theirs) = shim_api::frame::socket_pair().unwrap();
        let options = AttachOptions {
            stdin: true,
            stdout: true,
            stderr: true,
            detach_keys: Vec::new(),
        };
        session
            .clients
            .push(Client::new(ours, options, false, Patience::Onlooker));
        (stdio, session, theirs)
    }

    #[test]
    fn a_half_close_closes_stdin_after_the_last_byte() {
        let (stdio, mut session, client) = session();
        let Stdio::Fds { stdin, .. } = stdio else { panic!() };
        rustix::io::write(&client, b"input").unwrap();
        rustix::net::shutdown(&client, rustix::net::Shutdown::Write).unwrap();
        session.handle(Part::Client(0), PollFlags::IN, None);
        session.handle(Part::Client(0), PollFlags::IN, None);
        let mut buffer = [0; 16];
        assert_eq!(rustix::io::read(&stdin, &mut buffer).unwrap(), 5);
        assert_eq!(rustix::io::read(&stdin, &mut buffer).unwrap(), 0);
        session.sweep(Instant::now());
        assert_eq!(session.clients.len(), 1);
    }

    #[test]
    fn what_a_process_wrote_before_its_end_is_delivered_while_another_holds_the_pipe() {
        let (stdio, mut session, client) = session();
        let Stdio::Fds { stdout, .. } = &stdio else {
            panic!()
        };
        rustix::io::write(stdout, &[b'x'; 40_000]).unwrap();
        assert!(!session.drain(None));
        let mut got = 0;
        let mut buffer = [0; 65_536];
        while let Ok(count) = rustix::io::read(&client, &mut buffer) {
            got += count;
        }
        assert_eq!(got, 40_000 + 3 * 8);
        assert!(session.close().is_empty());
        assert_eq!(rustix::io::read(&client, &mut buffer).unwrap(), 0);
        // The other process goes on writing into nothing.
        rustix::io::write(stdout, b"late").unwrap();
        session.handle(Part::Output(0), PollFlags::IN, None);
        assert!(!session.is_over());
        drop(stdio);
        assert!(session.drain(None) && session.is_over());
    }
}
