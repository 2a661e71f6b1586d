//! An attached client: output to it in Docker's wire format, input from it, detach keys, and its limits.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use logs::record::Stream;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use shim_api::message::AttachOptions;

/// What a client may leave unread, on top of the socket's own buffer, before it holds up the container.
const QUEUE: usize = 64 * 1024;

/// How long a client may hold up the container without reading anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Attached at the start: the container's output is a pipe to it (`run … | less`).
    Reader,
    /// Joined later.
    Onlooker,
}

impl Patience {
    fn duration(self) -> Duration {
        match self {
            Self::Reader => Duration::from_secs(30),
            Self::Onlooker => Duration::from_secs(1),
        }
    }
}

/// What came from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Bytes, appended to what goes to stdin.
    Bytes,
    /// Nothing now.
    Nothing,
    /// The client will send no more.
    Ended,
    /// The detach keys were typed.
    Detached,
}

/// One attached client.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    options: AttachOptions,
    is_tty: bool,
    outgoing: Vec<u8>,
    sent: usize,
    /// When something was read last, while anything is left.
    stalled_at: Option<Instant>,
    patience: Patience,
    input_is_open: bool,
    /// How many of the detach keys were typed.
    matched: usize,
    pub(crate) is_dead: bool,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd, options: AttachOptions, is_tty: bool, patience: Patience) -> Self {
        // It comes non-blocking from our own side; a socket that is not would be caught by MSG_DONTWAIT.
        Self {
            socket,
            input_is_open: options.stdin,
            options,
            is_tty,
            outgoing: Vec::new(),
            sent: 0,
            stalled_at: None,
            patience,
            matched: 0,
            is_dead: false,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns whether input from this client is wanted and may still come.
    pub(crate) fn gives_input(&self) -> bool {
        self.input_is_open && !self.is_dead
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.is_dead && self.sent < self.outgoing.len()
    }

    /// Returns whether no more output should be read from the container for now.
    pub(crate) fn holds_up(&self) -> bool {
        !self.is_dead && self.outgoing.len() - self.sent >= QUEUE
    }

    /// Returns when this client will be given up if it reads nothing until then.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let stalled_at = self.stalled_at.filter(|_| self.has_pending())?;
        Some(stalled_at + self.patience.duration())
    }

    /// Gives up a client that has read nothing for too long.
    pub(crate) fn check_deadline(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.is_dead = true;
        }
    }

    /// Sends output of the container, or queues it.
    pub(crate) fn send(&mut self, stream: Stream, bytes: &[u8]) {
        let is_wanted = match stream {
            Stream::Stdout => self.options.stdout,
            Stream::Stderr => self.options.stderr,
        };
        if self.is_dead || !is_wanted || bytes.is_empty() {
            return;
        }
        let mut header = [0u8; 8];
        header[0] = match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        header[4..].copy_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        let header = if self.is_tty { &[][..] } else { &header[..] };
        let mut taken = 0;
        if self.outgoing.is_empty() {
            taken = self.try_send(header, bytes).unwrap_or(0);
        }
        let of_header = taken.min(header.len());
        let rest = [&header[of_header..], &bytes[taken - of_header..]].concat();
        if !rest.is_empty() && !self.is_dead {
            self.outgoing.extend_from_slice(&rest);
            self.stalled_at.get_or_insert_with(Instant::now);
        }
    }

    /// Sends as much of the queue as the socket takes.
    pub(crate) fn flush(&mut self) {
        while self.has_pending() {
            let queue = std::mem::take(&mut self.outgoing);
            let taken = self.try_send(&queue[self.sent..], &[]);
            self.outgoing = queue;
            match taken {
                Some(count) if count > 0 => {
                    self.sent += count;
                    self.stalled_at = Some(Instant::now());
                }
                _ => break,
            }
        }
        if self.sent == self.outgoing.len() {
            self.outgoing = Vec::new();
            self.sent = 0;
            self.stalled_at = None;
        } else if self.sent >= QUEUE {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Appends what the client sent to `input`.
    pub(crate) fn receive(&mut self, input: &mut Vec<u8>) -> Input {
        let mut buffer = [0u8; 4096];
        let count = match rustix::io::read(&self.socket, &mut buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Input::Nothing,
            Err(_) => {
                self.is_dead = true;
                0
            }
        };
        if count == 0 {
            self.input_is_open = false;
            return Input::Ended;
        }
        let bytes = &buffer[..count];
        if !self.is_tty || self.options.detach_keys.is_empty() {
            input.extend_from_slice(bytes);
            return Input::Bytes;
        }
        if self.take_keys(bytes, input) {
            self.input_is_open = false;
            return Input::Detached;
        }
        Input::Bytes
    }

    /// Passes on what was typed but for the detach keys; returns whether they were complete.
    fn take_keys(&mut self, bytes: &[u8], input: &mut Vec<u8>) -> bool {
        for &byte in bytes {
            let keys = &self.options.detach_keys;
            if keys.get(self.matched) != Some(&byte) {
                // What looked like the beginning of the keys was not.
                input.extend_from_slice(&keys[..self.matched]);
                self.matched = 0;
            }
            if keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == keys.len() {
                    return true;
                }
            } else {
                input.push(byte);
            }
        }
        false
    }

    /// Returns how many bytes the socket took; `None` if it takes none now.
    fn try_send(&mut self, first: &[u8], second: &[u8]) -> Option<usize> {
        let slices = [IoSlice::new(first), IoSlice::new(second)];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let mut ancillary = SendAncillaryBuffer::default();
        match rustix::net::sendmsg(&self.socket, &slices, &mut ancillary, flags) {
            Ok(count) => Some(count),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => None,
            Err(_) => {
                self.is_dead = true;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(options: AttachOptions, is_tty: bool) -> (Client, OwnedFd) {
        let (ours, theirs) = shim_api::frame::socket_pair().unwrap();
        (Client::new(ours, options, is_tty, Patience::Reader), theirs)
    }

    fn typed(keys: &[u8], typed: &[&[u8]]) -> (Vec<u8>, bool) {
        let options = AttachOptions {
            stdin: true,
            detach_keys: keys.to_vec(),
            ..AttachOptions::default()
        };
        let (mut client, terminal) = client(options, true);
        let mut input = Vec::new();
        for bytes in typed {
            rustix::io::write(&terminal, bytes).unwrap();
            if client.receive(&mut input) == Input::Detached {
                return (input, true);
            }
        }
        (input, false)
    }

    #[test]
    fn detach_keys_are_found_and_kept_from_stdin() {
        let keys = [16, 17];
        assert_eq!(typed(&keys, &[b"ab\x10\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&keys, &[b"ab\x10", b"\x11"]), (b"ab".to_vec(), true));
        assert_eq!(typed(&keys, &[b"\x10", b"x"]), (b"\x10x".to_vec(), false));
        assert_eq!(typed(&keys, &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(&[], &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }

    #[test]
    fn output_is_framed_and_queued_whole() {
        let options = AttachOptions {
            stdout: true,
            ..AttachOptions::default()
        };
        let (mut client, reader) = client(options, false);
        client.send(Stream::Stderr, b"not wanted");
        client.send(Stream::Stdout, b"hello");
        let mut expected = b"\x01\0\0\0\0\0\0\x05hello".to_vec();
        let chunk = vec![b'x'; 10_000];
        while !client.holds_up() {
            client.send(Stream::Stdout, &chunk);
            expected.extend_from_slice(b"\x01\0\0\0\0\0\x27\x10");
            expected.extend_from_slice(&chunk);
        }
        assert!(client.deadline().is_some());
        let mut got = Vec::new();
        let mut buffer = vec![0; 65_536];
        while got.len() < expected.len() {
            client.flush();
            let count = rustix::io::read(&reader, &mut buffer[..]).unwrap();
            got.extend_from_slice(&buffer[..count]);
        }
        assert!(got == expected);
        assert!(client.deadline().is_none());
        drop(reader);
        client.send(Stream::Stdout, b"nobody");
        assert!(client.is_dead);
    }

    #[test]
    fn a_client_that_never_reads_is_given_up() {
        let options = AttachOptions {
            stdout: true,
            ..AttachOptions::default()
        };
        let (mut client, _reader) = client(options, true);
        while !client.holds_up() {
            client.send(Stream::Stdout, &[0; 10_000]);
        }
        client.check_deadline(Instant::now() + Duration::from_secs(29));
        assert!(!client.is_dead);
        client.check_deadline(Instant::now() + Duration::from_secs(31));
        assert!(client.is_dead);
    }
}
