//! Who may in.

use super::Shared;
use super::answer::Answer;
use super::request::{Seen, parameters};

/// What the registry asks for.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nothing.
    #[default]
    Open,
    /// A name and a password with each request.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token from a token server; this registry is one at `/token`.
    Bearer {
        /// The realm; empty for this registry's own `/token`.
        realm: String,
        /// Who gets a token: a name and a password. `None`: everybody.
        user: Option<(String, String)>,
        /// The refresh token that is given and taken; empty for none.
        refresh_token: String,
        /// Seconds that tokens are said to be good for; 0 says nothing.
        expires_in: u64,
    },
    /// Answers 401 with this `WWW-Authenticate`, whatever comes.
    Challenge(String),
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    text: String,
    scopes: Vec<String>,
}

/// Returns the refusal of a request, if it is refused.
pub(super) fn refusal(shared: &Shared, seen: &Seen) -> Option<Answer> {
    let state = shared.lock();
    let authorization = seen.header("authorization").unwrap_or_default();
    let challenge = match &state.auth {
        Auth::Open => return None,
        Auth::Basic { username, password } => {
            if authorization == basic(username, password) {
                return None;
            }
            "Basic realm=\"test\"".to_owned()
        }
        Auth::Bearer { realm, .. } => {
            let wanted = scope(seen);
            let shown = authorization.strip_prefix("Bearer ").unwrap_or_default();
            let good = state.tokens.iter().any(|token| {
                token.text == shown && wanted.as_ref().is_none_or(|wanted| covers(&token.scopes, wanted))
            });
            if good {
                return None;
            }
            let realm = if realm.is_empty() {
                format!("{}/token", shared.url())
            } else {
                realm.clone()
            };
            let scope = wanted.map(|(name, action)| format!(",scope=\"repository:{name}:{action}\""));
            format!(
                "Bearer realm=\"{realm}\",service=\"test\"{}",
                scope.unwrap_or_default()
            )
        }
        Auth::Challenge(challenge) => challenge.clone(),
    };
    Some(Answer::error(401, "UNAUTHORIZED", "authentication required").header("WWW-Authenticate", &challenge))
}

/// Answers `GET /token` and `POST /token`.
pub(super) fn token(shared: &Shared, seen: &Seen, form: &str) -> Answer {
    let mut state = shared.lock();
    let Auth::Bearer {
        user,
        refresh_token,
        expires_in,
        ..
    } = state.auth.clone()
    else {
        return Answer::error(404, "UNSUPPORTED", "no token server");
    };
    let field = |name: &str| parameters(form, name).into_iter().next().unwrap_or_default();
    let allowed = match &user {
        None => true,
        Some(_) if seen.method == "POST" && field("grant_type") == "refresh_token" => {
            !refresh_token.is_empty() && field("refresh_token") == refresh_token
        }
        Some((name, password)) if seen.method == "POST" => {
            field("username") == *name && field("password") == *password
        }
        Some((name, password)) => seen.header("authorization") == Some(basic(name, password).as_str()),
    };
    if !allowed {
        return Answer::error(401, "UNAUTHORIZED", "incorrect username or password");
    }
    let scopes = if seen.method == "POST" {
        field("scope").split(' ').map(str::to_owned).collect()
    } else {
        let scopes = seen.queries("scope");
        scopes
            .iter()
            .flat_map(|scope| scope.split(' '))
            .map(str::to_owned)
            .collect()
    };
    let text = format!("token-{}-{}", state.tokens.len(), state.seen.len());
    state.tokens.push(Token {
        text: text.clone(),
        scopes,
    });
    let mut document = serde_json::json!({"token": text, "access_token": text});
    if expires_in > 0 {
        document["expires_in"] = expires_in.into();
    }
    let offline = seen.query("offline_token").is_some() || field("access_type") == "offline";
    if offline && !refresh_token.is_empty() {
        document["refresh_token"] = refresh_token.into();
    }
    Answer::json(200, &document)
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", base64(format!("{username}:{password}").as_bytes()))
}

/// Returns the repository and the action that a request needs.
fn scope(seen: &Seen) -> Option<(String, String)> {
    let rest = seen.path().strip_prefix("/v2/")?;
    let end = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .filter_map(|part| rest.rfind(part))
        .max()?;
    let action = match seen.method.as_str() {
        "GET" | "HEAD" => "pull",
        "DELETE" => "delete",
        _ => "push",
    };
    Some((rest[..end].to_owned(), action.to_owned()))
}

fn covers(scopes: &[String], (name, action): &(String, String)) -> bool {
    scopes.iter().any(|scope| {
        let rest = scope.strip_prefix("repository:").unwrap_or_default();
        rest.rsplit_once(':').is_some_and(|(own, actions)| {
            own == name && actions.split(',').any(|one| one == action || one == "*")
        })
    })
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = 0u32;
        for at in 0..3 {
            group = group << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..4 {
            let index = (group >> (18 - 6 * at)) & 63;
            text.push(if at <= chunk.len() {
                char::from(DIGITS[index as usize])
            } else {
                '='
            });
        }
    }
    text
}
