//! One HTTP/1.1 request over a unix socket, spoken by hand: tests of the API must not depend on our own client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The header lines as they came, without the status line.
    pub head: String,
    /// The body, decoded if it was chunked.
    pub body: String,
}

impl Reply {
    /// Returns the value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Parses the body.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {}", self.body))
    }
}

/// Sends one request and reads the answer to its end.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Result<Reply> {
    let mut stream = UnixStream::connect(socket).context("connect to the API socket")?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let body = body.unwrap_or_default();
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/json\r\n"
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .context("send")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).context("receive")?;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Reply> {
    let split = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("an answer without a head")?;
    let head = std::str::from_utf8(&bytes[..split]).context("a head that is not UTF-8")?;
    let (line, head) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("status line \"{line}\""))?;
    let mut reply = Reply {
        status,
        head: head.to_owned(),
        body: String::new(),
    };
    let raw = &bytes[split + 4..];
    let chunked = reply
        .header("transfer-encoding")
        .is_some_and(|value| value == "chunked");
    let body = if chunked { dechunk(raw)? } else { raw.to_vec() };
    reply.body = String::from_utf8_lossy(&body).into_owned();
    Ok(reply)
}

fn dechunk(mut raw: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = raw.windows(2).position(|window| window == b"\r\n") else {
            bail!("a chunk without a size");
        };
        let size = std::str::from_utf8(&raw[..end])?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or(size), 16)?;
        raw = &raw[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(raw.get(..size).context("a chunk that is cut off")?);
        raw = raw.get(size + 2..).context("a chunk without its end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_chunked_bodies() {
        let plain = parse(b"HTTP/1.1 200 OK\r\nApi-Version: 1.50\r\n\r\nOK").unwrap();
        assert_eq!((plain.status, plain.body.as_str()), (200, "OK"));
        assert_eq!(plain.header("api-version"), Some("1.50"));
        let chunked =
            parse(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
                .unwrap();
        assert_eq!((chunked.status, chunked.body.as_str()), (404, "abc"));
        assert!(parse(b"nonsense").is_err());
    }
}
