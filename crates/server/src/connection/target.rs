//! Finds the request lines in what a client sends, to escape in them what Go's server takes and hyper refuses: people
//! type `?filters={"status":["running"]}` for curl, and some clients send just that.
//!
//! Only the bounds of requests are followed here, in any pieces in which they arrive. hyper judges what is wrong with
//! one; at the first thing that is not understood here the rest of the connection is passed on as it is.

/// What has been seen of a connection so far.
#[derive(Debug)]
pub(super) struct Targets {
    at: At,
    /// The beginning of the line that is being read, [`LINE_KEPT`] bytes of it at most.
    line: Vec<u8>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    RequestLine,
    Header,
    Body {
        left: u64,
    },
    ChunkSize,
    /// The data of a chunk and the line end behind it.
    Chunk {
        left: u64,
    },
    Trailer,
    /// Not HTTP any more, or not understood.
    Stream,
}

/// What the headers say of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    /// A change of protocols, or headers that are not understood.
    Unknown,
}

/// No line that matters here is longer.
const LINE_KEPT: usize = 256;

impl Targets {
    pub(super) fn new() -> Self {
        Self {
            at: At::RequestLine,
            line: Vec::new(),
            framing: Framing::Length(0),
        }
    }

    /// Takes the next bytes of the connection and returns what hyper is to read in their place; `None`: the same.
    pub(super) fn escape(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut escaped = None;
        let mut from = 0;
        while from < bytes.len() {
            let part = self.part(&bytes[from..]);
            if self.at == At::RequestLine && part.iter().any(|byte| replacement(*byte).is_some()) {
                escaped.get_or_insert_with(|| bytes[..from].to_vec());
            }
            if let Some(escaped) = &mut escaped {
                if self.at == At::RequestLine {
                    escape_into(escaped, part);
                } else {
                    escaped.extend_from_slice(part);
                }
            }
            from += part.len();
            self.pass(part);
        }
        escaped
    }

    /// Returns how much of `bytes` belongs to where the connection is.
    fn part<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let length = match self.at {
            At::Stream => None,
            At::Body { left } | At::Chunk { left } => usize::try_from(left).ok(),
            At::RequestLine | At::Header | At::ChunkSize | At::Trailer => {
                memchr::memchr(b'\n', bytes).map(|at| at + 1)
            }
        };
        &bytes[..length.unwrap_or(bytes.len()).min(bytes.len())]
    }

    /// Goes on behind `part`.
    fn pass(&mut self, part: &[u8]) {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        match &mut self.at {
            At::Stream => {}
            At::Body { left } | At::Chunk { left } => {
                *left = left.saturating_sub(length);
                match self.at {
                    At::Body { left: 0 } => self.at = At::RequestLine,
                    At::Chunk { left: 0 } => self.at = At::ChunkSize,
                    _ => {}
                }
            }
            At::RequestLine | At::Header | At::ChunkSize | At::Trailer => {
                let room = LINE_KEPT - self.line.len();
                self.line.extend_from_slice(&part[..part.len().min(room)]);
                if part.ends_with(b"\n") {
                    let line = std::mem::take(&mut self.line);
                    self.end_line(line.trim_ascii_end());
                }
            }
        }
    }

    fn end_line(&mut self, line: &[u8]) {
        match self.at {
            // Empty lines before a request are allowed.
            At::RequestLine if line.is_empty() => {}
            At::RequestLine => {
                self.at = At::Header;
                self.framing = Framing::Length(0);
            }
            At::Header if line.is_empty() => {
                self.at = match self.framing {
                    Framing::Length(0) => At::RequestLine,
                    Framing::Length(left) => At::Body { left },
                    Framing::Chunked => At::ChunkSize,
                    Framing::Unknown => At::Stream,
                };
            }
            At::Header => self.header(line),
            At::ChunkSize => {
                self.at = match chunk_size(line) {
                    Some(0) => At::Trailer,
                    Some(size) => At::Chunk {
                        left: size.saturating_add(2),
                    },
                    None => At::Stream,
                };
            }
            At::Trailer if line.is_empty() => self.at = At::RequestLine,
            At::Trailer | At::Body { .. } | At::Chunk { .. } | At::Stream => {}
        }
    }

    fn header(&mut self, line: &[u8]) {
        let Some(colon) = memchr::memchr(b':', line) else {
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let framing = if name.eq_ignore_ascii_case(b"content-length") {
            // A chunked body's length is not what this header says.
            match (self.framing, number(value, 10)) {
                (Framing::Length(_), Some(length)) => Framing::Length(length),
                (Framing::Length(_), None) => Framing::Unknown,
                (other, _) => other,
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            match self.framing {
                Framing::Unknown => Framing::Unknown,
                _ if value.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
                _ => Framing::Unknown,
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            Framing::Unknown
        } else {
            self.framing
        };
        self.framing = framing;
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    number(digits.trim_ascii(), 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    if !digits.first()?.is_ascii_hexdigit() {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

fn escape_into(escaped: &mut Vec<u8>, part: &[u8]) {
    for byte in part {
        match replacement(*byte) {
            Some(replacement) => escaped.extend_from_slice(replacement),
            None => escaped.push(*byte),
        }
    }
}

fn replacement(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'"' => Some(b"%22"),
        b'<' => Some(b"%3C"),
        b'>' => Some(b"%3E"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = concat!(
        "GET /a?x={\"y\"} HTTP/1.1\r\nHost: \"d\"\r\n\r\n",
        "\r\nPOST /b?\"<>\" HTTP/1.1\r\ncontent-length: 14\r\n\r\n\"\"\nGET /\"\r\n\r\n\"",
        "POST /c\" HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n",
        "0A;e=\"\r\n\"\r\n\r\nGET \"\r\n1\r\n\"\r\n0\r\nT: \"\r\n\r\n",
        "GET /d\" HTTP/1.1\nX\n\n",
        "POST /e\" HTTP/1.1\r\nUpgrade: tcp\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
    );

    const READ: &str = concat!(
        "GET /a?x={%22y%22} HTTP/1.1\r\nHost: \"d\"\r\n\r\n",
        "\r\nPOST /b?%22%3C%3E%22 HTTP/1.1\r\ncontent-length: 14\r\n\r\n\"\"\nGET /\"\r\n\r\n\"",
        "POST /c%22 HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n",
        "0A;e=\"\r\n\"\r\n\r\nGET \"\r\n1\r\n\"\r\n0\r\nT: \"\r\n\r\n",
        "GET /d%22 HTTP/1.1\nX\n\n",
        "POST /e%22 HTTP/1.1\r\nUpgrade: tcp\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
    );

    #[test]
    fn only_request_lines_are_escaped_in_whatever_pieces_they_come() {
        for size in 1..=SENT.len() {
            let mut targets = Targets::new();
            let read: Vec<u8> = SENT
                .as_bytes()
                .chunks(size)
                .flat_map(|piece| targets.escape(piece).unwrap_or_else(|| piece.to_vec()))
                .collect();
            assert_eq!(String::from_utf8(read).unwrap(), READ, "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_not_understood_is_passed_on() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
        ] {
            let mut targets = Targets::new();
            assert_eq!(targets.escape(head.as_bytes()), None, "{head}");
            assert_eq!(targets.escape(b"GET /\" HTTP/1.1\r\n"), None, "{head}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "\"".repeat(10_000));
        let escaped = Targets::new().escape(long.as_bytes()).unwrap();
        assert_eq!(escaped.len(), long.len() + 20_000);
    }

    #[test]
    fn nothing_is_copied_without_need() {
        let mut targets = Targets::new();
        assert_eq!(targets.escape(b"GET /_ping HTTP/1.1\r\nA: \"b\"\r\n\r\n"), None);
        assert_eq!(
            targets.escape(b"GET /\" HTTP/1.1\r\n\r\n"),
            Some(b"GET /%22 HTTP/1.1\r\n\r\n".to_vec())
        );
    }
}
