//! From the thread that stores bytes to the one that unpacks them.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes};

/// Pieces that may wait; each is up to 256 KiB.
const WAITING: usize = 8;

/// Returns the two ends.
pub(super) fn feed() -> (Feed, FeedReader) {
    let (sender, receiver) = sync_channel(WAITING);
    let reader = FeedReader {
        receiver,
        present: Bytes::new(),
        read: Box::new(|_| ()),
        ended: false,
    };
    (Feed(sender), reader)
}

/// Takes bytes.
pub(super) struct Feed(SyncSender<Bytes>);

impl Feed {
    /// Passes bytes on; false when nobody reads them any more.
    pub(super) fn send(&self, bytes: Bytes) -> bool {
        // An empty piece is the end.
        bytes.is_empty() || self.0.send(bytes).is_ok()
    }

    /// Ends the stream. Without this its reader gets an error, not an end.
    pub(super) fn end(self) {
        // Nobody may read any more, who then has said why.
        drop(self.0.send(Bytes::new()));
    }
}

/// Gives bytes.
pub(super) struct FeedReader {
    receiver: Receiver<Bytes>,
    present: Bytes,
    read: Box<dyn FnMut(usize) + Send>,
    ended: bool,
}

impl FeedReader {
    /// Calls `read` with the size of each piece that was used up.
    pub(super) fn counting(mut self, read: impl FnMut(usize) + Send + 'static) -> Self {
        self.read = Box::new(read);
        self
    }
}

impl Read for FeedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.present.is_empty() && !self.ended {
            self.present = self.receiver.recv().map_err(|_cut_off| {
                io::Error::new(io::ErrorKind::ConnectionAborted, "the download was cut off")
            })?;
            self.ended = self.present.is_empty();
            (self.read)(self.present.len());
        }
        let length = buffer.len().min(self.present.len());
        self.present.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
