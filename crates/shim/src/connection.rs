//! A daemon's connection, polled.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use serde::Serialize;
use shim_api::frame::{self, Decoder, FrameError, Received};
use shim_api::message::Request;

/// What a daemon may leave unread before it is given up.
const QUEUE: usize = 1 << 20;

/// One daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    outgoing: Vec<u8>,
    sent: usize,
    pub(crate) is_subscribed: bool,
    pub(crate) is_closed: bool,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            decoder: Decoder::default(),
            outgoing: Vec::new(),
            sent: 0,
            is_subscribed: false,
            is_closed: false,
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn interest(&self) -> PollFlags {
        if self.has_pending() {
            PollFlags::IN | PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.is_closed && self.sent < self.outgoing.len()
    }

    /// Receives once. The end of the connection and everything that is not the protocol close it.
    pub(crate) fn receive(&mut self) {
        if !matches!(
            self.decoder.receive(self.socket.as_fd()),
            Ok(Received::Bytes | Received::Nothing)
        ) {
            self.is_closed = true;
        }
    }

    /// Returns the next request with the `fds` that belong to it.
    pub(crate) fn next_request(&mut self) -> Option<(Request, Vec<OwnedFd>)> {
        match self.try_next_request() {
            Ok(request) => request,
            Err(_) => {
                self.is_closed = true;
                None
            }
        }
    }

    fn try_next_request(&mut self) -> Result<Option<(Request, Vec<OwnedFd>)>, FrameError> {
        let Some(request) = self.decoder.next()? else {
            return Ok(None);
        };
        let count = match &request {
            Request::Start { attaches, .. } => attaches.len(),
            Request::Attach(_) => 1,
            Request::Exec(exec) => usize::from(exec.attach.is_some()),
            _ => 0,
        };
        let fds = self.decoder.take_fds(count)?;
        Ok(Some((request, fds)))
    }

    /// Sends or queues a message.
    pub(crate) fn send<T: Serialize>(&mut self, message: &T) {
        match frame::encode(message) {
            Ok(frame) => self.send_frame(&frame),
            // None of our messages can be too large; a daemon that waits for it must not wait for ever.
            Err(_) => self.is_closed = true,
        }
    }

    /// Sends or queues an encoded message.
    pub(crate) fn send_frame(&mut self, frame: &[u8]) {
        self.outgoing.extend_from_slice(frame);
        self.flush();
        if self.outgoing.len() - self.sent > QUEUE {
            self.is_closed = true;
        }
    }

    /// Sends as much as the socket takes.
    pub(crate) fn flush(&mut self) {
        while self.sent < self.outgoing.len() {
            match frame::send_some(self.socket.as_fd(), &self.outgoing[self.sent..], &[]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_closed = true;
                    return;
                }
            }
        }
        self.outgoing = Vec::new();
        self.sent = 0;
    }
}
