//! One client's connection: HTTP/1.1 by hyper, and the streams that Docker makes of it.
//!
//! hyper hands a connection over only when the client asked for an upgrade and the answer is 101. Clients of before
//! 2014, and curl, do not ask and get `200 OK` and then raw bytes; so the head of the first request is read here, and
//! an attach or exec start without `Upgrade` is served without hyper, and so are Berth's own calls, which gain time by it. On a later request of the same connection such a
//! client gets the stream as the body of an ordinary reply.

mod target;

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::dispatch::fix_headers;
use crate::hijack::{self, Hangup};
use crate::reply::{self, Body, Head, Hijack, Reply};
use crate::shared::Peer;
use target::Targets;

/// The largest head of a request.
const HEAD_LIMIT: usize = 128 << 10;

/// How long a client may take to send a request's head, and to stay silent between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// A connected socket of any kind.
pub(crate) trait Socket: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static> Socket for S {}

/// What answers requests; here nothing is known of it but this.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request.
    fn answer(self: Arc<Self>, peer: Peer, request: Request<Body>) -> impl Future<Output = Reply> + Send;

    /// Is cancelled when connections should end after the request that they are at.
    fn stopping(&self) -> &CancellationToken;
}

/// Serves one connection until its client is gone. Requests that have begun are carried to their end.
pub(crate) async fn serve<S: Socket>(
    mut socket: S,
    peer: Peer,
    service: Arc<impl Service>,
) -> io::Result<()> {
    let hangup = Hangup::of(&socket)?;
    let mut head = BytesMut::new();
    let first = tokio::time::timeout(HEAD_TIMEOUT, read_first(&mut socket, &mut head)).await;
    match first {
        Err(_elapsed) => Ok(()),
        Ok(first) => match first? {
            First::Nothing => Ok(()),
            First::Hijack { request, length } => {
                let rest = head.split_off(length);
                serve_hijack(socket, *request, rest, hangup, peer, service).await
            }
            First::Other => {
                let mut targets = Targets::new();
                let prefix = targets.escape(&head).map_or_else(|| head.freeze(), Bytes::from);
                let io = Prefixed {
                    prefix,
                    targets,
                    socket,
                };
                serve_http(io, hangup, peer, service).await;
                Ok(())
            }
        },
    }
}

/// What the first bytes of a connection are.
enum First {
    Nothing,
    /// A request that hijacks the connection without asking; `length` is its head's.
    Hijack {
        request: Box<Request<()>>,
        length: usize,
    },
    Other,
}

async fn read_first<S: Socket>(socket: &mut S, head: &mut BytesMut) -> io::Result<First> {
    loop {
        if socket.read_buf(head).await? == 0 {
            return Ok(if head.is_empty() {
                First::Nothing
            } else {
                First::Other
            });
        }
        if let Some(first) = classify(head) {
            return Ok(first);
        }
    }
}

/// Returns what `head` is, or `None` if more must be read to tell.
fn classify(head: &[u8]) -> Option<First> {
    const START: &[u8] = b"POST /";
    let common = head.len().min(START.len());
    if head[..common] != START[..common] || head.len() > HEAD_LIMIT {
        return Some(First::Other);
    }
    let line = head
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    if line.len() == head.len() {
        return None;
    }
    if !is_hijack(line) {
        return Some(First::Other);
    }
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(length)) => Some(match to_request(&parsed) {
            Some(request)
                if !request.headers().contains_key(UPGRADE)
                    && !request.headers().contains_key(TRANSFER_ENCODING) =>
            {
                First::Hijack {
                    request: Box::new(request),
                    length,
                }
            }
            _ => First::Other,
        }),
        // hyper finds the words for what is wrong.
        Err(_malformed) => Some(First::Other),
    }
}

/// Returns whether a request line is that of an attach, of an exec start or of one of Berth's own calls.
fn is_hijack(line: &[u8]) -> bool {
    let Some(target) = line.split(|byte| *byte == b' ').nth(1) else {
        return false;
    };
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let contains = |part: &[u8]| path.windows(part.len()).any(|window| window == part);
    path.starts_with(b"/berth/")
        || (path.ends_with(b"/attach") && contains(b"/containers/"))
        || (path.ends_with(b"/start") && contains(b"/exec/"))
}

fn to_request(parsed: &httparse::Request<'_, '_>) -> Option<Request<()>> {
    let mut request = Request::builder().method(parsed.method?).uri(parsed.path?);
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(header.value).ok()?;
        request = request.header(name, value);
    }
    request.body(()).ok()
}

/// The largest body of a request that hijacks without asking; a client of our own goes Docker's way with a larger one.
const BODY_LIMIT: usize = 1 << 20;

async fn serve_hijack<S: Socket>(
    mut socket: S,
    request: Request<()>,
    mut rest: BytesMut,
    hangup: Hangup,
    peer: Peer,
    service: Arc<impl Service>,
) -> io::Result<()> {
    let length = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .map_or(Some(0), |length| length.parse::<usize>().ok());
    let Some(length) = length.filter(|length| *length <= BODY_LIMIT) else {
        return socket
            .write_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
    };
    let reading = async {
        while rest.len() < length {
            if socket.read_buf(&mut rest).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    if let Ok(read) = tokio::time::timeout(HEAD_TIMEOUT, reading).await {
        read?;
    } else {
        return Ok(());
    }
    let body = rest.split_to(length).freeze();
    let request = request.map(|()| reply::full(body));
    match service.answer(peer, request).await {
        Reply::Hijack(mut hijack) => {
            let mut head = match hijack.head {
                // Clients of before 2014 know of no other.
                Head::Apart => begin_stream(reply::RAW_STREAM),
                Head::Together => begin_stream(hijack.content_type),
            };
            if hijack.head == Head::Together
                && let Some(Some(chunk)) = hijack.first.next().now_or_never()
            {
                // One write, one read: each costs the client a change of context.
                head.extend_from_slice(&chunk);
            }
            socket.write_all(&head).await?;
            hijack::copy(socket, rest.freeze(), hangup, hijack).await
        }
        Reply::Http(mut response) => {
            fix_headers(&mut response);
            write_response(&mut socket, response).await
        }
    }
}

fn begin_stream(content_type: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n").into_bytes()
}

async fn write_response<S: Socket>(socket: &mut S, response: Response<Body>) -> io::Result<()> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut head = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()).as_bytes());
    socket.write_all(&head).await?;
    socket.write_all(&body).await?;
    socket.shutdown().await
}

async fn serve_http<S: Socket>(io: Prefixed<S>, hangup: Hangup, peer: Peer, service: Arc<impl Service>) {
    let answer = service_fn(|mut request: Request<Incoming>| {
        let wants_upgrade = request.headers().contains_key(UPGRADE);
        let upgrade = hyper::upgrade::on(&mut request);
        let request = request.map(|body| body.map_err(io::Error::other).boxed_unsync());
        let (service, peer) = (Arc::clone(&service), peer.clone());
        async move {
            let mut response = match service.answer(peer, request).await {
                Reply::Http(response) => response,
                Reply::Hijack(hijack) if wants_upgrade => upgraded::<S>(upgrade, hijack),
                Reply::Hijack(hijack) => not_upgraded(hijack),
            };
            fix_headers(&mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        // A client that half-closes after its request still gets its answer.
        .half_close(true)
        // Scripts look for `Api-Version` as Docker writes it.
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(TokioIo::new(io), answer)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(error = %base::error::chain(&error), "connection failed");
                }
                return;
            }
            // With half-closes allowed hyper does not see that a silent stream has lost its reader.
            () = hangup.wait() => return,
            () = service.stopping().cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers 101 and copies once hyper has handed the connection over.
fn upgraded<S: Socket>(upgrade: OnUpgrade, hijack: Hijack) -> Response<Body> {
    let content_type = hijack.content_type;
    tokio::spawn(async move {
        let copied =
            async {
                let upgraded = upgrade.await.map_err(io::Error::other)?;
                let parts = upgraded.downcast::<TokioIo<Prefixed<S>>>().map_err(
                    |_other: hyper::upgrade::Upgraded| io::Error::other("not a connection of this server"),
                )?;
                let client = parts.io.into_inner();
                let hangup = Hangup::of(&client.socket)?;
                hijack::copy(client, parts.read_buf, hangup, hijack).await
            };
        if let Err(error) = copied.await {
            tracing::debug!(%error, "hijacked connection failed");
        }
    });
    let Reply::Http(mut response) = reply::empty(http::StatusCode::SWITCHING_PROTOCOLS) else {
        unreachable!("an empty reply is HTTP");
    };
    response
        .extensions_mut()
        .insert(ReasonPhrase::from_static(b"UPGRADED"));
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
    response
}

/// Answers with the stream as a body; there is no stdin.
fn not_upgraded(hijack: Hijack) -> Response<Body> {
    let output = futures_util::stream::iter(hijack.stream).flat_map(tokio_util::io::ReaderStream::new);
    let stream = hijack.first.map(Ok).chain(output).chain(hijack.last.map(Ok));
    let Reply::Http(response) = reply::stream(hijack.content_type, stream) else {
        unreachable!("a stream is HTTP");
    };
    response
}

/// A socket from which some bytes were read already, and which is read with its request lines escaped.
#[derive(Debug)]
pub(crate) struct Prefixed<S> {
    prefix: Bytes,
    targets: Targets,
    socket: S,
}

impl<S: Socket> AsyncRead for Prefixed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
            let Some(escaped) = self.targets.escape(&buffer.filled()[before..]) else {
                return Poll::Ready(Ok(()));
            };
            buffer.set_filled(before);
            self.prefix = escaped.into();
        }
        let length = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..length]);
        self.prefix.advance(length);
        if self.prefix.is_empty() {
            // Gives the memory back.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> AsyncWrite for Prefixed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
