//! Connections, versions, and the few shapes that every call has.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio::net::{TcpStream, UnixStream};

use crate::stream::{Hijacked, JsonStream, Reader, RequestBody, Socket};
use crate::{ClientError, Endpoint, Query, RegistryAuth};

/// The largest answer that is held in memory at once.
const LARGEST_ANSWER: usize = 256 << 20;

/// How many unused connections are kept.
const MOST_IDLE: usize = 4;

/// The media type of a stream with frame heads.
const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// A version of the Docker API, such as 1.50.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// The number before the dot.
    pub major: u16,
    /// The number after the dot.
    pub minor: u16,
}

impl ApiVersion {
    /// The oldest version that this client speaks.
    pub const OLDEST: Self = Self { major: 1, minor: 24 };
    /// The newest version that this client speaks.
    pub const NEWEST: Self = Self { major: 1, minor: 50 };
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

/// Why a text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an API version")]
pub struct ParseVersionError {
    text: String,
}

impl FromStr for ApiVersion {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, ParseVersionError> {
        let parse = || {
            let (major, minor) = text.trim_start_matches('v').split_once('.')?;
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        };
        parse().ok_or_else(|| ParseVersionError {
            text: text.to_owned(),
        })
    }
}

/// A client of one daemon.
///
/// Cheap to make; connects when first used. Must be used inside a tokio runtime.
pub struct Client {
    endpoint: Endpoint,
    version: ApiVersion,
    /// Connections that are not in use; a few, as one command makes few calls at once.
    idle: Mutex<Vec<SendRequest<RequestBody>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Returns a client that speaks the newest version until [`Self::negotiate`] is called.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            version: ApiVersion::NEWEST,
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Returns where the daemon is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Returns the version in use.
    pub fn version(&self) -> ApiVersion {
        self.version
    }

    /// Uses `version` from now on.
    pub fn set_version(&mut self, version: ApiVersion) {
        self.version = version;
    }

    /// Asks the daemon for its newest version and uses the newer of those that both speak.
    pub async fn negotiate(&mut self) -> Result<(), ClientError> {
        let ping = self.ping().await?;
        // Daemons before 1.24 do not say which version they speak.
        let theirs = ping.api_version.parse().unwrap_or(ApiVersion::OLDEST);
        if theirs < ApiVersion::OLDEST {
            return Err(ClientError::Version {
                daemon: ping.api_version,
            });
        }
        self.version = theirs.min(ApiVersion::NEWEST);
        Ok(())
    }

    /// Makes sure that a daemon listens: opens the connection that the next call uses.
    pub async fn connect(&self) -> Result<(), ClientError> {
        let connection = self.open().await?;
        self.put_back(connection);
        Ok(())
    }

    /// Opens connections for the calls to come, so that they need not wait for them; the first of those calls tells what went
    /// wrong.
    pub async fn prepare(&self, connections: usize) {
        for _ in 0..connections {
            match self.open().await {
                Ok(connection) => self.put_back(connection),
                Err(_) => return,
            }
        }
    }

    /// Opens a socket and starts HTTP on it.
    async fn open(&self) -> Result<SendRequest<RequestBody>, ClientError> {
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(self.dial().await?))
            .await
            .map_err(|error| self.not_connected(io::Error::other(error)))?;
        // The task ends with the connection; what went wrong reaches the caller through the request.
        drop(tokio::spawn(async move {
            drop(connection.with_upgrades().await);
        }));
        Ok(sender)
    }

    /// Opens a connection to the daemon without saying anything on it.
    pub async fn dial(&self) -> Result<Socket, ClientError> {
        let failed = |source| self.not_connected(source);
        Ok(match &self.endpoint {
            Endpoint::Unix(path) => Socket::Unix(UnixStream::connect(path).await.map_err(failed)?),
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Socket::Tcp(stream)
            }
            Endpoint::Ssh(host) => Socket::Unix(host.connect().map_err(failed)?),
        })
    }

    fn not_connected(&self, source: io::Error) -> ClientError {
        ClientError::Connect {
            endpoint: self.endpoint.to_string(),
            source,
        }
    }

    fn take_idle(&self) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn put_back(&self, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(sender);
        }
    }

    /// Sends a request and returns the answer if it is a success; the connection may be used again after the body.
    async fn send(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, SendRequest<RequestBody>), ClientError> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let mut sender = match self.take_idle() {
            Some(sender) => sender,
            None => self.open().await?,
        };
        let exchange = |source| ClientError::Exchange {
            method: method.clone(),
            path: path.clone(),
            source,
        };
        sender.ready().await.map_err(exchange)?;
        let response = sender.send_request(request).await.map_err(exchange)?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let body = collect(response.into_body(), &path).await.unwrap_or_default();
            self.put_back(sender);
            return Err(status_error(status.as_u16(), status.canonical_reason(), &body));
        }
        Ok((response, sender))
    }

    fn request(
        &self,
        method: Method,
        query: &Query,
        body: RequestBody,
    ) -> Result<Request<RequestBody>, ClientError> {
        let uri = format!("/v{}{}", self.version, query.as_str());
        build(method, &uri, body)
    }

    /// Sends a request without a body and returns the whole answer.
    pub(crate) async fn call(&self, method: Method, query: &Query) -> Result<Bytes, ClientError> {
        let request = self.request(method, query, RequestBody::Done)?;
        self.whole(request, query).await
    }

    /// Sends a request with a JSON body and returns the whole answer.
    pub(crate) async fn call_with<B: Serialize + Sync>(
        &self,
        method: Method,
        query: &Query,
        body: &B,
    ) -> Result<Bytes, ClientError> {
        let body = self.encode(query, body)?;
        let mut request = self.request(method, query, body)?;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.whole(request, query).await
    }

    fn encode<B: Serialize>(&self, query: &Query, body: &B) -> Result<RequestBody, ClientError> {
        match serde_json::to_vec(body) {
            Ok(bytes) => Ok(RequestBody::Bytes(Bytes::from(bytes))),
            Err(source) => Err(ClientError::Encode {
                path: query.as_str().to_owned(),
                source,
            }),
        }
    }

    async fn whole(&self, request: Request<RequestBody>, query: &Query) -> Result<Bytes, ClientError> {
        let (response, sender) = self.send(request).await?;
        let body = collect(response.into_body(), query.as_str()).await?;
        self.put_back(sender);
        Ok(body)
    }

    /// Sends a request with credentials for a registry and returns the whole answer.
    pub(crate) async fn call_with_auth(
        &self,
        method: Method,
        query: &Query,
        auth: &RegistryAuth,
    ) -> Result<Bytes, ClientError> {
        let mut request = self.request(method, query, RequestBody::Done)?;
        request.headers_mut().extend(auth.header());
        self.whole(request, query).await
    }

    /// Sends a `POST` with credentials for a registry and returns the documents of the answer as they arrive.
    pub(crate) async fn progress_with_auth<T: DeserializeOwned>(
        &self,
        query: &Query,
        auth: &RegistryAuth,
    ) -> Result<JsonStream<T>, ClientError> {
        let mut request = self.request(Method::POST, query, RequestBody::Done)?;
        request.headers_mut().extend(auth.header());
        let (response, _sender) = self.send(request).await?;
        Ok(JsonStream::new(response.into_body(), query.as_str().to_owned()))
    }

    /// Sends a `GET` and decodes the answer.
    pub(crate) async fn get<T: DeserializeOwned>(&self, query: &Query) -> Result<T, ClientError> {
        let body = self.call(Method::GET, query).await?;
        decode(&body, query.as_str())
    }

    /// Sends a request and returns the body as it arrives, on a connection of its own.
    pub(crate) async fn stream(&self, method: Method, query: &Query) -> Result<Incoming, ClientError> {
        let request = self.request(method, query, RequestBody::Done)?;
        Ok(self.send(request).await?.0.into_body())
    }

    /// Sends a request and returns the answer's type and body as it arrives.
    pub(crate) async fn read(
        &self,
        method: Method,
        query: &Query,
    ) -> Result<(Option<bool>, Reader), ClientError> {
        let request = self.request(method, query, RequestBody::Done)?;
        let (response, _sender) = self.send(request).await?;
        Ok((is_multiplexed(&response), Reader::body(response.into_body())))
    }

    /// Sends what `reader` yields and returns the documents of the answer as they arrive.
    pub(crate) async fn upload<T: DeserializeOwned>(
        &self,
        query: &Query,
        media_type: &'static str,
        reader: Box<dyn AsyncRead + Send>,
    ) -> Result<JsonStream<T>, ClientError> {
        let mut request = self.request(Method::POST, query, RequestBody::Read(Box::into_pin(reader)))?;
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        let (response, _sender) = self.send(request).await?;
        Ok(JsonStream::new(response.into_body(), query.as_str().to_owned()))
    }

    /// Sends a request and returns the answer's head and its body as it arrives.
    pub(crate) async fn fetch(
        &self,
        method: Method,
        query: &Query,
    ) -> Result<(http::HeaderMap, Reader), ClientError> {
        let request = self.request(method, query, RequestBody::Done)?;
        let (response, _sender) = self.send(request).await?;
        let (parts, body) = response.into_parts();
        Ok((parts.headers, Reader::body(body)))
    }

    /// Sends what `reader` yields with `PUT` and waits for the end.
    pub(crate) async fn put(
        &self,
        query: &Query,
        reader: Box<dyn AsyncRead + Send>,
    ) -> Result<(), ClientError> {
        let mut request = self.request(Method::PUT, query, RequestBody::Read(Box::into_pin(reader)))?;
        request.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-tar"),
        );
        let (response, _sender) = self.send(request).await?;
        collect(response.into_body(), query.as_str()).await.map(drop)
    }

    /// Sends a request that turns its connection into a raw stream.
    pub(crate) async fn hijack<B: Serialize>(
        &self,
        query: &Query,
        body: Option<&B>,
    ) -> Result<Hijacked, ClientError> {
        let path = || query.as_str().to_owned();
        let encoded = match body {
            Some(body) => self.encode(query, body)?,
            None => RequestBody::Done,
        };
        let mut request = self.request(Method::POST, query, encoded)?;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let (response, _sender) = self.send(request).await?;
        let status = response.status();
        if status != http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::NotUpgraded {
                path: path(),
                status: status.as_u16(),
            });
        }
        let multiplexed = is_multiplexed(&response);
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|source| ClientError::Exchange {
                method: Method::POST,
                path: path(),
                source,
            })?;
        match upgraded.downcast::<TokioIo<Socket>>() {
            Ok(parts) => Ok(Hijacked {
                socket: parts.io.into_inner(),
                head: parts.read_buf,
                multiplexed,
            }),
            // Every connection of this client is a `Socket`.
            Err(_) => Err(ClientError::NotUpgraded {
                path: path(),
                status: status.as_u16(),
            }),
        }
    }

    /// Sends a request without a version in its path and returns the answer's head.
    pub(crate) async fn head(&self, path: &str) -> Result<http::response::Parts, ClientError> {
        let request = build(Method::HEAD, path, RequestBody::Done)?;
        let (response, sender) = self.send(request).await?;
        let (parts, body) = response.into_parts();
        drop(collect(body, path).await?);
        self.put_back(sender);
        Ok(parts)
    }
}

fn build(method: Method, uri: &str, body: RequestBody) -> Result<Request<RequestBody>, ClientError> {
    Request::builder()
        .method(method)
        .uri(uri)
        // HTTP/1.1 wants a host; what it says is of no account on a unix socket.
        .header(header::HOST, "localhost")
        .header(
            header::USER_AGENT,
            concat!("berth/", env!("CARGO_PKG_VERSION"), " (linux)"),
        )
        .body(body)
        .map_err(|source| ClientError::Request {
            path: uri.to_owned(),
            source,
        })
}

fn is_multiplexed(response: &Response<Incoming>) -> Option<bool> {
    let media_type = response.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    if media_type.starts_with(MULTIPLEXED) {
        Some(true)
    } else if media_type.starts_with("application/vnd.docker.raw-stream") {
        // Daemons before API 1.42 send this type for both.
        None
    } else {
        None
    }
}

async fn collect(mut body: Incoming, path: &str) -> Result<Bytes, ClientError> {
    let stream = |source| ClientError::Stream {
        path: path.to_owned(),
        source,
    };
    let mut whole: Option<Vec<u8>> = None;
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| stream(io::Error::other(error)))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() && whole.is_none() {
            first = data;
            continue;
        }
        let whole = whole.get_or_insert_with(|| first.to_vec());
        if whole.len().saturating_add(data.len()) > LARGEST_ANSWER {
            return Err(stream(io::Error::other("the answer is too large")));
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.map_or(first, Bytes::from))
}

pub(crate) fn decode<T: DeserializeOwned>(body: &[u8], path: &str) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|source| ClientError::Decode {
        path: path.to_owned(),
        source,
    })
}

/// Takes the message out of `{"message": …}`; other bodies are shown as they are.
fn status_error(status: u16, reason: Option<&str>, body: &[u8]) -> ClientError {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    let message = match serde_json::from_slice::<Message>(body) {
        Ok(document) => document.message,
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let text = text.trim();
            if text.is_empty() {
                format!("status {status} {}", reason.unwrap_or("without a reason"))
            } else {
                text.chars().take(2000).collect()
            }
        }
    };
    ClientError::Status { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let parse = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(parse("1.9") < parse("1.24"));
        assert_eq!(parse("v1.50"), ApiVersion::NEWEST);
        assert_eq!(parse("1.50").to_string(), "1.50");
        assert!("1".parse::<ApiVersion>().is_err());
        assert!("x.y".parse::<ApiVersion>().is_err());
    }

    #[test]
    fn error_bodies_in_any_form() {
        let text = |body: &[u8]| status_error(404, Some("Not Found"), body).to_string();
        assert_eq!(
            text(br#"{"message":"No such container: x"}"#),
            "No such container: x"
        );
        assert_eq!(text(b"page not found\n"), "page not found");
        assert_eq!(text(b""), "status 404 Not Found");
    }
}
