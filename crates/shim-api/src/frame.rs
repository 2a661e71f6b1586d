//! Frames: a 4-byte little-endian length and that many bytes of JSON, with file descriptors on the first byte.
//!
//! Sends and receives once per call and never waits by itself unless it says so, so that a poll loop (the shim), a
//! blocking process (the zygote) and tokio (the daemon) can all use it. No bytes from the other side make it panic,
//! and none make it allocate more than [`LIMIT`].

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest body of a frame, in bytes.
pub const LIMIT: usize = 4 << 20;

/// The most file descriptors that go with one frame (the kernel's SCM_MAX_FD).
pub const MAXIMUM_FDS: usize = 253;

const HEADER: usize = 4;
const CHUNK: usize = 16 * 1024;

/// Why a frame could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The body is larger than [`LIMIT`] or has more than [`MAXIMUM_FDS`] descriptors.
    #[error("a frame of {size} bytes and {fds} descriptors is too large")]
    TooLarge {
        /// The body's size in bytes.
        size: usize,
        /// The number of descriptors.
        fds: usize,
    },
    /// Descriptors are missing: the sender gave fewer than its message needs, or the kernel dropped some.
    #[error("descriptors are missing")]
    MissingFds,
    /// The body is not the message that was expected.
    #[error("decode a frame")]
    Decode {
        /// The cause.
        source: serde_json::Error,
    },
    /// The socket failed.
    #[error("use the socket")]
    Socket {
        /// The cause.
        source: io::Error,
    },
}

/// Returns `message` as one frame, header included.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, message).map_err(|source| FrameError::Decode { source })?;
    let size = frame.len() - HEADER;
    match u32::try_from(size) {
        Ok(length) if size <= LIMIT => frame[..HEADER].copy_from_slice(&length.to_le_bytes()),
        _ => return Err(FrameError::TooLarge { size, fds: 0 }),
    }
    Ok(frame)
}

/// Sends some of `bytes`, with `fds` on the first of them, and returns how many were taken. Does not wait:
/// `WouldBlock` if nothing could be sent. `fds` must be empty for the rest of a frame that was begun.
pub fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    if fds.len() > MAXIMUM_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAXIMUM_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Sends a whole frame, waiting for room when the socket is full.
pub fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), FrameError> {
    let frame = encode(message)?;
    let mut sent = 0;
    while sent < frame.len() {
        let fds = if sent == 0 { fds } else { &[] };
        match send_some(socket, &frame[sent..], fds) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(socket, PollFlags::OUT)?,
            Err(source) => return Err(FrameError::Socket { source }),
        }
    }
    Ok(())
}

/// Waits until one of `flags` holds for `socket`.
fn wait(socket: BorrowedFd<'_>, flags: PollFlags) -> Result<(), FrameError> {
    match rustix::event::poll(&mut [PollFd::from_borrowed_fd(socket, flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(FrameError::Socket { source: errno.into() }),
    }
}

/// What one [`Decoder::receive`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Some bytes.
    Bytes,
    /// Nothing now.
    Nothing,
    /// The other side has closed; no more frames.
    End,
}

/// Puts frames together from what arrives. Holds no memory between frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// How many bytes of `buffer` were handed out already.
    consumed: usize,
    fds: VecDeque<OwnedFd>,
}

impl Decoder {
    /// Receives once from `socket` without waiting.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> Result<Received, FrameError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAXIMUM_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut chunk = [0u8; CHUNK];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let result = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut chunk)], &mut ancillary, flags);
        let message = match result {
            Ok(message) => message,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
            Err(Errno::CONNRESET) => return Ok(Received::End),
            Err(errno) => return Err(FrameError::Socket { source: errno.into() }),
        };
        for received in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = received {
                self.fds.extend(fds);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) || self.fds.len() > 4 * MAXIMUM_FDS {
            return Err(FrameError::MissingFds);
        }
        if message.bytes == 0 {
            return Ok(Received::End);
        }
        self.push(&chunk[..message.bytes]);
        Ok(Received::Bytes)
    }

    /// Receives, waiting, until a whole frame is there; `None` if the other side closed before.
    pub fn wait_for<T: DeserializeOwned>(&mut self, socket: BorrowedFd<'_>) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(message) = self.next()? {
                return Ok(Some(message));
            }
            match self.receive(socket)? {
                Received::Bytes => {}
                Received::Nothing => wait(socket, PollFlags::IN)?,
                Received::End => return Ok(None),
            }
        }
    }

    /// Takes bytes that were received.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.consumed > 0 {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next message if all of it has arrived. After an error the stream cannot be used any more.
    #[expect(
        clippy::should_implement_trait,
        reason = "the message's type differs from call to call"
    )]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = self.buffer.get(self.consumed..).unwrap_or_default();
        let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let size = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
        if size > LIMIT {
            return Err(FrameError::TooLarge { size, fds: 0 });
        }
        let Some(body) = rest.get(..size) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body).map_err(|source| FrameError::Decode { source })?;
        self.consumed += HEADER + size;
        if self.consumed == self.buffer.len() {
            self.buffer = Vec::new();
            self.consumed = 0;
        }
        Ok(Some(message))
    }

    /// Takes the `count` descriptors that came with the message just returned.
    pub fn take_fds(&mut self, count: usize) -> Result<Vec<OwnedFd>, FrameError> {
        if self.fds.len() < count {
            return Err(FrameError::MissingFds);
        }
        Ok(self.fds.drain(..count).collect())
    }
}

/// Returns a connected pair of non-blocking stream sockets that an exec closes.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Returns `fds` borrowed, as [`send`] wants them.
pub fn borrow(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Reply, Request};

    #[test]
    fn a_message_and_its_fds_arrive() {
        let (left, right) = socket_pair().unwrap();
        let (one, two) = socket_pair().unwrap();
        send(left.as_fd(), &Request::State, &[]).unwrap();
        send(left.as_fd(), &Request::Release, &[one.as_fd(), two.as_fd()]).unwrap();
        drop(left);
        let mut decoder = Decoder::default();
        assert!(matches!(
            decoder.wait_for(right.as_fd()).unwrap(),
            Some(Request::State)
        ));
        assert!(matches!(
            decoder.wait_for(right.as_fd()).unwrap(),
            Some(Request::Release)
        ));
        assert_eq!(decoder.take_fds(2).unwrap().len(), 2);
        assert!(matches!(decoder.take_fds(1), Err(FrameError::MissingFds)));
        assert!(decoder.wait_for::<Request>(right.as_fd()).unwrap().is_none());
        assert_eq!(decoder.buffer.capacity(), 0);
    }

    #[test]
    fn a_frame_may_arrive_byte_by_byte() {
        let frame = encode(&Reply::Done).unwrap();
        let mut decoder = Decoder::default();
        for (at, byte) in frame.iter().enumerate() {
            assert!(decoder.next::<Reply>().unwrap().is_none(), "after {at} bytes");
            decoder.push(&[*byte]);
        }
        assert!(matches!(decoder.next().unwrap(), Some(Reply::Done)));
        assert!(decoder.next::<Reply>().unwrap().is_none());
    }

    #[test]
    fn no_bytes_panic() {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        for length in 0..2000usize {
            let mut bytes: Vec<u8> = (0..length % 97)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state.to_le_bytes()[0]
                })
                .collect();
            if bytes.len() > 4 && length % 2 == 0 {
                bytes[..4].copy_from_slice(&u32::try_from(length % 90).unwrap().to_le_bytes());
            }
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next::<Request>() {}
        }
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(
            decoder.next::<Request>(),
            Err(FrameError::TooLarge { .. })
        ));
    }

    #[test]
    fn a_large_frame_waits_for_its_reader() {
        let (left, right) = socket_pair().unwrap();
        let text = "x".repeat(1 << 20);
        let sender = {
            let text = text.clone();
            std::thread::spawn(move || send(left.as_fd(), &text, &[]))
        };
        let mut decoder = Decoder::default();
        assert_eq!(
            decoder.wait_for::<String>(right.as_fd()).unwrap().as_deref(),
            Some(&*text)
        );
        sender.join().unwrap().unwrap();
        assert!(matches!(
            encode(&"x".repeat(LIMIT)),
            Err(FrameError::TooLarge { .. })
        ));
    }
}
