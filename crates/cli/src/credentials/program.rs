//! Credential helpers: programs `docker-credential-NAME` that keep credentials elsewhere.
//!
//! Protocol (docker-credential-helpers, README): the first argument is the action. `get` reads a registry from standard
//! input and writes `{"ServerURL","Username","Secret"}`; `store` reads such a document; `erase` reads a registry. The
//! user name `<token>` says that the secret is an identity token. A failure is an exit status and a text on standard
//! output. The program is run without a shell and found by PATH.

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use api_types::registry::AuthConfig;
use serde::{Deserialize, Serialize};

use super::host_of;

/// The text of a helper that has nothing for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user name that says that the secret is a token.
const TOKEN: &str = "<token>";
/// Most that is read of a helper's answer, in bytes.
const LIMIT: u64 = 1 << 20;

/// A helper cannot be used. What it wrote is never shown unless it failed: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelperError {
    /// The name in the configuration is not one of a program.
    #[error("invalid credential helper name \"{name}\"")]
    Name {
        /// The name.
        name: String,
    },
    /// It cannot be run.
    #[error("run \"{program}\"")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It failed.
    #[error("\"{program} {action}\" failed: {text}")]
    Failed {
        /// The program.
        program: String,
        /// What was asked of it.
        action: &'static str,
        /// What it said.
        text: String,
    },
    /// Its answer is not what the protocol says.
    #[error("\"{program} get\" answered something that is not credentials")]
    Answer {
        /// The program.
        program: String,
    },
    /// Its answer is for another registry.
    #[error("\"{program} get\" answered with credentials for another registry than \"{server}\"")]
    OtherServer {
        /// The program.
        program: String,
        /// What was asked for.
        server: String,
    },
}

/// One helper.
#[derive(Debug)]
pub(crate) struct Helper {
    program: String,
}

/// What a helper reads and writes.
#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(rename = "Username", default)]
    username: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

impl Helper {
    /// Returns the helper of that name, the last part of the program's.
    pub(crate) fn new(name: &str) -> Result<Self, HelperError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(allowed) {
            return Err(HelperError::Name {
                name: name.chars().take(100).flat_map(char::escape_debug).collect(),
            });
        }
        Ok(Self {
            program: format!("docker-credential-{name}"),
        })
    }

    /// Returns what it has for a registry.
    pub(crate) fn get(&self, server: &str) -> Result<Option<AuthConfig>, HelperError> {
        let answer = match self.run("get", server.as_bytes()) {
            Err(HelperError::Failed { text, .. }) if text.contains(NOT_FOUND) => return Ok(None),
            answer => answer?,
        };
        let document: Document =
            serde_json::from_slice(&answer).map_err(|_may_show_a_secret: serde_json::Error| {
                HelperError::Answer {
                    program: self.program.clone(),
                }
            })?;
        if !document.server.is_empty() && host_of(&document.server) != host_of(server) {
            return Err(HelperError::OtherServer {
                program: self.program.clone(),
                server: server.to_owned(),
            });
        }
        if document.secret.is_empty() && document.username.is_empty() {
            return Ok(None);
        }
        let mut auth = AuthConfig {
            serveraddress: server.to_owned(),
            ..AuthConfig::default()
        };
        if document.username == TOKEN {
            auth.identitytoken = document.secret;
        } else {
            (auth.username, auth.password) = (document.username, document.secret);
        }
        Ok(Some(auth))
    }

    /// Keeps credentials.
    pub(crate) fn store(&self, auth: &AuthConfig) -> Result<(), HelperError> {
        let (username, secret) = if auth.identitytoken.is_empty() {
            (auth.username.as_str(), &auth.password)
        } else {
            (TOKEN, &auth.identitytoken)
        };
        let document = Document {
            server: auth.serveraddress.clone(),
            username: username.to_owned(),
            secret: secret.clone(),
        };
        // Three strings always encode.
        let text = serde_json::to_vec(&document).unwrap_or_default();
        self.run("store", &text).map(drop)
    }

    /// Forgets the credentials of a registry; it is well if there were none.
    pub(crate) fn erase(&self, server: &str) -> Result<(), HelperError> {
        match self.run("erase", server.as_bytes()) {
            Err(HelperError::Failed { text, .. }) if text.contains(NOT_FOUND) => Ok(()),
            result => result.map(drop),
        }
    }

    fn run(&self, action: &'static str, input: &[u8]) -> Result<Vec<u8>, HelperError> {
        let failed = |source| HelperError::Run {
            program: self.program.clone(),
            source,
        };
        let mut child = Command::new(&self.program)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input says why by its exit.
            let _unread = stdin.write_all(input);
        }
        let mut answer = Vec::new();
        let read = match child.stdout.take() {
            Some(stdout) => stdout.take(LIMIT).read_to_end(&mut answer).map(drop),
            None => Ok(()),
        };
        // More than the limit makes it fail at its pipe, which is closed now.
        let status = child.wait().map_err(failed)?;
        read.map_err(failed)?;
        if status.success() {
            return Ok(answer);
        }
        let text = String::from_utf8_lossy(&answer);
        Err(HelperError::Failed {
            program: self.program.clone(),
            action,
            text: match text.trim() {
                "" => status.to_string(),
                text => text.chars().take(300).flat_map(printable).collect(),
            },
        })
    }
}

fn printable(character: char) -> impl Iterator<Item = char> {
    let escape = character.is_control();
    let plain = (!escape).then_some(character);
    let escaped = escape.then(|| character.escape_debug());
    plain.into_iter().chain(escaped.into_iter().flatten())
}
