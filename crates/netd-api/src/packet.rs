//! Messages as packets: JSON on a `SOCK_SEQPACKET` socket, descriptors with the first packet.
//!
//! A message that fits is one packet, which begins with `{`. A longer one is sent in pieces: all but the last begin with
//! `+`, the last with `.`, and what follows those signs, joined, is the message.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sys::SyscallError;

/// The largest packet in bytes.
pub const PACKET: usize = 60 << 10;
/// The largest message in bytes.
pub const MESSAGE: usize = 64 << 20;
/// How many descriptors a message carries at most.
pub const FDS: usize = 4;

const MORE: u8 = b'+';
const LAST: u8 = b'.';

/// Why a message was not sent or not understood. The connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The socket failed.
    #[error("use netd's socket")]
    Socket {
        /// The cause.
        source: io::Error,
    },
    /// The other side has closed.
    #[error("netd's connection is closed")]
    Closed,
    /// A message is larger than [`MESSAGE`], or has too many descriptors.
    #[error("a message of {size} bytes with {fds} descriptors is too large")]
    TooLarge {
        /// Its size in bytes, so far.
        size: usize,
        /// Its descriptors, so far.
        fds: usize,
    },
    /// A message could not be encoded or decoded.
    #[error("a message of netd's protocol is wrong")]
    Wrong {
        /// The cause.
        source: serde_json::Error,
    },
    /// A packet is not one of this protocol.
    #[error("a packet of netd's protocol begins with {first:?}")]
    Sign {
        /// Its first byte, if it has one.
        first: Option<u8>,
    },
}

impl From<SyscallError> for PacketError {
    fn from(error: SyscallError) -> Self {
        match error.errno() {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Self::Closed,
            _ => Self::Socket { source: error.into() },
        }
    }
}

/// Returns the packets that `message` is sent as.
pub fn encode(message: &impl Serialize) -> Result<Vec<Vec<u8>>, PacketError> {
    let text = serde_json::to_vec(message).map_err(|source| PacketError::Wrong { source })?;
    if text.len() > MESSAGE {
        return Err(PacketError::TooLarge {
            size: text.len(),
            fds: 0,
        });
    }
    if text.len() <= PACKET {
        return Ok(vec![text]);
    }
    let count = text.len().div_ceil(PACKET - 1);
    let pieces = text.chunks(PACKET - 1).enumerate();
    Ok(pieces
        .map(|(index, piece)| {
            let sign = if index + 1 == count { LAST } else { MORE };
            let mut packet = Vec::with_capacity(piece.len() + 1);
            packet.push(sign);
            packet.extend_from_slice(piece);
            packet
        })
        .collect())
}

/// Sends `message` and copies of `fds` on a socket that waits.
pub fn send(socket: impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> Result<(), PacketError> {
    let mut fds = fds;
    for packet in encode(message)? {
        sys::socket::send_with_fds(&socket, &packet, fds)?;
        fds = &[];
    }
    Ok(())
}

/// Puts messages together from packets. Holds no memory between messages.
#[derive(Debug, Default)]
pub struct Decoder {
    text: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Decoder {
    /// Takes one packet and what came with it; returns the message that it completes.
    pub fn push<T: DeserializeOwned>(
        &mut self,
        packet: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, PacketError> {
        self.fds.extend(fds);
        let size = self.text.len() + packet.len();
        if size > MESSAGE || self.fds.len() > FDS {
            let fds = self.fds.len();
            return Err(PacketError::TooLarge { size, fds });
        }
        let message = match packet.split_first() {
            Some((&MORE, piece)) => {
                self.text.extend_from_slice(piece);
                return Ok(None);
            }
            Some((&LAST, piece)) => {
                self.text.extend_from_slice(piece);
                serde_json::from_slice(&std::mem::take(&mut self.text))
            }
            Some((b'{', _)) if self.text.is_empty() => serde_json::from_slice(packet),
            first => {
                let first = first.map(|(&first, _)| first);
                return Err(PacketError::Sign { first });
            }
        };
        let message = message.map_err(|source| PacketError::Wrong { source })?;
        Ok(Some((message, std::mem::take(&mut self.fds))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_travels_in_pieces() {
        for length in [0, 1, PACKET - 2, PACKET - 1, PACKET, 3 * PACKET, 3 * PACKET - 3] {
            let message = std::collections::BTreeMap::from([("text", "x".repeat(length))]);
            let mut decoder = Decoder::default();
            let packets = encode(&message).unwrap();
            let (last, firsts) = packets.split_last().unwrap();
            for packet in firsts {
                assert!(packet.len() <= PACKET);
                let nothing = decoder.push::<serde_json::Value>(packet, Vec::new()).unwrap();
                assert!(nothing.is_none());
            }
            let (value, _) = decoder
                .push::<serde_json::Value>(last, Vec::new())
                .unwrap()
                .unwrap();
            assert_eq!(value["text"].as_str().unwrap().len(), length);
            assert_eq!(decoder.text.capacity(), 0);
        }
    }

    #[test]
    fn other_packets_are_refused() {
        for packet in [&b""[..], b"x", b"{", b".", b".{", b"[]", b"\0", b"{\"a\":1}x"] {
            let mut decoder = Decoder::default();
            assert!(decoder.push::<serde_json::Value>(packet, Vec::new()).is_err());
        }
        let mut decoder = Decoder::default();
        decoder.push::<serde_json::Value>(b"+{", Vec::new()).unwrap();
        assert!(decoder.push::<serde_json::Value>(b"{}", Vec::new()).is_err());
    }
}
