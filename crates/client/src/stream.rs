//! Streams: the raw socket after an upgrade, bodies read piece by piece, and JSON documents one after another.

use std::io;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

pub use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream, tcp, unix};

use crate::ClientError;

/// How much of a body is read at once.
const CHUNK: usize = 64 << 10;

/// A connected socket of either family.
#[derive(Debug)]
pub enum Socket {
    /// A unix socket.
    Unix(UnixStream),
    /// TCP to this machine.
    Tcp(TcpStream),
}

/// Hands a call to whichever socket it is.
macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Unix($stream) => $call,
            Self::Tcp($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

/// A connection that no longer speaks HTTP: what is written goes to the process, what is read comes from it.
#[derive(Debug)]
pub struct Hijacked {
    pub(crate) socket: Socket,
    /// Bytes that came together with the answer's head.
    pub(crate) head: Bytes,
    /// Whether the daemon said that the stream is multiplexed (`application/vnd.docker.multiplexed-stream`); `None` if it did not say.
    pub(crate) multiplexed: Option<bool>,
}

impl Hijacked {
    /// Returns whether the stream carries 8-byte frame heads, if the daemon said so.
    pub fn multiplexed(&self) -> Option<bool> {
        self.multiplexed
    }

    /// Returns the two directions.
    pub fn split(self) -> (Reader, Writer) {
        let (source, writer) = match self.socket {
            Socket::Unix(stream) => {
                let (reader, writer) = stream.into_split();
                (Source::Unix(reader), WriterHalf::Unix(writer))
            }
            Socket::Tcp(stream) => {
                let (reader, writer) = stream.into_split();
                (Source::Tcp(reader), WriterHalf::Tcp(writer))
            }
        };
        (
            Reader {
                head: self.head,
                source,
            },
            Writer(writer),
        )
    }
}

/// The bytes that come: from a hijacked connection or from a body.
#[derive(Debug)]
pub struct Reader {
    head: Bytes,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Unix(unix::OwnedReadHalf),
    Tcp(tcp::OwnedReadHalf),
    Body(Incoming),
}

impl Reader {
    pub(crate) fn body(body: Incoming) -> Self {
        Self {
            head: Bytes::new(),
            source: Source::Body(body),
        }
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.head.is_empty() {
                let piece = this.head.split_to(this.head.len().min(buffer.remaining()));
                buffer.put_slice(&piece);
                return Poll::Ready(Ok(()));
            }
            let body = match &mut this.source {
                Source::Unix(half) => return Pin::new(half).poll_read(context, buffer),
                Source::Tcp(half) => return Pin::new(half).poll_read(context, buffer),
                Source::Body(body) => body,
            };
            match std::task::ready!(Pin::new(body).poll_frame(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                // A frame without data is a trailer.
                Some(Ok(frame)) => this.head = frame.into_data().unwrap_or_default(),
            }
        }
    }
}

/// The way to the process; dropping it does not end the other direction.
#[derive(Debug)]
pub struct Writer(WriterHalf);

#[derive(Debug)]
enum WriterHalf {
    Unix(unix::OwnedWriteHalf),
    Tcp(tcp::OwnedWriteHalf),
}

impl Writer {
    /// Writes all of `bytes`.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            WriterHalf::Unix(half) => half.write_all(bytes).await,
            WriterHalf::Tcp(half) => half.write_all(bytes).await,
        }
    }

    /// Tells the process that its input is at an end (half-close); reading goes on.
    pub async fn close(&mut self) -> io::Result<()> {
        match &mut self.0 {
            WriterHalf::Unix(half) => half.shutdown().await,
            WriterHalf::Tcp(half) => half.shutdown().await,
        }
    }
}

/// JSON documents, one after another, as they arrive.
#[derive(Debug)]
pub struct JsonStream<T> {
    body: Incoming,
    buffer: Vec<u8>,
    /// Up to where `buffer` was searched for a line's end.
    searched: usize,
    path: String,
    document: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    pub(crate) fn new(body: Incoming, path: String) -> Self {
        Self {
            body,
            buffer: Vec::new(),
            searched: 0,
            path,
            document: PhantomData,
        }
    }

    /// Returns the next document; `None` after the last.
    ///
    /// Documents are separated by line feeds, as every known daemon does; the last may lack its own.
    pub async fn next(&mut self) -> Option<Result<T, ClientError>> {
        loop {
            while let Some(found) = self.buffer[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n')
            {
                let rest = self.buffer.split_off(self.searched + found + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                if let Some(document) = self.decode(&line) {
                    return Some(document);
                }
            }
            self.searched = self.buffer.len();
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Some(Err(ClientError::Stream {
                        path: self.path.clone(),
                        source: io::Error::other(error),
                    }));
                }
                None => {
                    let line = std::mem::take(&mut self.buffer);
                    self.searched = 0;
                    return self.decode(&line);
                }
            }
        }
    }

    fn decode(&self, line: &[u8]) -> Option<Result<T, ClientError>> {
        // Record separators come before each document of a json-seq stream (RFC 7464).
        let line = line.trim_ascii();
        let line = line.strip_prefix(b"\x1e").unwrap_or(line);
        if line.is_empty() {
            return None;
        }
        Some(
            serde_json::from_slice(line).map_err(|source| ClientError::Decode {
                path: self.path.clone(),
                source,
            }),
        )
    }
}

/// The body of a request: nothing, bytes, or something to read to its end.
pub(crate) enum RequestBody {
    Bytes(Bytes),
    Read(Pin<Box<dyn AsyncRead + Send>>),
    Done,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        match std::mem::replace(this, Self::Done) {
            Self::Done => Poll::Ready(None),
            Self::Bytes(bytes) => Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))),
            Self::Read(mut reader) => {
                let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
                let polled = tokio_util::io::poll_read_buf(reader.as_mut(), context, &mut chunk);
                match polled {
                    Poll::Ready(Ok(0)) => Poll::Ready(None),
                    Poll::Ready(Ok(_)) => {
                        *this = Self::Read(reader);
                        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
                    }
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                    Poll::Pending => {
                        *this = Self::Read(reader);
                        Poll::Pending
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Read(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Done => SizeHint::with_exact(0),
            Self::Bytes(bytes) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Self::Read(_) => SizeHint::default(),
        }
    }
}
