//! One request on its way to what answers it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::fault::{Code, Fault};
use super::route::Query;
use super::shared::Shared;

/// How long a client may take to send a document.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// One request, let in.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    /// Whether the body of the answer is not sent.
    pub(crate) is_head: bool,
    /// Whether a blob may be mounted from the repository that the query names.
    pub(crate) may_mount: bool,
}

impl Call {
    /// Reads the body as one document of at most `limit` bytes.
    pub(crate) async fn document(self, limit: usize) -> Result<Bytes, Fault> {
        let reading = Limited::new(self.body, limit).collect();
        match tokio::time::timeout(DOCUMENT_TIMEOUT, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::because(
                Code::ManifestInvalid,
                format!("a manifest may have {limit} bytes"),
            )
            .status(StatusCode::PAYLOAD_TOO_LARGE)),
            Ok(Err(error)) => Err(Fault::because(
                Code::ManifestInvalid,
                format!("the body ended early: {error}"),
            )),
            Err(_elapsed) => Err(
                Fault::because(Code::ManifestInvalid, "the body was not sent in time")
                    .status(StatusCode::REQUEST_TIMEOUT),
            ),
        }
    }
}
