//! Replies: whole documents, streams, and connections that stop being HTTP.

use std::io;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// The body of a reply.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What a handler answers.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An HTTP response.
    Http(Response<Body>),
    /// The connection becomes a stream of bytes that are copied to and from `stream`.
    Hijack(Hijack),
}

/// A connection that becomes a stream of bytes.
pub(crate) struct Hijack {
    /// What is sent first: earlier output, or why there is none.
    pub(crate) first: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    /// The other end, a shim; `None`: the connection ends after `first` and `last`.
    pub(crate) stream: Option<UnixStream>,
    /// What is sent after the stream.
    pub(crate) last: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    /// Whether the client must have read the head before anything follows.
    pub(crate) head: Head,
    /// `application/vnd.docker.raw-stream` or `…multiplexed-stream`.
    pub(crate) content_type: &'static str,
}

/// How the head of a reply is followed by the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Only when the client has read it.
    Apart,
    /// At once: the client keeps what it reads together with the head.
    Together,
}

impl Hijack {
    /// Returns a stream as Docker's clients expect it.
    pub(crate) fn of_docker(
        first: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
        stream: Option<UnixStream>,
        content_type: &'static str,
    ) -> Self {
        Self {
            first,
            stream,
            last: futures_util::stream::empty().boxed(),
            head: Head::Apart,
            content_type,
        }
    }
}

impl std::fmt::Debug for Hijack {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Hijack")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

/// The content type of a stream with a terminal, and of all streams before API 1.42.
pub(crate) const RAW_STREAM: &str = "application/vnd.docker.raw-stream";
/// The content type of a stream of frames.
pub(crate) const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

/// Returns `value` as a JSON document, with a newline at its end as Go's encoder writes it.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Reply {
    let (status, mut body) = match serde_json::to_vec(value) {
        Ok(body) => (status, body),
        Err(error) => {
            tracing::error!(%error, "a reply could not be encoded");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                br#"{"message":"the reply could not be encoded"}"#.to_vec(),
            )
        }
    };
    body.push(b'\n');
    typed(status, "application/json", full(body))
}

/// Returns a 200 with a JSON document.
pub(crate) fn ok<T: Serialize>(value: &T) -> Reply {
    json(StatusCode::OK, value)
}

/// Returns a reply without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    Reply::Http(response)
}

/// Returns 204.
pub(crate) fn no_content() -> Reply {
    empty(StatusCode::NO_CONTENT)
}

/// Returns a reply whose body comes as it is made; its head is sent at once.
pub(crate) fn stream<S>(content_type: &'static str, stream: S) -> Reply
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    typed(
        StatusCode::OK,
        content_type,
        StreamBody::new(stream.map(|item| item.map(Frame::data))).boxed_unsync(),
    )
}

/// Returns the two ends of a stream of chunks: a slow client slows the sender down, a vanished one fails its sends.
pub(crate) fn channel() -> (
    mpsc::Sender<io::Result<Bytes>>,
    impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) {
    let (sender, receiver) = mpsc::channel(16);
    let stream = futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
        receiver.recv().await.map(|item| (item, receiver))
    });
    (sender, stream)
}

/// Returns a reply of a content type.
pub(crate) fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Reply {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    Reply::Http(response)
}

/// Returns a body that is known as a whole.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}
