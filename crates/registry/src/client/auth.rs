//! Authentication: what a registry asked for, and the tokens that were given for it.
//!
//! ```text
//! unknown ──401──▶ Basic            the name and the password with each request
//!            └───▶ Bearer ──token──▶ until it expires or is refused, then another one
//! ```
//!
//! A token server is named by the registry, in a header that anyone in the middle of plain HTTP can write. So:
//!
//! * Credentials and tokens are only for the registry's own origin and for its token server.
//! * A token server is spoken to by `https`; by `http` only where the registry itself is, on the same host.
//! * A token is asked for only for the repositories that this client asked for itself, whatever the challenge says.
//! * The token server's redirects are followed on its own origin only.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use base::secret::Secret;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::challenge::{Challenge, challenges};
use super::error::error_of;
use super::origin::{Origin, encode, join};
use super::shared::Shared;
use super::transport::{Answer, Ask, Failed, Payload};
use super::{Credentials, RegistryError, header};

/// The name by which token servers know this client.
const CLIENT_ID: &str = "berth";
/// Largest answer of a token server, in bytes.
const MAX_ANSWER: u64 = 256 << 10;
/// Longest token, in bytes.
const MAX_TOKEN: usize = 32 << 10;
/// How long a token counts at least: what the specification says for servers that do not tell.
const MIN_LIFE: Duration = Duration::from_secs(60);
/// A token is renewed this long before it ends.
const MARGIN: Duration = Duration::from_secs(10);
const MAX_REDIRECTS: usize = 3;

/// The credentials for one registry and what became of them.
pub(crate) struct Authenticator {
    credentials: Credentials,
    /// `repository:PATH:ACTIONS`, as asked for with every token.
    scopes: Vec<String>,
    /// Whether a refresh token is wanted: for a login.
    offline: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    demand: Option<Demand>,
    token: Option<Token>,
    /// Scopes that challenges asked for besides.
    further: BTreeSet<String>,
    refresh: Option<Secret>,
}

#[derive(Clone)]
enum Demand {
    Basic,
    Bearer { realm: Uri, service: Option<String> },
}

struct Token {
    value: HeaderValue,
    until: Instant,
}

/// A token server's answer (Docker's token specification; RFC 6749, section 5.1).
#[derive(Deserialize)]
struct TokenDocument {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    refresh_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Authenticator {
    /// Returns one that asks for `scopes`.
    pub(crate) fn new(credentials: Credentials, scopes: Vec<String>) -> Self {
        Self {
            credentials,
            scopes,
            offline: false,
            state: Mutex::default(),
        }
    }

    /// Returns one for a login, which asks for a refresh token too.
    pub(crate) fn for_login(credentials: Credentials) -> Self {
        Self {
            offline: true,
            ..Self::new(credentials, Vec::new())
        }
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(crate) fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Returns the refresh token that a login was given.
    pub(crate) async fn refresh_token(&self) -> Option<Secret> {
        self.state.lock().await.refresh.clone()
    }

    /// Returns the value of `Authorization` for the next request to `registry`; `None` before anything was asked for.
    pub(crate) async fn authorization(
        &self,
        shared: &Shared,
        registry: &Origin,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if let Credentials::RegistryToken(token) = &self.credentials {
            return sensitive(&format!("Bearer {}", token.expose())).map(Some);
        }
        // Held while a token is fetched, so that ten requests at once fetch one.
        let mut state = self.state.lock().await;
        match state.demand.clone() {
            None => Ok(None),
            Some(Demand::Basic) => self.basic(),
            Some(Demand::Bearer { realm, service }) => {
                if let Some(token) = &state.token
                    && token.until > Instant::now()
                {
                    return Ok(Some(token.value.clone()));
                }
                let value = self
                    .fetch(shared, registry, &mut state, &realm, service.as_deref())
                    .await?;
                Ok(Some(value))
            }
        }
    }

    /// Takes in what a refusal (401) of a request with `used` asks for; then the request may be repeated once.
    pub(crate) async fn learn(
        &self,
        refusal: &Answer,
        registry: &Origin,
        used: Option<&HeaderValue>,
    ) -> Result<(), RegistryError> {
        let failed = refusal.failed();
        let offered = challenges(&refusal.headers);
        let mut state = self.state.lock().await;
        if state
            .token
            .as_ref()
            .is_some_and(|token| used != Some(&token.value))
        {
            // Another request has a newer token meanwhile.
            return Ok(());
        }
        let of = |scheme: &str| offered.iter().find(|challenge| challenge.scheme == scheme);
        if matches!(self.credentials, Credentials::RegistryToken(_)) {
            return Err(failed.unauthorized("unauthorized: the registry token is refused"));
        }
        if let Some(challenge) = of("bearer") {
            let realm = realm(challenge, registry, &failed)?;
            state.further.extend(self.own_scopes(challenge));
            state.token = None;
            state.demand = Some(Demand::Bearer {
                realm,
                service: challenge.parameter("service").map(str::to_owned),
            });
            return Ok(());
        }
        if of("basic").is_some() {
            if self.basic()?.is_none() {
                return Err(failed.unauthorized("no basic auth credentials"));
            }
            state.demand = Some(Demand::Basic);
            return Ok(());
        }
        match offered.first() {
            Some(other) => {
                let scheme: String = other.scheme.chars().take(40).collect();
                Err(failed.unauthorized(format!("authentication by \"{scheme}\" is not supported")))
            }
            None => Err(failed.unauthorized("unauthorized: the registry does not say what it asks for")),
        }
    }

    /// Returns `Basic …`, if there are a name and a password.
    fn basic(&self) -> Result<Option<HeaderValue>, RegistryError> {
        let Credentials::Basic { username, password } = &self.credentials else {
            return Ok(None);
        };
        let text = format!("{username}:{}", password.expose());
        sensitive(&format!("Basic {}", base::base64::encode(text.as_bytes()))).map(Some)
    }

    /// Returns the scopes of a challenge that are asked for besides: those of repositories that this client asked for
    /// itself, and the list of all.
    fn own_scopes(&self, challenge: &Challenge) -> Vec<String> {
        let offered = challenge.parameter("scope").unwrap_or_default();
        let is_further = |scope: &&str| {
            if *scope == "registry:catalog:*" {
                return true;
            }
            let own = scope.rsplit_once(':').and_then(|(resource, actions)| {
                let mut scopes = self.scopes.iter().filter_map(|own| own.rsplit_once(':'));
                Some((actions, scopes.find(|(own, _)| *own == resource)?.1))
            });
            own.is_some_and(|(wanted, own)| {
                !wanted
                    .split(',')
                    .all(|action| own.split(',').any(|own| own == action))
            })
        };
        offered
            .split(' ')
            .filter(is_further)
            .take(8)
            .map(str::to_owned)
            .collect()
    }

    /// Asks the token server (Docker's token specification and its OAuth2 variant).
    async fn fetch(
        &self,
        shared: &Shared,
        registry: &Origin,
        state: &mut State,
        realm: &Uri,
        service: Option<&str>,
    ) -> Result<HeaderValue, RegistryError> {
        let mut scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        scopes.extend(
            state
                .further
                .iter()
                .map(String::as_str)
                .filter(|further| !self.scopes.iter().any(|own| own == further)),
        );
        let mut answer = match &self.credentials {
            Credentials::IdentityToken { token, .. } => {
                let form = refresh_form(token, service, &scopes, self.offline);
                self.ask(
                    shared,
                    registry,
                    Method::POST,
                    realm.clone(),
                    Payload::Bytes(form),
                )
                .await?
            }
            _ => {
                let uri =
                    with_query(realm, service, &scopes, self.account(), self.offline).ok_or_else(|| {
                        Failed {
                            method: &Method::GET,
                            uri: realm,
                        }
                        .protocol("not a usable token server")
                    })?;
                self.ask(shared, registry, Method::GET, uri, Payload::None)
                    .await?
            }
        };
        if answer.status != StatusCode::OK {
            return Err(error_of(answer).await);
        }
        let bytes = answer.bytes(MAX_ANSWER, "answer of the token server").await?;
        // The parser's message would quote what it read: a secret.
        let document: TokenDocument = serde_json::from_slice(&bytes).map_err(|_secret| {
            answer
                .failed()
                .protocol("the token server's answer is not understood")
        })?;
        let text = document
            .token
            .or(document.access_token)
            .filter(|token| !token.is_empty());
        let Some(text) = text.filter(|token| token.len() <= MAX_TOKEN) else {
            return Err(answer
                .failed()
                .protocol("authorization server did not include a token in the response"));
        };
        let value = sensitive(&format!("Bearer {text}"))?;
        let life = Duration::from_secs(document.expires_in.unwrap_or(0).min(24 * 3600)).max(MIN_LIFE);
        state.token = Some(Token {
            value: value.clone(),
            until: Instant::now() + (life - MARGIN),
        });
        if let Some(refresh) = document.refresh_token.filter(|refresh| !refresh.is_empty()) {
            state.refresh = Some(Secret::new(refresh));
        }
        Ok(value)
    }

    /// Sends one request to the token server, with the credentials, following redirects on its own origin.
    async fn ask(
        &self,
        shared: &Shared,
        registry: &Origin,
        method: Method,
        uri: Uri,
        mut payload: Payload,
    ) -> Result<Answer, RegistryError> {
        let mut uri = uri;
        let failed_uri = uri.clone();
        let failed = Failed {
            method: &method,
            uri: &failed_uri,
        };
        let origin = Origin::of(&uri).ok_or_else(|| failed.protocol("not a usable token server"))?;
        for _ in 0..=MAX_REDIRECTS {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
            let again = match &payload {
                Payload::Bytes(form) => {
                    headers.insert(
                        CONTENT_TYPE,
                        HeaderValue::from_static("application/x-www-form-urlencoded"),
                    );
                    Payload::Bytes(form.clone())
                }
                _ => {
                    if let Some(basic) = self.basic()? {
                        headers.insert(AUTHORIZATION, basic);
                    }
                    Payload::None
                }
            };
            let ask = Ask {
                method: method.clone(),
                uri,
                headers,
                payload: std::mem::replace(&mut payload, again),
            };
            let answer = shared.transport.send(ask, shared.check(&origin)).await?;
            if !answer.status.is_redirection() {
                return Ok(answer);
            }
            let target = header::text(&answer.headers, http::header::LOCATION)
                .and_then(|location| join(&answer.uri, location))
                .filter(|target| Origin::of(target).as_ref() == Some(&origin));
            tracing::debug!(%registry, "token server redirects");
            uri = target.ok_or_else(|| failed.protocol("the token server sends elsewhere"))?;
        }
        Err(failed.protocol("the token server redirects without end"))
    }

    fn account(&self) -> Option<&str> {
        match &self.credentials {
            Credentials::Basic { username, .. } => Some(username),
            _ => None,
        }
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authenticator")
            .field("credentials", &self.credentials)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// Returns the token server that a challenge names, if credentials may be shown to it.
fn realm(challenge: &Challenge, registry: &Origin, failed: &Failed<'_>) -> Result<Uri, RegistryError> {
    let text = challenge.parameter("realm").unwrap_or_default();
    let uri: Option<Uri> = text.parse().ok();
    let named = uri.as_ref().and_then(Origin::of);
    let (Some(uri), Some(origin)) = (uri, named) else {
        return Err(failed.protocol("the registry names no usable token server"));
    };
    if origin.tls || (!registry.tls && origin.host == registry.host) {
        return Ok(uri);
    }
    Err(failed.protocol(format!(
        "the registry names the token server {origin}, which would be spoken to without TLS"
    )))
}

/// `GET REALM?service=…&scope=…&account=…`.
fn with_query(
    realm: &Uri,
    service: Option<&str>,
    scopes: &[&str],
    account: Option<&str>,
    offline: bool,
) -> Option<Uri> {
    let mut pairs = Vec::new();
    if let Some(account) = account {
        pairs.push(("account", account));
    }
    if offline {
        pairs.extend([("client_id", CLIENT_ID), ("offline_token", "true")]);
    }
    pairs.extend(service.map(|service| ("service", service)));
    pairs.extend(scopes.iter().map(|&scope| ("scope", scope)));
    let query = form(&pairs);
    let join = if realm.query().is_some() { '&' } else { '?' };
    format!("{realm}{join}{query}").parse().ok()
}

/// The body of `POST REALM` with a refresh token.
fn refresh_form(token: &Secret, service: Option<&str>, scopes: &[&str], offline: bool) -> Bytes {
    let scope = scopes.join(" ");
    let mut pairs = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", token.expose()),
        ("client_id", CLIENT_ID),
    ];
    pairs.extend(service.map(|service| ("service", service)));
    if !scope.is_empty() {
        pairs.push(("scope", &scope));
    }
    if offline {
        pairs.push(("access_type", "offline"));
    }
    form(&pairs).into()
}

fn form(pairs: &[(&str, &str)]) -> String {
    let fields: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    fields.join("&")
}

/// Returns a header's value that is not printed; refuses what could end the header.
fn sensitive(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_secret| RegistryError::Config {
        problem: "the credentials cannot stand in a header".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}
