//! One client's connection: HTTP/1.1 by hyper over a socket that notices when its client takes nothing any more.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

use super::dispatch;
use super::shared::Shared;
use super::tls::Tls;

/// The largest head of a request, and what is buffered of a body in each direction.
const BUFFER: usize = 128 << 10;

/// The most header fields of a request.
const HEADERS: usize = 64;

/// How long a client may take for TLS, for a request's head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client may take nothing of an answer.
const STALL: Duration = Duration::from_secs(60);

/// Serves one connection until its client is gone or, after the request at hand, `stopping` is cancelled.
pub(crate) async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Tls>>,
    shared: Arc<Shared>,
    stopping: CancellationToken,
) {
    let socket = Patient::new(socket);
    match tls {
        None => serve_http(socket, peer, shared, stopping).await,
        Some(tls) => {
            // Whoever fails here has said nothing yet that needs an answer.
            if let Ok(Ok(socket)) = tokio::time::timeout(HEAD_TIMEOUT, tls.acceptor().accept(socket)).await {
                serve_http(socket, peer, shared, stopping).await;
            }
        }
    }
}

async fn serve_http(
    socket: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    shared: Arc<Shared>,
    stopping: CancellationToken,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(dispatch::answer(shared, peer, request).await) }
    });
    let connection = http1::Builder::new()
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served
        // Most of all clients that try TLS first.
        && !error.is_parse()
        && !error.is_incomplete_message()
        && !error.is_closed()
    {
        let problem = base::error::chain(&error).to_string();
        shared
            .log
            .line(format_args!("{peer} connection failed: {problem}"));
    }
}

/// A socket on which a write that makes no progress for [`STALL`] fails.
#[derive(Debug)]
struct Patient {
    socket: TcpStream,
    /// Runs while a write waits.
    patience: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            patience: None,
        }
    }

    /// Looks at a write: ends the waiting when it went through, fails it when that took too long.
    fn wait<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        match patience.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wait(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.wait(context, written)
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
