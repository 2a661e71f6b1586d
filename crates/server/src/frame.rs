//! Docker's frames: `[stream, 0, 0, 0, big-endian u32 length]` and the bytes.

use bytes::{BufMut, Bytes, BytesMut};
use engine::container::{LogLine, LogStream, Output};
use futures_util::Stream;

/// How log lines are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFormat {
    /// Without frames: the container has a terminal.
    pub(crate) raw: bool,
    /// Each line begins with its time.
    pub(crate) timestamps: bool,
    /// Each line begins with the attributes that its log driver added.
    pub(crate) details: bool,
}

/// Returns the lines as clients read them.
pub(crate) fn log_lines(stream: LogStream, format: LogFormat) -> impl Stream<Item = Bytes> + Send + 'static {
    futures_util::stream::unfold(stream, move |mut stream| async move {
        let line = stream.next().await?;
        Some((log_line(&line, format), stream))
    })
}

fn log_line(line: &LogLine, format: LogFormat) -> Bytes {
    let mut prefix = String::new();
    if format.timestamps {
        prefix.push_str(&line.time.to_string());
        prefix.push(' ');
    }
    if format.details {
        let attributes: Vec<String> = line
            .attributes
            .iter()
            .map(|(name, value)| format!("{}={}", escape(name), escape(value)))
            .collect();
        prefix.push_str(&attributes.join(","));
        prefix.push(' ');
    }
    let length = prefix.len() + line.bytes.len();
    let mut bytes = BytesMut::with_capacity(8 + length);
    if !format.raw {
        let stream = match line.output {
            Output::Stdout => 1,
            Output::Stderr => 2,
        };
        put_header(&mut bytes, stream, length);
    }
    bytes.put_slice(prefix.as_bytes());
    bytes.put_slice(&line.bytes);
    bytes.freeze()
}

/// Returns `text` as output of a process.
pub(crate) fn stdout(text: &str, raw: bool) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 + text.len());
    if !raw {
        put_header(&mut bytes, 1, text.len());
    }
    bytes.put_slice(text.as_bytes());
    bytes.freeze()
}

/// Returns a document of one of Berth's own calls.
pub(crate) fn document<T: serde::Serialize>(kind: u8, document: &T) -> Bytes {
    // Everything that is told is made of strings, numbers and lists.
    let text = serde_json::to_vec(document).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(8 + text.len());
    put_header(&mut bytes, kind, text.len());
    bytes.put_slice(&text);
    bytes.freeze()
}

fn put_header(bytes: &mut BytesMut, stream: u8, length: usize) {
    bytes.put_slice(&[stream, 0, 0, 0]);
    // A line is at most 16 KiB long.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

/// Escapes as in a query, as Docker does.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use base::clock::Timestamp;

    use super::*;

    #[test]
    fn frames_lines() {
        let line = LogLine {
            output: Output::Stderr,
            time: Timestamp::from_unix(0, 5),
            bytes: Bytes::from_static(b"hello\n"),
            attributes: [("a b".to_owned(), "c/d".to_owned())].into(),
        };
        let plain = LogFormat {
            raw: false,
            timestamps: false,
            details: false,
        };
        assert_eq!(&log_line(&line, plain)[..], b"\x02\0\0\0\0\0\0\x06hello\n");
        let all = LogFormat {
            raw: true,
            timestamps: true,
            details: true,
        };
        assert_eq!(
            &log_line(&line, all)[..],
            b"1970-01-01T00:00:00.000000005Z a+b=c%2Fd hello\n"
        );
    }
}
