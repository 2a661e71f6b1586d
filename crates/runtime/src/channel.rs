//! What parent and child say to each other over their socket pair.
//!
//! One packet per message: a byte for its kind, then its content.
//!
//! | kind | direction | content | descriptors |
//! |---|---|---|---|
//! | `M` | to the child | the maps are written | |
//! | `F` | to the child | | mounts, more will follow |
//! | `G` | to the child | | mounts, these are the last |
//! | `W` | to the child | the networks are there | |
//! | `N` | to the parent | the network namespace is made, and it is time to plug it in | |
//! | `P` | to the parent | i32 pid | a pidfd |
//! | `R` | to the parent | ready to run the program | the console's master, if any |
//! | `E` | to the parent | step byte, i32 errno, text | |

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::process::Pid;
use sys::SyscallError;
use sys::socket::{MAX_FDS, PairKind, receive_with_fds, send_with_fds};

use crate::error::{AtStep, CreateError, Result, Step};

/// One end.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
}

/// A message received.
#[derive(Debug)]
pub(crate) enum Message {
    Mapped,
    Mounts {
        fds: Vec<OwnedFd>,
        last: bool,
    },
    /// The container is plugged into its networks.
    Plugged,
    /// The child's network namespace is there, with its loopback interface up, and it is time to plug it in.
    Network,
    Pid(i32, OwnedFd),
    Ready(Option<OwnedFd>),
    Failed(CreateError),
    /// The other side has closed its end: the program runs, or the other process is gone.
    End,
}

/// The longest text in a message.
const MAX_TEXT: usize = 4000;

impl Channel {
    /// Returns both ends: the parent's and the child's.
    pub(crate) fn pair() -> Result<(Self, Self)> {
        let (parent, child) = sys::socket::pair(PairKind::SeqPacket).at(Step::Sync)?;
        Ok((Self { socket: parent }, Self { socket: child }))
    }

    /// Returns a channel over a stream that carries nothing but one [`Self::send_error`].
    pub(crate) fn over(socket: OwnedFd) -> Self {
        Self { socket }
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    pub(crate) fn send_mapped(&self) -> Result<()> {
        self.send(b"M", &[])
    }

    pub(crate) fn send_mounts(&self, fds: &[BorrowedFd<'_>]) -> Result<()> {
        let mut rest = fds;
        while rest.len() > MAX_FDS {
            let (first, others) = rest.split_at(MAX_FDS);
            self.send(b"F", first)?;
            rest = others;
        }
        self.send(b"G", rest)
    }

    pub(crate) fn send_plugged(&self) -> Result<()> {
        self.send(b"W", &[])
    }

    pub(crate) fn send_network(&self) -> Result<()> {
        self.send(b"N", &[])
    }

    pub(crate) fn send_pid(&self, pid: Pid, pidfd: BorrowedFd<'_>) -> Result<()> {
        let mut packet = vec![b'P'];
        packet.extend_from_slice(&pid.as_raw_nonzero().get().to_ne_bytes());
        self.send(&packet, &[pidfd])
    }

    pub(crate) fn send_ready(&self, console: Option<BorrowedFd<'_>>) -> Result<()> {
        match console {
            None => self.send(b"R", &[]),
            Some(console) => self.send(b"R", &[console]),
        }
    }

    /// Sends a failure; the sender ends after it, so nothing can be done when nobody listens any more.
    pub(crate) fn send_error(&self, error: &CreateError) {
        let packet = encode_error(error);
        drop(send_with_fds(&self.socket, &packet, &[]));
    }

    fn send(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        send_with_fds(&self.socket, packet, fds).at(Step::Sync).map(drop)
    }

    pub(crate) fn receive(&self) -> Result<Message> {
        let mut buffer = [0u8; MAX_TEXT + 96];
        let mut fds = Vec::new();
        let is_reset = |error: &SyscallError| error.errno() == Errno::CONNRESET;
        let length = match receive_with_fds(&self.socket, &mut buffer, &mut fds) {
            // The other side ended with messages of ours unread. The kernel tells this once, and before what the other
            // side has sent: its last word is still to come.
            Err(error) if is_reset(&error) => match receive_with_fds(&self.socket, &mut buffer, &mut fds) {
                Err(error) if is_reset(&error) => 0,
                result => result.at(Step::Sync)?,
            },
            result => result.at(Step::Sync)?,
        };
        let Some((kind, content)) = buffer[..length].split_first() else {
            return Ok(Message::End);
        };
        let lost = || CreateError::new(Step::Sync, 0, format!("message {kind} makes no sense"));
        Ok(match kind {
            b'M' => Message::Mapped,
            b'F' => Message::Mounts { fds, last: false },
            b'G' => Message::Mounts { fds, last: true },
            b'W' => Message::Plugged,
            b'N' => Message::Network,
            b'P' => {
                let pid: [u8; 4] = content.try_into().map_err(|_length| lost())?;
                Message::Pid(i32::from_ne_bytes(pid), fds.pop().ok_or_else(lost)?)
            }
            b'R' => Message::Ready(fds.pop()),
            b'E' => Message::Failed(decode_error(content).ok_or_else(lost)?),
            _ => return Err(lost()),
        })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn encode_error(error: &CreateError) -> Vec<u8> {
    let mut packet = vec![b'E', error.step().to_byte()];
    packet.extend_from_slice(&error.errno().to_ne_bytes());
    let text = error.message().as_bytes();
    packet.extend_from_slice(&text[..text.len().min(MAX_TEXT)]);
    packet
}

/// Reads what follows the `E`.
pub(crate) fn decode_error(content: &[u8]) -> Option<CreateError> {
    let (&step, rest) = content.split_first()?;
    let (errno, text) = rest.split_first_chunk::<4>()?;
    Some(CreateError::new(
        Step::from_byte(step)?,
        i32::from_ne_bytes(*errno),
        String::from_utf8_lossy(text).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_travel() {
        let (parent, child) = Channel::pair().unwrap();
        let error = CreateError::new(Step::Exec, libc::ENOENT, "x".repeat(5000));
        child.send_error(&error);
        let Message::Failed(received) = parent.receive().unwrap() else {
            panic!("another message");
        };
        assert_eq!((received.step(), received.errno()), (Step::Exec, libc::ENOENT));
        assert_eq!(received.message().len(), MAX_TEXT);
        drop(child);
        assert!(matches!(parent.receive().unwrap(), Message::End));
    }

    #[test]
    fn a_failure_is_heard_from_one_that_did_not_listen() {
        let (parent, child) = Channel::pair().unwrap();
        parent.send_mapped().unwrap();
        child.send_error(&CreateError::new(Step::Exec, libc::ENOENT, "why"));
        drop(child);
        assert!(matches!(parent.receive().unwrap(), Message::Failed(error) if error.message() == "why"));
        assert!(matches!(parent.receive().unwrap(), Message::End));
    }
}
