//! Tokens of a token server: JSON Web Tokens (RFC 7519) signed as JWS in compact form (RFC 7515), with the claims of
//! Docker's token authentication (`access`: type, name and actions).
//!
//! A token's header only says how it was signed. Keys in it (`jwk`, `x5c`, `jku`, `x5u`) and its `kid` are ignored:
//! the configured keys are tried, each only with the algorithms that it is for.

use std::path::Path;

use base::clock::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde::Deserialize;

use super::key::{self, KeyError, PublicKey};
use super::{Access, Need, Visitor, challenge, credentials};
use crate::server::fault::Fault;

/// The longest token.
const TOKEN_LIMIT: usize = 32 << 10;

/// How far the clocks of the token server and this host may differ, in seconds.
const LEEWAY: i64 = 60;

/// Lets in who has a token.
#[derive(Debug)]
pub(crate) struct TokenGuard {
    keys: Vec<PublicKey>,
    realm: String,
    service: String,
    issuer: String,
}

impl TokenGuard {
    /// Reads the keys. `realm` is where clients get tokens; tokens are for `service` and from `issuer`.
    pub(crate) fn new(key: &Path, realm: &str, service: &str, issuer: &str) -> Result<Self, KeyError> {
        Ok(Self {
            keys: key::read(key)?,
            realm: realm.to_owned(),
            service: service.to_owned(),
            issuer: issuer.to_owned(),
        })
    }

    /// Lets a request in whose token allows all that is needed.
    pub(crate) fn admit(&self, header: Option<&HeaderValue>, needs: &[Need]) -> Result<Visitor, Fault> {
        let Some(token) = credentials(header, "bearer") else {
            return Err(self.challenge(needs, None));
        };
        let now = Timestamp::now().unix_seconds();
        let Some(visitor) = self.visitor(token, now) else {
            return Err(self.challenge(needs, Some("invalid_token")));
        };
        if needs.iter().all(|need| visitor.may(need)) {
            Ok(visitor)
        } else {
            Err(self.challenge(needs, Some("insufficient_scope")))
        }
    }

    fn challenge(&self, needs: &[Need], error: Option<&str>) -> Fault {
        let mut text = format!(
            "Bearer realm=\"{}\",service=\"{}\"",
            quoted(&self.realm),
            quoted(&self.service)
        );
        let scopes: Vec<String> = needs
            .iter()
            .map(|need| format!("{}:{}:{}", need.kind, need.name, need.actions.join(",")))
            .collect();
        if !scopes.is_empty() {
            text.push_str(&format!(",scope=\"{}\"", scopes.join(" ")));
        }
        if let Some(error) = error {
            text.push_str(&format!(",error=\"{error}\""));
        }
        challenge(&text)
    }

    /// Returns who a token is for; `None` if it is not to be believed.
    fn visitor(&self, token: &str, now: i64) -> Option<Visitor> {
        if token.len() > TOKEN_LIMIT {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = decode(header)?;
        if header.crit.is_some() {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let is_ours = |key: &PublicKey| key.verifies(&header.alg, signed.as_bytes(), &signature);
        if !self.keys.iter().any(is_ours) {
            return None;
        }
        let claims: Claims = decode(claims)?;
        let is_for_us = claims.iss == self.issuer
            && claims.aud.has(&self.service)
            && now < claims.exp.saturating_add(LEEWAY)
            && claims.nbf.is_none_or(|begin| begin <= now.saturating_add(LEEWAY));
        is_for_us.then(|| Visitor {
            name: name_for_log(&claims.sub),
            access: Some(claims.access.into_iter().map(Entry::into_access).collect()),
        })
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    /// Extensions that must be understood; none is.
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    sub: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    access: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, service: &str) -> bool {
        match self {
            Self::One(one) => one == service,
            Self::Many(many) => many.iter().any(|one| one == service),
        }
    }
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Vec<String>,
}

impl Entry {
    fn into_access(self) -> Access {
        Access {
            kind: self.kind,
            name: self.name,
            actions: self.actions,
        }
    }
}

fn decode<T: for<'a> Deserialize<'a>>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

fn quoted(text: &str) -> String {
    text.replace(['"', '\\'], "")
}

fn name_for_log(name: &str) -> String {
    let shown: String = name
        .chars()
        .filter(|character| character.is_ascii_graphic())
        .take(64)
        .collect();
    if shown.is_empty() { "-".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 1_000_000;

    struct Server {
        pair: EcdsaKeyPair,
        random: SystemRandom,
    }

    impl Server {
        fn new() -> Self {
            let random = SystemRandom::new();
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
                .unwrap();
            Self { pair, random }
        }

        fn pem(&self) -> String {
            // SubjectPublicKeyInfo of a P-256 key, RFC 5480.
            let mut der = vec![0x30, 0x59, 0x30, 0x13, 0x06, 0x07];
            der.extend([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08]);
            der.extend([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00]);
            der.extend(self.pair.public_key().as_ref());
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let signed = format!(
                "{}.{}",
                URL_SAFE_NO_PAD.encode(header.to_string()),
                URL_SAFE_NO_PAD.encode(claims.to_string())
            );
            let signature = self.pair.sign(&self.random, signed.as_bytes()).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
        }
    }

    fn guard(server: &Server) -> TokenGuard {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        base::file::write_atomic(
            &path,
            server.pem().as_bytes(),
            0o600,
            base::file::Durability::Crash,
        )
        .unwrap();
        TokenGuard::new(&path, "https://auth.test/token", "registry.test", "auth.test").unwrap()
    }

    fn claims() -> Value {
        json!({
            "iss": "auth.test", "aud": "registry.test", "sub": "ann\n", "exp": NOW + 10, "nbf": NOW - 10,
            "access": [{ "type": "repository", "name": "a/b", "actions": ["pull"] }]
        })
    }

    #[test]
    fn tokens_give_what_they_say() {
        let server = Server::new();
        let guard = guard(&server);
        let token = server.sign(&json!({ "alg": "ES256", "typ": "JWT" }), &claims());
        let visitor = guard.visitor(&token, NOW).unwrap();
        assert_eq!(visitor.name, "ann");
        assert!(visitor.may(&Need::repository("a/b", &["pull"])));
        for (name, actions) in [
            ("a/b", &["pull", "push"][..]),
            ("a/b", &["delete"]),
            ("a", &["pull"]),
            ("a/b/c", &["pull"]),
        ] {
            assert!(
                !visitor.may(&Need::repository(name, actions)),
                "{name} {actions:?}"
            );
        }
        assert!(!visitor.may(&Need::catalog()));
        // The audience may be a list.
        let mut many = claims();
        many["aud"] = json!(["x", "registry.test"]);
        assert!(
            guard
                .visitor(&server.sign(&json!({ "alg": "ES256" }), &many), NOW)
                .is_some()
        );
    }

    #[test]
    fn im_08_tokens_that_are_not_believed() {
        let (server, stranger) = (Server::new(), Server::new());
        let guard = guard(&server);
        let header = json!({ "alg": "ES256" });
        let changed = |key: &str, value: Value| {
            let mut claims = claims();
            claims[key] = value;
            server.sign(&header, &claims)
        };
        let good = server.sign(&header, &claims());
        let (head, rest) = good.split_once('.').unwrap();
        let (body, signature) = rest.split_once('.').unwrap();
        let none = URL_SAFE_NO_PAD.encode(json!({ "alg": "none" }).to_string());
        let other = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256" }).to_string());
        let jwk = json!({ "alg": "ES256", "jwk": { "kty": "EC" }, "kid": "../../key", "x5c": ["AAAA"] });
        for (what, token) in [
            ("expired", changed("exp", json!(NOW - 61))),
            ("too early", changed("nbf", json!(NOW + 61))),
            ("another issuer", changed("iss", json!("evil.test"))),
            ("another service", changed("aud", json!("other.test"))),
            ("no audience", changed("aud", json!([]))),
            ("no end", changed("exp", Value::Null)),
            ("a stranger's key", stranger.sign(&header, &claims())),
            ("a key of its own", stranger.sign(&jwk, &claims())),
            ("algorithm none", format!("{none}.{body}.")),
            ("algorithm none, signed", format!("{none}.{body}.{signature}")),
            ("a shared secret", format!("{other}.{body}.{signature}")),
            (
                "another algorithm",
                server.sign(&json!({ "alg": "ES384" }), &claims()),
            ),
            (
                "extensions",
                server.sign(&json!({ "alg": "ES256", "crit": ["x"] }), &claims()),
            ),
            ("no signature", format!("{head}.{body}.")),
            ("two parts", format!("{head}.{body}")),
            ("four parts", format!("{good}.x")),
            ("nothing", String::new()),
            ("too long", "a".repeat(TOKEN_LIMIT + 1)),
        ] {
            assert!(guard.visitor(&token, NOW).is_none(), "{what}");
        }
    }

    #[test]
    fn a_challenge_names_what_is_needed() {
        let guard = guard(&Server::new());
        let needs = [
            Need::repository("a/b", &["pull", "push"]),
            Need::repository("c", &["pull"]),
        ];
        let response = guard.admit(None, &needs).unwrap_err().into_response();
        assert_eq!(response.status().as_u16(), 401);
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer realm=\"https://auth.test/token\",service=\"registry.test\",\
             scope=\"repository:a/b:pull,push repository:c:pull\""
        );
    }
}
