//! Berth's own calls (`api_types::session`) on a unix socket, without an asynchronous runtime.
//!
//! A command that is a process of its own pays for all it touches: hyper and a runtime are a third of a millisecond of page
//! faults. Here the caller waits with `poll` on [`Session::fd`] and calls [`Session::receive`] when there is something to
//! read. A reply that is not a session, from a daemon that is not a Berth or an error of any kind, is [`Next::Other`]: nothing was
//! done, and the caller asks again by [`crate::Client`], which has the words for it.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use api_types::container::WaitReply;
use api_types::exec::ExecCreateRequest;
use api_types::session::{
    CONTENT_TYPE, ENDED, LARGEST_DOCUMENT, REFUSED, RUN_PATH, RunRefused, RunRequest, RunStarted, STARTED,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Query;

/// The largest head of a reply.
const LARGEST_HEAD: usize = 16 << 10;

/// How much is read at once.
const BUFFER: usize = 32 << 10;

/// A call under way.
#[derive(Debug)]
pub struct Session {
    socket: UnixStream,
    buffer: Vec<u8>,
    /// What of `buffer` was taken already.
    taken: usize,
    is_begun: bool,
    /// The kind of the output frame that is being taken, and how much of it is to come.
    output: (u8, usize),
    is_closed: bool,
}

/// What came.
#[derive(Debug)]
pub enum Next<'a> {
    /// Nothing whole: [`Session::receive`] must be called.
    Nothing,
    /// The reply is not a session.
    Other,
    /// The container runs.
    Started(RunStarted),
    /// The container could not be started.
    Refused(RunRefused),
    /// Standard output.
    Stdout(&'a [u8]),
    /// Standard error.
    Stderr(&'a [u8]),
    /// The end.
    Ended(WaitReply),
    /// The daemon closed the connection.
    Closed,
}

/// What came makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the daemon's reply has a frame of kind {kind} with {length} bytes that makes no sense")]
pub struct SessionError {
    kind: u8,
    length: usize,
}

impl Session {
    /// Asks for a run.
    pub fn run(socket: &Path, request: &RunRequest) -> io::Result<Self> {
        Self::call(socket, RUN_PATH, request)
    }

    /// Asks for an exec in `container`.
    pub fn exec(socket: &Path, container: &str, request: &ExecCreateRequest) -> io::Result<Self> {
        let query = Query::new(&["berth", "containers", container, "exec"]);
        Self::call(socket, query.as_str(), request)
    }

    fn call<B: Serialize>(socket: &Path, path: &str, body: &B) -> io::Result<Self> {
        let mut socket = UnixStream::connect(socket)?;
        let body = serde_json::to_vec(body)?;
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: berth/{} (linux)\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            env!("CARGO_PKG_VERSION"),
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        socket.write_all(&request)?;
        // From here on the caller waits on more than this socket.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(1024),
            taken: 0,
            is_begun: false,
            output: (0, 0),
            is_closed: false,
        })
    }

    /// Returns what to wait on.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads what there is.
    pub fn receive(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept + BUFFER, 0);
        let read = self.socket.read(&mut self.buffer[kept..]);
        self.buffer.truncate(kept + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => self.is_closed = true,
            Ok(_) => {}
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                // A daemon that was killed.
                io::ErrorKind::ConnectionReset => self.is_closed = true,
                _ => return Err(error),
            },
        }
        Ok(())
    }

    /// Returns what has been received.
    pub fn take_next(&mut self) -> Result<Next<'_>, SessionError> {
        if !self.is_begun {
            let Some(length) = end_of_head(&self.buffer) else {
                let is_over = self.is_closed || self.buffer.len() > LARGEST_HEAD;
                return Ok(if is_over { Next::Other } else { Next::Nothing });
            };
            if !is_session(&self.buffer[..length]) {
                return Ok(Next::Other);
            }
            (self.taken, self.is_begun) = (length, true);
        }
        loop {
            let (kind, remaining) = self.output;
            let available = self.buffer.len() - self.taken;
            if remaining > 0 && available > 0 {
                let from = self.taken;
                let length = remaining.min(available);
                self.taken += length;
                self.output.1 -= length;
                let piece = &self.buffer[from..from + length];
                return Ok(if kind == 2 {
                    Next::Stderr(piece)
                } else {
                    Next::Stdout(piece)
                });
            }
            let Some([kind, _, _, _, length @ ..]) = self.buffer[self.taken..].first_chunk::<8>() else {
                return Ok(if self.is_closed {
                    Next::Closed
                } else {
                    Next::Nothing
                });
            };
            let (kind, length) = (
                *kind,
                usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX),
            );
            if matches!(kind, 1 | 2) {
                self.taken += 8;
                self.output = (kind, length);
                continue;
            }
            if !matches!(kind, STARTED | REFUSED | ENDED) || length > LARGEST_DOCUMENT {
                return Err(SessionError { kind, length });
            }
            let from = self.taken + 8;
            let Some(document) = self.buffer.get(from..from + length) else {
                return Ok(if self.is_closed {
                    Next::Closed
                } else {
                    Next::Nothing
                });
            };
            let next = match kind {
                STARTED => decode(document).map(Next::Started),
                REFUSED => decode(document).map(Next::Refused),
                _ => decode(document).map(Next::Ended),
            };
            self.taken = from + length;
            return next.ok_or(SessionError { kind, length });
        }
    }

    /// Sends some of `bytes` as standard input; returns how many.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.socket).write(bytes) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(0)
            }
            result => result,
        }
    }

    /// Ends standard input.
    pub fn end_input(&self) {
        // A daemon that is gone needs no telling.
        let _gone = self.socket.shutdown(std::net::Shutdown::Write);
    }
}

fn decode<T: DeserializeOwned>(document: &[u8]) -> Option<T> {
    serde_json::from_slice(document).ok()
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// Returns whether a head is that of a session.
fn is_session(head: &[u8]) -> bool {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let is_good = lines
        .next()
        .is_some_and(|line| line.starts_with(b"HTTP/1.1 200 "));
    is_good
        && lines.any(|line| {
            let mut parts = line.splitn(2, |&byte| byte == b':');
            let name = parts.next().unwrap_or_default();
            let value = parts.next().unwrap_or_default().trim_ascii();
            name.eq_ignore_ascii_case(b"content-type") && value == CONTENT_TYPE.as_bytes()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut frame = vec![kind, 0, 0, 0];
        frame.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(content);
        frame
    }

    fn head(content_type: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n").into_bytes()
    }

    /// Sends `wire` in pieces of `step` bytes and tells what comes out.
    fn heard(wire: &[u8], step: usize) -> String {
        use std::fmt::Write as _;
        let (mut daemon, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut session = Session {
            socket,
            buffer: Vec::new(),
            taken: 0,
            is_begun: false,
            output: (0, 0),
            is_closed: false,
        };
        let (mut heard, mut pieces) = (String::new(), wire.chunks(step));
        loop {
            match session.take_next() {
                Ok(Next::Nothing) => {}
                Ok(Next::Stdout(bytes)) => {
                    heard.push_str(&String::from_utf8_lossy(bytes));
                    continue;
                }
                Ok(Next::Stderr(bytes)) => {
                    heard.push_str(&String::from_utf8_lossy(bytes).to_uppercase());
                    continue;
                }
                Ok(Next::Started(started)) => {
                    write!(heard, "[{}]", started.id).unwrap();
                    continue;
                }
                Ok(Next::Refused(refused)) => {
                    write!(heard, "!{} {}!", refused.status, refused.message).unwrap();
                    continue;
                }
                Ok(Next::Ended(ended)) => {
                    write!(heard, "<{}>", ended.status_code).unwrap();
                    continue;
                }
                Ok(Next::Other) => return format!("{heard}other"),
                Ok(Next::Closed) => return format!("{heard}closed"),
                Err(error) => return format!("{heard}{error}"),
            }
            match pieces.next() {
                Some(piece) => daemon.write_all(piece).unwrap(),
                None => daemon.shutdown(std::net::Shutdown::Both).unwrap(),
            }
            session.receive().unwrap();
        }
    }

    #[test]
    fn frames_cut_anywhere() {
        let mut wire = head(CONTENT_TYPE);
        for (kind, content) in [
            (STARTED, &br#"{"Id":"x"}"#[..]),
            (1, b"hello"),
            (2, b""),
            (2, b"oops"),
            (ENDED, br#"{"StatusCode":7}"#),
        ] {
            wire.extend(frame(kind, content));
        }
        for step in 1..=wire.len() {
            assert_eq!(heard(&wire, step), "[x]helloOOPS<7>closed", "step {step}");
        }
        let refused = [
            head(CONTENT_TYPE),
            frame(REFUSED, br#"{"Status":400,"Message":"no"}"#),
        ]
        .concat();
        assert_eq!(heard(&refused, 1000), "!400 no!closed");
    }

    #[test]
    fn everything_else_is_for_docker_s_way() {
        assert_eq!(heard(&head("application/json"), 5), "other");
        assert_eq!(
            heard(b"HTTP/1.1 404 Not Found\r\nContent-Type: x\r\n\r\n{}", 9),
            "other"
        );
        assert_eq!(heard(b"", 1), "other");
        assert_eq!(heard(&vec![b'x'; LARGEST_HEAD + 1], 4096), "other");
    }

    #[test]
    fn rubbish_is_an_error() {
        for frame in [
            frame(9, b"x"),
            frame(STARTED, b"{"),
            vec![ENDED, 0, 0, 0, 255, 0, 0, 0],
        ] {
            let wire = [head(CONTENT_TYPE), frame].concat();
            assert!(heard(&wire, 1000).contains("makes no sense"));
        }
    }
}
