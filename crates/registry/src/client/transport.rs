//! One request, one answer: connections that are used again, waits that end, bodies that keep their length.
//!
//! Redirects, credentials and repetition are the business of `endpoint`; here a request goes to exactly the URL that it
//! names.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::header::{CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::connect::Connector;
use super::origin::{Origin, shown};
use super::proxy::{Proxies, Proxy};
use super::tls::Check;
use super::upload::ByteStream;
use super::{RegistryError, Timeouts, header};

/// Idle connections that are kept to one origin.
const MAX_IDLE: usize = 8;
/// How long an idle connection is kept.
const KEEP: Duration = Duration::from_secs(20);
/// How long an insecure registry has to show that it speaks TLS.
const PROBE: Duration = Duration::from_secs(5);
/// How long a document may take as a whole.
const DOCUMENT: Duration = Duration::from_secs(300);
/// How much of a body that nobody wants is read, in bytes, before its connection is given up.
const DISCARD: usize = 64 << 10;
/// Most headers of an answer.
const MAX_HEADERS: usize = 128;

type Outgoing = UnsyncBoxBody<Bytes, io::Error>;

/// A request to one URL.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload,
}

/// What a request carries.
pub(crate) enum Payload {
    None,
    Bytes(Bytes),
    /// Bytes as they come, of a length that may be known. It can be sent once.
    Stream(ByteStream, Option<u64>),
}

/// The head of an answer, and its body as it comes.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) uri: Uri,
    pub(crate) method: Method,
    body: Incoming,
    received: u64,
    idle: Duration,
    /// The connection, to be kept once the body is read to its end.
    connection: Option<(Arc<Pool>, Origin, SendRequest<Outgoing>)>,
}

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) connector: Connector,
    pub(crate) proxies: Proxies,
    pub(crate) timeouts: Timeouts,
    pub(crate) user_agent: HeaderValue,
    pub(crate) pool: Arc<Pool>,
}

/// Connections that wait for another request.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<Origin, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Outgoing>,
    since: Instant,
}

impl Transport {
    /// Sends one request and returns the head of the answer, whatever its status.
    pub(crate) async fn send(&self, ask: Ask, check: Check) -> Result<Answer, RegistryError> {
        let Ask {
            method,
            uri,
            headers,
            mut payload,
        } = ask;
        let failed = Failed {
            method: &method,
            uri: &uri,
        };
        let origin = Origin::of(&uri).ok_or_else(|| failed.protocol("not a usable URL"))?;
        let proxy = self.proxies.of(&origin)?;
        let progress = Arc::new(Progress::new());
        loop {
            let (body, length, repeatable) = outgoing(&mut payload, &progress);
            let mut request = Request::new(body);
            *request.method_mut() = method.clone();
            *request.headers_mut() = headers.clone();
            self.address(&mut request, &uri, &origin, proxy.as_ref())
                .map_err(|problem| failed.protocol(problem))?;
            if let Some(length) = length {
                request.headers_mut().insert(CONTENT_LENGTH, length.into());
            }
            let pooled = self.pool.take(&origin);
            let is_pooled = pooled.is_some();
            let mut sender = match pooled {
                Some(sender) => sender,
                None => self.open(&failed, &origin, proxy.as_ref(), check).await?,
            };
            match self.exchange(&mut sender, request, &progress).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    return Ok(Answer {
                        status: head.status,
                        headers: head.headers,
                        body,
                        received: 0,
                        idle: self.timeouts.idle,
                        connection: Some((Arc::clone(&self.pool), origin, sender)),
                        uri,
                        method,
                    });
                }
                // The server may have closed the idle connection just now, which says nothing about the request.
                Err(Sent::Broken(_)) if is_pooled && repeatable && method.is_idempotent() => {}
                // Of all that a caller can do wrong, only a body that fails gets here.
                Err(Sent::Broken(error)) if error.is_user() => {
                    return Err(RegistryError::Source {
                        url: shown(&uri),
                        source: Box::new(error),
                    });
                }
                Err(Sent::Broken(error)) => return Err(failed.unreachable(error)),
                Err(Sent::Slow(after)) => return Err(failed.stalled(after)),
            }
        }
    }

    /// Writes the target and the headers that depend on the way to it.
    fn address(
        &self,
        request: &mut Request<Outgoing>,
        uri: &Uri,
        origin: &Origin,
        proxy: Option<&Proxy>,
    ) -> Result<(), &'static str> {
        let host = HeaderValue::from_str(&origin.authority()).map_err(|_invalid| "not a usable host")?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        let through = proxy.filter(|_| !origin.tls);
        if let Some(authorization) = through.and_then(|proxy| proxy.authorization.as_ref()) {
            let mut value = HeaderValue::from_str(authorization.expose())
                .map_err(|_invalid| "not a usable proxy password")?;
            value.set_sensitive(true);
            request.headers_mut().insert(PROXY_AUTHORIZATION, value);
        }
        // A proxy that is not a tunnel wants to see the whole URL.
        *request.uri_mut() = if through.is_some() {
            uri.clone()
        } else {
            let target = uri.path_and_query().map_or("/", |target| target.as_str());
            target.parse().map_err(|_invalid| "not a usable path")?
        };
        Ok(())
    }

    /// Makes a TLS connection whose certificate is not checked, and keeps it: whether TLS is spoken there.
    pub(crate) async fn probe(&self, failed: &Failed<'_>, origin: &Origin) -> Result<(), RegistryError> {
        let proxy = self.proxies.of(origin)?;
        let open = self.open(failed, origin, proxy.as_ref(), Check::Skip);
        let sender = timeout(PROBE, open)
            .await
            .map_err(|_elapsed| failed.stalled(PROBE))??;
        self.pool.put(origin.clone(), sender);
        Ok(())
    }

    async fn open(
        &self,
        failed: &Failed<'_>,
        origin: &Origin,
        proxy: Option<&Proxy>,
        check: Check,
    ) -> Result<SendRequest<Outgoing>, RegistryError> {
        let stream = self
            .connector
            .connect(origin, proxy, check)
            .await
            .map_err(|error| failed.unreachable(error))?;
        let (sender, connection) = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed.unreachable(error))?;
        drop(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to a registry ended");
            }
        }));
        Ok(sender)
    }

    /// Sends the request and waits for the head of the answer as long as bytes leave, and then the usual time.
    async fn exchange(
        &self,
        sender: &mut SendRequest<Outgoing>,
        request: Request<Outgoing>,
        progress: &Progress,
    ) -> Result<http::Response<Incoming>, Sent> {
        progress.touch();
        let mut answer = std::pin::pin!(sender.send_request(request));
        loop {
            let (limit, last) = match progress.state() {
                // Our own side is slow: that is not the registry's fault.
                Phase::Source => (self.timeouts.idle, Instant::now()),
                Phase::Sending(last) => (self.timeouts.idle, last),
                Phase::Sent(last) => (self.timeouts.answer, last),
            };
            tokio::select! {
                answer = &mut answer => return answer.map_err(Sent::Broken),
                () = tokio::time::sleep_until(last + limit) => {
                    if progress.is_late(self.timeouts.idle, self.timeouts.answer) {
                        return Err(Sent::Slow(limit));
                    }
                }
            }
        }
    }
}

impl Answer {
    /// Returns the next bytes of the body (never empty), `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let Ok(frame) = timeout(self.idle, self.body.frame()).await else {
                return Err(self.failed().stalled(self.idle));
            };
            match frame {
                None => {
                    if let Some((pool, origin, sender)) = self.connection.take() {
                        pool.put(origin, sender);
                    }
                    return Ok(None);
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        self.received = self
                            .received
                            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                        return Ok(Some(bytes));
                    }
                }
                Some(Err(error)) => return Err(self.failed().interrupted(self.received, error)),
            }
        }
    }

    /// Returns the whole body of at most `limit` bytes; `what` names it.
    pub(crate) async fn bytes(&mut self, limit: u64, what: &'static str) -> Result<Bytes, RegistryError> {
        let too_large = |uri: &Uri| RegistryError::TooLarge {
            url: shown(uri),
            what,
            limit: format!("{limit} bytes"),
        };
        if header::content_length(&self.headers).is_some_and(|length| length > limit)
            && self.method != Method::HEAD
        {
            return Err(too_large(&self.uri));
        }
        // Not forgotten with each byte that trickles in.
        match timeout(DOCUMENT, self.collect(limit)).await {
            Ok(Ok(Some(bytes))) => Ok(bytes),
            Ok(Ok(None)) => Err(too_large(&self.uri)),
            Ok(Err(error)) => Err(error),
            Err(_elapsed) => Err(self.failed().stalled(DOCUMENT)),
        }
    }

    /// Returns the whole body, `None` if it is longer than `limit`.
    async fn collect(&mut self, limit: u64) -> Result<Option<Bytes>, RegistryError> {
        let mut whole: Option<Bytes> = None;
        let mut pieces = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if self.received > limit {
                return Ok(None);
            }
            match whole.take() {
                // Most bodies come in one piece, which need not be copied.
                None if pieces.is_empty() => whole = Some(bytes),
                None => pieces.extend_from_slice(&bytes),
                Some(first) => {
                    pieces.extend_from_slice(&first);
                    pieces.extend_from_slice(&bytes);
                }
            }
        }
        Ok(Some(whole.unwrap_or_else(|| pieces.into())))
    }

    /// Reads a short rest of the body, so that the connection can be used again; gives up on a long or a slow one.
    pub(crate) async fn discard(mut self) {
        let read = async {
            let mut left = DISCARD;
            while let Ok(Some(bytes)) = self.chunk().await {
                left = left.saturating_sub(bytes.len());
                if left == 0 {
                    return;
                }
            }
        };
        // Too slow: the connection is closed with what is left of it.
        drop(timeout(Duration::from_secs(2), read).await);
    }

    pub(crate) fn failed(&self) -> Failed<'_> {
        Failed {
            method: &self.method,
            uri: &self.uri,
        }
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Answer")
            .field("status", &self.status)
            .field("url", &shown(&self.uri))
            .finish_non_exhaustive()
    }
}

/// Makes errors that say what was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed<'a> {
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
}

impl Failed<'_> {
    pub(crate) fn unreachable(&self, source: impl Error + Send + Sync + 'static) -> RegistryError {
        RegistryError::Unreachable {
            method: go_method(self.method),
            url: shown(self.uri),
            source: Box::new(source),
        }
    }

    pub(crate) fn interrupted(
        &self,
        received: u64,
        source: impl Error + Send + Sync + 'static,
    ) -> RegistryError {
        RegistryError::Interrupted {
            method: go_method(self.method),
            url: shown(self.uri),
            received,
            source: Box::new(source),
        }
    }

    pub(crate) fn stalled(&self, after: Duration) -> RegistryError {
        RegistryError::Stalled {
            method: go_method(self.method),
            url: shown(self.uri),
            after,
        }
    }

    pub(crate) fn protocol(&self, problem: impl Into<String>) -> RegistryError {
        RegistryError::Protocol {
            method: go_method(self.method),
            url: shown(self.uri),
            problem: problem.into(),
        }
    }

    pub(crate) fn unauthorized(&self, reason: impl Into<String>) -> RegistryError {
        RegistryError::Unauthorized {
            method: go_method(self.method),
            url: shown(self.uri),
            reason: reason.into(),
        }
    }
}

impl Pool {
    fn take(&self, origin: &Origin) -> Option<SendRequest<Outgoing>> {
        let mut idle = self.lock();
        let list = idle.get_mut(origin)?;
        while let Some(Idle { sender, since }) = list.pop() {
            if sender.is_ready() && since.elapsed() < KEEP {
                return Some(sender);
            }
        }
        None
    }

    /// Keeps a connection for a while, once the answer on it is over.
    fn put(self: &Arc<Self>, origin: Origin, mut sender: SendRequest<Outgoing>) {
        let pool = Arc::clone(self);
        drop(tokio::spawn(async move {
            // The connection's own task has to see the end of the answer first.
            if !matches!(timeout(Duration::from_secs(1), sender.ready()).await, Ok(Ok(()))) {
                return;
            }
            {
                let mut idle = pool.lock();
                let list = idle.entry(origin).or_default();
                if list.len() < MAX_IDLE {
                    list.push(Idle {
                        sender,
                        since: Instant::now(),
                    });
                }
            }
            tokio::time::sleep(KEEP).await;
            pool.lock().retain(|_, list| {
                list.retain(|idle| !idle.sender.is_closed() && idle.since.elapsed() < KEEP);
                !list.is_empty()
            });
        }));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Origin, Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request was not answered.
enum Sent {
    Broken(hyper::Error),
    Slow(Duration),
}

/// How far a request's body is.
#[derive(Debug)]
struct Progress {
    phase: Mutex<Phase>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Waits for the bytes to send.
    Source,
    /// The connection takes bytes; since when it took none.
    Sending(Instant),
    /// All are handed over; since when.
    Sent(Instant),
}

impl Progress {
    fn new() -> Self {
        Self {
            phase: Mutex::new(Phase::Sent(Instant::now())),
        }
    }

    fn state(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn touch(&self) {
        self.set(Phase::Sent(Instant::now()));
    }

    fn is_late(&self, idle: Duration, answer: Duration) -> bool {
        match self.state() {
            Phase::Source => false,
            Phase::Sending(last) => last.elapsed() >= idle,
            Phase::Sent(last) => last.elapsed() >= answer,
        }
    }
}

/// Returns the body to send, its length where the framing does not tell it, and whether it can be sent again.
fn outgoing(payload: &mut Payload, progress: &Arc<Progress>) -> (Outgoing, Option<u64>, bool) {
    let never = |never: std::convert::Infallible| match never {};
    match payload {
        Payload::None => (Empty::new().map_err(never).boxed_unsync(), None, true),
        Payload::Bytes(bytes) => (Full::new(bytes.clone()).map_err(never).boxed_unsync(), None, true),
        Payload::Stream(stream, length) => {
            let stream = std::mem::replace(stream, Box::pin(futures_util::stream::empty()));
            let watched = Watched {
                stream,
                left: *length,
                progress: Arc::clone(progress),
            };
            (StreamBody::new(watched).boxed_unsync(), *length, false)
        }
    }
}

/// Tells how a body's bytes leave, and keeps its length: a source that yields more or less breaks the request, which
/// must not end up as part of the next one.
struct Watched {
    stream: ByteStream,
    left: Option<u64>,
    progress: Arc<Progress>,
}

impl Stream for Watched {
    type Item = io::Result<Frame<Bytes>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.stream.as_mut().poll_next(context);
        self.progress.set(match &next {
            Poll::Pending => Phase::Source,
            Poll::Ready(Some(_)) => Phase::Sending(Instant::now()),
            Poll::Ready(None) => Phase::Sent(Instant::now()),
        });
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "the blob does not have its size");
        match next {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) if self.left.is_some_and(|left| left > 0) => Poll::Ready(Some(Err(wrong()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(Some(Ok(bytes))) => {
                if let Some(left) = self.left {
                    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                    let Some(left) = left.checked_sub(length) else {
                        return Poll::Ready(Some(Err(wrong())));
                    };
                    self.left = Some(left);
                    if left == 0 {
                        // With a known length the connection does not ask for the end.
                        self.progress.touch();
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
        }
    }
}

/// Returns the method as Go prints it: `Get`.
fn go_method(method: &Method) -> String {
    let text = method.as_str();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_string() + &letters.as_str().to_ascii_lowercase(),
        None => String::new(),
    }
}
