//! Docker's multiplexed stream: frames of standard output and standard error on one connection.
//!
//! Each frame is a head of 8 bytes (stream 0, 1, 2 or 3; three zeros; length, big-endian) and that many bytes
//! (Docker API reference, "Stream format"). Stream 3 is an error of the daemon itself.

/// Which stream a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard input's echo, and standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The daemon's own error.
    Daemon,
}

/// Takes a multiplexed stream apart; frames may be cut anywhere.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    head: [u8; 8],
    /// How many bytes of the head there are.
    filled: usize,
    /// How many bytes of the frame are still to come.
    remaining: usize,
}

/// The stream is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unrecognized input header: {0}")]
pub(crate) struct DemuxError(u8);

impl Demux {
    /// Takes the next piece off `bytes`; `None` when `bytes` is used up.
    pub(crate) fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<(Stream, &'a [u8])>, DemuxError> {
        while self.remaining == 0 {
            let missing = self.head.len() - self.filled;
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.head[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            *bytes = rest;
            if self.filled < self.head.len() {
                return Ok(None);
            }
            self.filled = 0;
            let [_, _, _, _, length @ ..] = self.head;
            self.remaining = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        }
        let stream = match self.head[0] {
            0 | 1 => Stream::Stdout,
            2 => Stream::Stderr,
            3 => Stream::Daemon,
            other => return Err(DemuxError(other)),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let (piece, rest) = bytes.split_at(self.remaining.min(bytes.len()));
        self.remaining -= piece.len();
        *bytes = rest;
        Ok(Some((stream, piece)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cut_anywhere() {
        let mut wire = Vec::new();
        for (stream, text) in [(1u8, &b"hello"[..]), (2, b""), (2, b"oops"), (1, b"!")] {
            wire.extend_from_slice(&[stream, 0, 0, 0]);
            wire.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            wire.extend_from_slice(text);
        }
        for step in 1..=wire.len() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut demux = Demux::default();
            for mut piece in wire.chunks(step) {
                while let Some((stream, data)) = demux.next(&mut piece).unwrap() {
                    match stream {
                        Stream::Stdout => out.extend_from_slice(data),
                        Stream::Stderr => err.extend_from_slice(data),
                        Stream::Daemon => panic!("no such frame"),
                    }
                }
            }
            assert_eq!(
                (out.as_slice(), err.as_slice()),
                (&b"hello!"[..], &b"oops"[..]),
                "step {step}"
            );
        }
    }

    #[test]
    fn rubbish_is_an_error() {
        let mut demux = Demux::default();
        assert_eq!(demux.next(&mut &b"HTTP/1.1 200"[..]), Err(DemuxError(b'H')));
    }
}
