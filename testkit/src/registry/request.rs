//! Requests as they come.

use std::io::{self, Read};

/// One request, as it is kept in the log.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// The headers as sent.
    pub headers: Vec<(String, String)>,
    /// How many bytes of body were taken.
    pub body: u64,
    /// How many bytes of body were answered.
    pub sent: u64,
    /// The answer's status; 0 if none was given.
    pub status: u16,
}

impl Seen {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let fits = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers.iter().find(fits).map(|(_, value)| value.as_str())
    }

    /// Returns the path without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns the decoded value of a query parameter.
    pub fn query(&self, name: &str) -> Option<String> {
        self.queries(name).into_iter().next()
    }

    /// Returns the decoded values of a query parameter that may be repeated.
    pub fn queries(&self, name: &str) -> Vec<String> {
        let (_, query) = self.target.split_once('?').unwrap_or_default();
        parameters(query, name)
    }
}

/// Returns the decoded values of `name` in a query or a form.
pub(super) fn parameters(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| decode(value))
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = || u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok();
        match byte {
            b'%' => {
                decoded.push(hex().unwrap_or(b'%'));
                at += if hex().is_some() { 3 } else { 1 };
            }
            b'+' => {
                decoded.push(b' ');
                at += 1;
            }
            other => {
                decoded.push(other);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Reads the head of a request; `None` at the end of the connection. What was read beyond it stays in `buffer`.
pub(super) fn head(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<Seen>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(buffer).map_err(io::Error::other)?;
        if let httparse::Status::Complete(length) = parsed {
            let seen = Seen {
                method: request.method.unwrap_or_default().to_owned(),
                target: request.path.unwrap_or_default().to_owned(),
                headers: request
                    .headers
                    .iter()
                    .map(|header| {
                        (
                            header.name.to_owned(),
                            String::from_utf8_lossy(header.value).into_owned(),
                        )
                    })
                    .collect(),
                body: 0,
                sent: 0,
                status: 0,
            };
            buffer.drain(..length);
            return Ok(Some(seen));
        }
        if !fill(stream, buffer)? {
            return Ok(None);
        }
    }
}

/// The body of a request, whichever way it is framed.
pub(super) struct Body {
    left: Left,
}

enum Left {
    Bytes(u64),
    /// Bytes left of the present chunk; `None` before the next one's size.
    Chunks(Option<u64>),
    Done,
}

impl Body {
    pub(super) fn of(seen: &Seen) -> Self {
        let chunked = seen
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = seen
            .header("content-length")
            .and_then(|value| value.parse().ok())
            .unwrap_or(0);
        Self {
            left: if chunked {
                Left::Chunks(None)
            } else {
                Left::Bytes(length)
            },
        }
    }

    /// Returns up to `most` next bytes; empty at the end.
    pub(super) fn next(
        &mut self,
        stream: &mut impl Read,
        buffer: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<Vec<u8>> {
        loop {
            let left = match &mut self.left {
                Left::Done | Left::Bytes(0) => return Ok(Vec::new()),
                Left::Bytes(left) => left,
                Left::Chunks(Some(0)) => {
                    line(stream, buffer)?;
                    self.left = Left::Chunks(None);
                    continue;
                }
                Left::Chunks(Some(left)) => left,
                Left::Chunks(None) => {
                    let size = line(stream, buffer)?;
                    let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                    if size == 0 {
                        line(stream, buffer)?;
                        self.left = Left::Done;
                    } else {
                        self.left = Left::Chunks(Some(size));
                    }
                    continue;
                }
            };
            if buffer.is_empty() && !fill(stream, buffer)? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let count = buffer
                .len()
                .min(most)
                .min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= count as u64;
            return Ok(buffer.drain(..count).collect());
        }
    }
}

fn line(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
            let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 2);
            return Ok(text);
        }
        if !fill(stream, buffer)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn fill(stream: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0u8; 64 << 10];
    let count = stream.read(&mut piece)?;
    buffer.extend_from_slice(&piece[..count]);
    Ok(count > 0)
}
