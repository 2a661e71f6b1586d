//! From a request to its handler and back: the steps that are the same for all.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, HOST, HeaderValue, ORIGIN, PRAGMA, SERVER};
use http::{Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::call::Call;
use crate::connection::Service;
use crate::query::Query;
use crate::reply::{Body, Reply};
use crate::router;
use crate::routes::ROUTES;
use crate::shared::{Peer, Shared};
use crate::status::ApiError;

impl Service for Shared {
    async fn answer(self: Arc<Self>, peer: Peer, request: Request<Body>) -> Reply {
        dispatch(self, &peer, request).await
    }

    fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }
}

/// Answers one request. The handler runs in a task of its own: it goes on when the client goes away, and if it panics
/// the client is told and the daemon lives.
async fn dispatch(shared: Arc<Shared>, peer: &Peer, request: Request<Body>) -> Reply {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", %method, %path, %peer);
    let answer = async {
        check_origin(peer, &request)?;
        let handlers = shared.handlers.clone();
        let handling = handle(shared, request)?;
        match handlers.spawn(handling.instrument(span.clone())).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(parent: &span, %error, "a handler failed");
                Err(ApiError::with_status(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the daemon met a fault of its own; its log has more",
                ))
            }
        }
    };
    match answer.await {
        Ok(reply) => {
            tracing::debug!(parent: &span, "answered");
            reply
        }
        Err(error) => {
            if error.status.is_server_error() {
                tracing::warn!(parent: &span, status = error.status.as_u16(), error = error.message, "refused");
            } else {
                tracing::debug!(parent: &span, status = error.status.as_u16(), error = error.message, "refused");
            }
            error.into_reply()
        }
    }
}

fn handle(shared: Arc<Shared>, request: Request<Body>) -> Result<router::Answer, ApiError> {
    let (parts, body) = request.into_parts();
    let found = router::find(ROUTES, &parts.method, parts.uri.path())?;
    let call = Call {
        shared,
        version: found.version,
        parameters: found.parameters,
        query: Query::parse(parts.uri.query().unwrap_or_default())?,
        headers: parts.headers,
        body,
    };
    Ok((found.route.handler)(call))
}

/// Refuses requests that a web page could have made: over TCP a browser names another host or an origin.
fn check_origin(peer: &Peer, request: &Request<Body>) -> Result<(), ApiError> {
    if !matches!(peer, Peer::Tcp(_)) {
        return Ok(());
    }
    let refused = |what: &str| {
        ApiError::with_status(
            StatusCode::FORBIDDEN,
            format!("requests with this {what} are refused"),
        )
    };
    if request.headers().contains_key(ORIGIN) {
        return Err(refused("origin"));
    }
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        Ok(())
    } else {
        Err(refused("host"))
    }
}

/// Adds the headers that every reply carries.
pub(crate) fn fix_headers(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert("Api-Version", HeaderValue::from_static(api_types::API_VERSION));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(
        SERVER,
        HeaderValue::from_static(concat!("Berth/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
    // Replies may hold the environment of containers: nobody keeps them.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers
        .entry(PRAGMA)
        .or_insert(HeaderValue::from_static("no-cache"));
}
