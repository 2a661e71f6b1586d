//! A stream that one thread makes and another one uses: decompression beside unpacking.
//!
//! The pieces are large, few and used again, so that neither locks nor fresh memory cost much, and their number bounds
//! what a fast maker can be ahead.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use oci::Digest;
use oci::digest::HashWriter;

/// Bytes of a piece.
const PIECE: usize = 256 << 10;
/// Pieces that may wait.
const WAITING: usize = 8;

/// Returns the two ends of a stream.
pub(crate) fn pieces() -> (Maker, Pieces) {
    let (full, incoming) = sync_channel(WAITING);
    let (used, empty) = channel();
    let pieces = Pieces {
        incoming,
        used,
        present: Vec::new(),
        at: 0,
        bytes: 0,
        digest: Digesting::Hash(HashWriter::new(io::sink())),
        ended: false,
    };
    (Maker { full, empty }, pieces)
}

/// The end that makes the stream.
#[derive(Debug)]
pub(crate) struct Maker {
    full: SyncSender<io::Result<Vec<u8>>>,
    empty: Receiver<Vec<u8>>,
}

impl Maker {
    /// Passes on all of `source`, then its end or its error. Stops early when nobody uses the stream any more.
    pub(crate) fn pass_on(self, mut source: impl Read) {
        loop {
            let mut piece = self.empty.try_recv().unwrap_or_default();
            piece.resize(PIECE, 0);
            let filled = fill(&mut source, &mut piece);
            let message = match filled {
                Ok(length) => {
                    piece.truncate(length);
                    Ok(piece)
                }
                Err(error) => Err(error),
            };
            // An empty piece is the end: a maker that panics sends none, and its stream does not end but fails.
            let is_last = message.as_ref().map_or(true, Vec::is_empty);
            if self.full.send(message).is_err() || is_last {
                return;
            }
        }
    }
}

fn fill(source: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match source.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What came before the error is used first; the source tells it again.
            Err(_later) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Where a stream's digest comes from.
#[derive(Debug)]
enum Digesting {
    Known(Digest),
    Hash(HashWriter<io::Sink>),
}

/// The end that uses the stream.
#[derive(Debug)]
pub(crate) struct Pieces {
    incoming: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    present: Vec<u8>,
    at: usize,
    bytes: u64,
    digest: Digesting,
    ended: bool,
}

impl Pieces {
    /// Takes a digest for that of all that will come, instead of hashing it.
    pub(crate) fn trust(&mut self, digest: &Digest) {
        self.digest = Digesting::Known(digest.clone());
    }

    /// Returns the digest and the number of bytes of all that came.
    pub(crate) fn finish(self) -> (Digest, u64) {
        let digest = match self.digest {
            Digesting::Known(digest) => digest,
            Digesting::Hash(hash) => hash.finish().1,
        };
        (digest, self.bytes)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.present.len() && !self.ended {
            let next = match self.incoming.recv() {
                Ok(next) => next?,
                Err(_gone) => return Err(io::Error::from(io::ErrorKind::BrokenPipe)),
            };
            self.ended = next.is_empty();
            self.bytes += u64::try_from(next.len()).unwrap_or(u64::MAX);
            if let Digesting::Hash(hash) = &mut self.digest {
                hash.write_all(&next)?;
            }
            let used = std::mem::replace(&mut self.present, next);
            self.at = 0;
            // The maker may have ended.
            drop(self.used.send(used));
        }
        Ok(&self.present[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at = (self.at + amount).min(self.present.len());
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_and_is_hashed() {
        let content: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
        let (maker, mut pieces) = pieces();
        std::thread::scope(|scope| {
            scope.spawn(|| maker.pass_on(&content[..]));
            let mut read = Vec::new();
            pieces.read_to_end(&mut read).unwrap();
            assert!(read == content);
        });
        let expected = (Digest::sha256(&content), u64::try_from(content.len()).unwrap());
        assert_eq!(pieces.finish(), expected);
    }

    #[test]
    fn a_maker_that_vanishes_is_no_end() {
        let (maker, mut pieces) = pieces();
        drop(maker);
        assert_eq!(
            pieces.read(&mut [0; 1]).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn an_error_comes_after_what_was_before_it() {
        struct Failing(usize);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = self.0.min(buffer.len());
                self.0 -= length;
                buffer[..length].fill(7);
                match length {
                    0 => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                    _ => Ok(length),
                }
            }
        }
        let (maker, mut pieces) = pieces();
        std::thread::scope(|scope| {
            scope.spawn(|| maker.pass_on(Failing(1000)));
            let mut read = Vec::new();
            let error = pieces.read_to_end(&mut read).unwrap_err();
            assert_eq!((read.len(), error.kind()), (1000, io::ErrorKind::ConnectionReset));
        });
    }
}
