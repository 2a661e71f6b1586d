//! The ways to go wrong.

use std::time::Duration;

/// Which requests go wrong, how often, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The method, empty for any.
    pub method: String,
    /// What the target (path and query) must contain.
    pub part: String,
    /// How many requests more; it is counted down.
    pub times: u32,
    /// How.
    pub lie: Lie,
}

impl Rule {
    /// Every request with `method` (or any, if empty) and `part` in its target.
    pub fn always(method: &str, part: &str, lie: Lie) -> Self {
        Self::times(method, part, u32::MAX, lie)
    }

    /// The next such request.
    pub fn once(method: &str, part: &str, lie: Lie) -> Self {
        Self::times(method, part, 1, lie)
    }

    /// The next `times` such requests.
    pub fn times(method: &str, part: &str, times: u32, lie: Lie) -> Self {
        Self {
            method: method.to_owned(),
            part: part.to_owned(),
            times,
            lie,
        }
    }

    pub(super) fn fits(&self, method: &str, target: &str) -> bool {
        self.times > 0 && (self.method.is_empty() || self.method == method) && target.contains(&self.part)
    }
}

/// One way to go wrong. Positions are bytes of the answer's body unless it says otherwise.
#[derive(Clone, Debug)]
pub enum Lie {
    /// Never answers.
    Silence,
    /// Closes the connection without an answer.
    Hangup,
    /// Sends the head with a pause between its bytes.
    SlowHead(Duration),
    /// Sends this many bytes of the body, then nothing more.
    Stall(usize),
    /// Sends this many bytes of the body, waits until the client's kernel has them, and resets the connection.
    Reset(usize),
    /// Sends the body in pieces of so many bytes with a pause after each, at most this many bytes in all; then resets the
    /// connection as [`Self::Reset`] does, unless it was the whole body.
    Slow(usize, Duration, usize),
    /// Takes this many bytes of the request's body, keeps them (of an upload), and resets the connection.
    CutRequest(usize),
    /// Takes this many bytes of the request's body and then reads no more.
    StallRequest(usize),
    /// Announces this length instead of the true one.
    Length(u64),
    /// Announces no length and ends the body with the connection.
    NoLength,
    /// Changes one byte of the body, at this position.
    Flip(usize),
    /// Sends this body instead; the other headers stay.
    Body(Vec<u8>),
    /// Ignores `Range`.
    NoRange,
    /// Sets these headers, besides or instead of the true ones; an empty value removes one.
    Headers(Vec<(String, String)>),
    /// Answers with this status, these headers and this body.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// Sends the client elsewhere, with 307.
    Redirect(String),
    /// Sends these bytes instead of an answer and closes.
    Raw(Vec<u8>),
}

impl Lie {
    /// An answer with a status and docker's error document.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
        Self::Answer(
            status,
            vec![("Content-Type".into(), "application/json".into())],
            body.to_string().into_bytes(),
        )
    }

    /// An answer with a status and `Retry-After`.
    pub fn later(status: u16, seconds: u64) -> Self {
        Self::Answer(
            status,
            vec![("Retry-After".into(), seconds.to_string())],
            Vec::new(),
        )
    }
}
