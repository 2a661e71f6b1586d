//! One request on its way to a handler: decoded, limited, not yet understood.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use engine::Engine;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyDataStream, BodyExt, Limited};
use hyper::body::Body as _;
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::query::Query;
use crate::reply::Body;
use crate::shared::Shared;
use crate::status::ApiError;
use crate::version::ApiVersion;

/// The largest JSON document that is read.
const JSON_LIMIT: usize = 8 << 20;

/// How long a client may take to send a JSON document.
const JSON_TIMEOUT: Duration = Duration::from_secs(60);

/// One request.
pub(crate) struct Call {
    /// What all requests share: the engine.
    pub(crate) shared: Arc<Shared>,
    /// The version that the client speaks.
    pub(crate) version: ApiVersion,
    /// The values in the path, in order.
    pub(crate) parameters: Vec<String>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

impl Call {
    /// Returns the engine.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    /// Returns the first value in the path: an id or a name.
    pub(crate) fn name(&self) -> &str {
        self.parameters.first().map_or("", String::as_str)
    }

    /// Reads the body as one JSON document; an absent body is an error.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self) -> Result<T, ApiError> {
        match self.json_or_nothing().await? {
            Some(document) => Ok(document),
            None => Err(ApiError::invalid(
                "invalid JSON: got EOF while reading request body",
            )),
        }
    }

    /// Reads the body as one JSON document, if there is one.
    pub(crate) async fn json_or_nothing<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ApiError> {
        self.check_content_type()?;
        let body = std::mem::replace(&mut self.body, crate::reply::full(Bytes::new()));
        let reading = Limited::new(body, JSON_LIMIT).collect();
        let body = match tokio::time::timeout(JSON_TIMEOUT, reading).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(ApiError::with_status(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("request body larger than {JSON_LIMIT} bytes"),
                ));
            }
            Ok(Err(error)) => return Err(ApiError::invalid(format!("error reading request body: {error}"))),
            Err(_elapsed) => {
                return Err(ApiError::with_status(
                    StatusCode::REQUEST_TIMEOUT,
                    "request body not sent in time",
                ));
            }
        };
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        // The decoder itself refuses documents nested deeper than 128 levels.
        let document = serde_json::from_slice(&body)
            .map_err(|error| ApiError::invalid(format!("invalid JSON: {error}")))?;
        Ok(document)
    }

    /// Refuses bodies that a browser could be made to send without asking (text, forms).
    fn check_content_type(&self) -> Result<(), ApiError> {
        let has_body = self.headers.contains_key(TRANSFER_ENCODING)
            || self
                .headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length.as_bytes() != b"0");
        let Some(content_type) = self.headers.get(CONTENT_TYPE) else {
            if has_body && !self.body.is_end_stream() {
                return Err(ApiError::invalid(
                    "unsupported media type: missing Content-Type header: must be 'application/json'",
                ));
            }
            return Ok(());
        };
        let text = content_type.to_str().unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") && (has_body || !essence.is_empty()) {
            if !has_body {
                return Ok(());
            }
            return Err(ApiError::invalid(format!(
                "unsupported media type: unsupported Content-Type header ({essence}): must be 'application/json'"
            )));
        }
        Ok(())
    }

    /// Turns the body into a reader.
    pub(crate) fn into_reader(self) -> impl AsyncRead + Send + Unpin + 'static {
        StreamReader::new(Heard(Some(BodyDataStream::new(self.body))))
    }
}

/// How long a client that was refused may go on sending.
const HEARD_OUT: Duration = Duration::from_secs(10);

/// A body that is heard to its end, also if nobody wants it any more: a connection that is closed before its client has said all
/// takes the refusal with it.
struct Heard(Option<BodyDataStream<Body>>);

impl Stream for Heard {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match &mut self.0 {
            Some(body) => std::task::ready!(body.poll_next_unpin(context)),
            None => None,
        };
        if !matches!(next, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(next)
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        if let (Some(mut body), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            drop(runtime.spawn(tokio::time::timeout(HEARD_OUT, async move {
                while let Some(Ok(_)) = body.next().await {}
            })));
        }
    }
}
