//! Answers and their bodies. A blob is read in pieces as its client takes them, so that an answer costs one piece of
//! memory whatever the blob's size.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use hyper::body::{Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags};
use serde::Serialize;
use tokio::task::JoinHandle;

/// How much of a blob is in memory for one answer.
pub(crate) const PIECE: usize = 128 << 10;

/// The body of an answer.
pub(crate) enum Body {
    /// None.
    Empty,
    /// One piece.
    Full(Option<Bytes>),
    /// A part of a file.
    File(FileBody),
    /// Pieces that are made while they are sent, so many bytes in all.
    Stream {
        /// The pieces.
        pieces: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
        /// What is still to come.
        left: u64,
    },
}

impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::File(_) => "File",
            Self::Stream { .. } => "Stream",
        })
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::File(file) => file
                .poll_piece(context)
                .map(|piece| piece.map(|read| read.map(Frame::data))),
            Self::Stream { pieces, left } => pieces.as_mut().poll_next(context).map(|piece| {
                let piece = piece?;
                if let Ok(piece) = &piece {
                    *left = left.saturating_sub(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                }
                Some(piece.map(Frame::data))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Full(None) => true,
            Self::Full(Some(_)) => false,
            Self::File(file) => file.left == 0,
            Self::Stream { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        let length = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        SizeHint::with_exact(match self {
            Self::Empty => 0,
            Self::Full(bytes) => bytes.as_ref().map_or(0, |bytes| length(bytes.len())),
            Self::File(file) => file.left,
            Self::Stream { left, .. } => *left,
        })
    }
}

/// A part of a file on its way to a client.
pub(crate) struct FileBody {
    file: Arc<File>,
    offset: u64,
    left: u64,
    /// The last piece's memory, which is used again once the piece is sent.
    memory: BytesMut,
    /// A read that waits for the disk.
    reading: Option<JoinHandle<io::Result<BytesMut>>>,
}

impl FileBody {
    /// Returns `length` bytes of the file from `offset` on.
    pub(crate) fn new(file: File, offset: u64, length: u64) -> Self {
        Self {
            file: Arc::new(file),
            offset,
            left: length,
            memory: BytesMut::new(),
            reading: None,
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE);
            let mut memory = std::mem::take(&mut self.memory);
            memory.resize(length, 0);
            // Nearly always the bytes are in memory; a thread is asked only when the disk is.
            match read_at(&self.file, &mut memory, self.offset, ReadWriteFlags::NOWAIT) {
                Ok(count) => return Poll::Ready(Some(self.take(memory, count))),
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INVAL | Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Some(Err(errno.into()))),
            }
            let (file, offset) = (Arc::clone(&self.file), self.offset);
            self.reading = Some(tokio::task::spawn_blocking(move || {
                loop {
                    match read_at(&file, &mut memory, offset, ReadWriteFlags::empty()) {
                        Ok(count) => {
                            memory.truncate(count);
                            return Ok(memory);
                        }
                        Err(Errno::INTR) => {}
                        Err(errno) => return Err(errno.into()),
                    }
                }
            }));
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let read = match Pin::new(reading).poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(read) => read.map_err(io::Error::other).flatten(),
        };
        self.reading = None;
        Poll::Ready(Some(read.and_then(|memory| {
            let count = memory.len();
            self.take(memory, count)
        })))
    }

    /// Hands the first `count` bytes on and keeps the memory.
    fn take(&mut self, mut memory: BytesMut, count: usize) -> io::Result<Bytes> {
        if count == 0 {
            // The client sees a body that is too short, and says so.
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the blob is shorter than it was",
            ));
        }
        memory.truncate(count);
        let piece = memory.split().freeze();
        self.memory = memory;
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.offset += count;
        self.left = self.left.saturating_sub(count);
        Ok(piece)
    }
}

fn read_at(file: &File, memory: &mut [u8], offset: u64, flags: ReadWriteFlags) -> Result<usize, Errno> {
    rustix::io::preadv2(file, &mut [io::IoSliceMut::new(memory)], offset, flags)
}

/// Returns an answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// Returns a JSON document.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    // A document of strings and numbers can always be encoded.
    let bytes = serde_json::to_vec(document).unwrap_or_default();
    typed(status, "application/json; charset=utf-8", bytes.into())
}

/// Returns bytes of a media type.
pub(crate) fn typed(status: StatusCode, media_type: &str, bytes: Bytes) -> Response<Body> {
    let length = bytes.len();
    let mut response = Response::new(Body::Full(Some(bytes)));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, media_type);
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// Sets a header; a value that is none is left out.
pub(crate) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The manifest's or blob's digest.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The digest that a pushed manifest speaks about: says that the referrers API knows of it.
pub(crate) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Which filters were applied.
pub(crate) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// An upload's id.
pub(crate) const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
