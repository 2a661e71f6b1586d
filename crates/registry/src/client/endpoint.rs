//! One registry: requests with credentials, along redirects, repeated where that is safe.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tokio::sync::OnceCell;

use super::auth::Authenticator;
use super::connect::ConnectError;
use super::error::error_of;
use super::host::Safety;
use super::origin::{Origin, join};
use super::shared::Shared;
use super::tls::Check;
use super::transport::{Answer, Ask, Failed, Payload};
use super::upload::ByteStream;
use super::{RegistryError, Timeouts, header};

const MAX_REDIRECTS: usize = 10;

/// A registry with credentials.
#[derive(Debug)]
pub(crate) struct Endpoint {
    shared: Arc<Shared>,
    /// `host[:port]`.
    authority: String,
    safety: Safety,
    pub(crate) auth: Authenticator,
    origin: OnceCell<Origin>,
}

/// A request to a registry.
pub(crate) struct Want<'a> {
    pub(crate) method: Method,
    pub(crate) target: Target<'a>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A path with a query on the registry.
    Path(&'a str),
    /// A URL that the registry gave for an upload.
    Url(&'a Uri),
}

/// What a request carries.
pub(crate) enum Body {
    None,
    Bytes(Bytes),
    Stream(ByteStream, Option<u64>),
}

impl<'a> Want<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            target: Target::Path(path),
            headers: HeaderMap::new(),
            body: Body::None,
        }
    }

    pub(crate) fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path)
    }
}

impl Endpoint {
    pub(crate) fn new(shared: &Arc<Shared>, authority: String, safety: Safety, auth: Authenticator) -> Self {
        Self {
            shared: Arc::clone(shared),
            authority,
            safety,
            auth,
            origin: OnceCell::new(),
        }
    }

    /// Returns the same registry with other rights.
    pub(crate) fn with(&self, auth: Authenticator) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            authority: self.authority.clone(),
            safety: self.safety,
            auth,
            origin: self.origin.clone(),
        }
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.shared.config.timeouts
    }

    /// Returns the answer to a request, whatever its status but 401; waits and repeats where that is safe and of use.
    pub(crate) async fn request(&self, mut want: Want<'_>) -> Result<Answer, RegistryError> {
        let timeouts = self.timeouts();
        let mut back_off = timeouts.back_off;
        for attempt in 1.. {
            let outcome = self.authorised(&mut want).await;
            let pause = match &outcome {
                Ok(answer) => match answer.status.as_u16() {
                    408 | 429 | 502..=504 => header::retry_after(&answer.headers).unwrap_or(back_off),
                    _ => return outcome,
                },
                Err(error) if is_passing(error) && want.method.is_idempotent() => back_off,
                Err(_) => return outcome,
            };
            if matches!(want.body, Body::Stream(..))
                || attempt >= timeouts.attempts
                || pause > timeouts.retry_after
            {
                return outcome;
            }
            if let Ok(answer) = outcome {
                answer.discard().await;
            }
            tracing::debug!(registry = %self.authority, attempt, ?pause, "request to a registry is repeated");
            tokio::time::sleep(pause).await;
            back_off = back_off.saturating_mul(2);
        }
        unreachable!("the loop has no end")
    }

    /// Returns the answer if its status is one of `good`, the registry's error otherwise.
    pub(crate) async fn expect(&self, want: Want<'_>, good: &[StatusCode]) -> Result<Answer, RegistryError> {
        let answer = self.request(want).await?;
        if good.contains(&answer.status) {
            Ok(answer)
        } else {
            Err(error_of(answer).await)
        }
    }

    /// Returns the registry's origin: https, but for an insecure registry that does not speak it.
    pub(crate) async fn origin(&self) -> Result<&Origin, RegistryError> {
        self.origin.get_or_try_init(|| self.find_origin()).await
    }

    async fn find_origin(&self) -> Result<Origin, RegistryError> {
        let of = |tls: bool| {
            Origin::parse(tls, &self.authority).ok_or_else(|| RegistryError::Config {
                problem: format!("invalid registry host {:?}", self.authority),
            })
        };
        match self.safety {
            Safety::Strict | Safety::Unchecked => return of(true),
            Safety::Plain => return of(false),
            Safety::Insecure => {}
        }
        if let Some(tls) = self.shared.speaks_tls(&self.authority) {
            return of(tls);
        }
        let secure = of(true)?;
        let method = Method::GET;
        let uri = secure.url("/v2/").unwrap_or_default();
        let failed = Failed {
            method: &method,
            uri: &uri,
        };
        let tls = self.shared.transport.probe(&failed, &secure).await.is_ok();
        if tls {
            self.shared.remember(true, &self.authority, true);
        }
        of(tls)
    }

    /// Sends a request with what the registry asks for; learns that once, if it is not known yet.
    async fn authorised(&self, want: &mut Want<'_>) -> Result<Answer, RegistryError> {
        let origin = self.origin().await?;
        for is_second in [false, true] {
            let authorization = self.auth.authorization(&self.shared, origin).await?;
            let is_stream = matches!(want.body, Body::Stream(..));
            let answer = self.follow(want, origin, authorization.as_ref()).await?;
            self.shared
                .remember(self.safety == Safety::Insecure, &self.authority, origin.tls);
            let is_own = Origin::of(&answer.uri).as_ref() == Some(origin);
            if answer.status != StatusCode::UNAUTHORIZED || !is_own {
                return Ok(answer);
            }
            if is_second || is_stream {
                return Err(error_of(answer).await);
            }
            match self.auth.learn(&answer, origin, authorization.as_ref()).await {
                // Shown credentials that are not accepted: what the registry says of them is more useful.
                Err(RegistryError::Unauthorized { .. }) if authorization.is_some() => {
                    return Err(error_of(answer).await);
                }
                learned => learned?,
            }
            answer.discard().await;
        }
        unreachable!("the second round returns")
    }

    /// Sends a request and follows redirects. Only requests to `origin` itself carry `authorization`.
    async fn follow(
        &self,
        want: &mut Want<'_>,
        origin: &Origin,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, RegistryError> {
        let mut uri = match want.target {
            Target::Path(path) => origin.url(path).ok_or_else(|| RegistryError::Config {
                problem: format!("\"{path}\" is not a usable path"),
            })?,
            Target::Url(uri) => uri.clone(),
        };
        for _ in 0..=MAX_REDIRECTS {
            let target = Origin::of(&uri);
            let failed = Failed {
                method: &want.method,
                uri: &uri,
            };
            let target = target.ok_or_else(|| failed.protocol("not a usable URL"))?;
            let is_own = target == *origin;
            let is_lenient = self.shared.is_lenient(origin, &target);
            if !is_own && !target.tls && (origin.tls || !is_lenient) {
                return Err(failed.protocol(format!(
                    "the registry sends to {target}, which would be spoken to without TLS"
                )));
            }
            let mut headers = want.headers.clone();
            if is_own && let Some(authorization) = authorization {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let ask = Ask {
                method: want.method.clone(),
                uri: uri.clone(),
                headers,
                payload: want.body.take(),
            };
            let check = match self.safety {
                Safety::Strict if is_own => Check::Full,
                _ if is_own || is_lenient => Check::Skip,
                _ => Check::Full,
            };
            let answer = self.shared.transport.send(ask, check).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let next =
                header::text(&answer.headers, LOCATION).and_then(|location| join(&answer.uri, location));
            let Some(next) = next else {
                return Err(answer.failed().protocol("a redirect without a usable location"));
            };
            let reads = matches!(want.method, Method::GET | Method::HEAD);
            let stays = Origin::of(&next).as_ref() == Some(origin)
                && matches!(answer.status.as_u16(), 307 | 308)
                && !matches!(want.body, Body::Stream(..));
            if !reads && !stays {
                return Err(answer
                    .failed()
                    .protocol("a redirect of a request that is not to be repeated elsewhere"));
            }
            uri = next;
            answer.discard().await;
        }
        Err(Failed {
            method: &want.method,
            uri: &uri,
        }
        .protocol(format!("stopped after {MAX_REDIRECTS} redirects")))
    }
}

impl Body {
    /// Returns what to send now. A stream is gone then, and stays known as one.
    fn take(&mut self) -> Payload {
        match self {
            Self::None => Payload::None,
            Self::Bytes(bytes) => Payload::Bytes(bytes.clone()),
            Self::Stream(stream, length) => {
                let stream = std::mem::replace(stream, Box::pin(futures_util::stream::empty()));
                Payload::Stream(stream, *length)
            }
        }
    }
}

/// Returns whether another attempt may go better at once: not where nobody listens or the name is not known.
fn is_passing(error: &RegistryError) -> bool {
    match error {
        RegistryError::Unreachable { source, .. } => !source.is::<ConnectError>(),
        _ => false,
    }
}
