//! docker's `json-file` lines: `{"log":"…\n","stream":"stdout","attrs":{…},"time":"…"}` and a line feed.
//!
//! `log` ends with `\n` unless the entry is a piece of a line. Escapes are those of docker's jsonlog package: control
//! characters other than `\n` and `\r`, `<`, `>`, `&`, U+2028 and U+2029 as `\uXXXX`, each invalid UTF-8 byte as
//! `\ufffd`. `time` is RFC 3339 with as many fraction digits as needed.

use std::collections::BTreeMap;

use base::clock::Timestamp;
use serde::Deserialize;

use crate::record::{Record, Stream};

/// Appends one entry to `out`. `attributes` is the encoded `attrs` object, empty for none.
pub(crate) fn encode(out: &mut Vec<u8>, stream: Stream, time: Timestamp, line: &[u8], attributes: &str) {
    out.extend_from_slice(b"{\"log\":");
    escape(out, line);
    out.extend_from_slice(b",\"stream\":\"");
    out.extend_from_slice(stream.as_str().as_bytes());
    out.push(b'"');
    if !attributes.is_empty() {
        out.extend_from_slice(b",\"attrs\":");
        out.extend_from_slice(attributes.as_bytes());
    }
    out.extend_from_slice(b",\"time\":\"");
    let text = time.to_string();
    let digits = text
        .trim_end_matches('Z')
        .trim_end_matches('0')
        .trim_end_matches('.');
    out.extend_from_slice(digits.as_bytes());
    out.extend_from_slice(b"Z\"}\n");
}

/// Returns `attributes` as a JSON object, or an empty text if there are none.
pub(crate) fn encode_attributes(attributes: &BTreeMap<String, String>) -> String {
    if attributes.is_empty() {
        return String::new();
    }
    // A map of strings cannot fail to be encoded.
    serde_json::to_string(attributes).unwrap_or_default()
}

fn escape(out: &mut Vec<u8>, line: &[u8]) {
    out.push(b'"');
    for chunk in line.utf8_chunks() {
        escape_text(out, chunk.valid());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn escape_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let is_separator = byte == 0xe2 && matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9]));
        if byte >= 0x20 && !matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'&') && !is_separator {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0xe2 => {
                plain = at + 3;
                out.extend_from_slice(b"\\u202");
                out.push(HEX[usize::from(bytes[at + 2] & 15)]);
            }
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    log: String,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    time: Timestamp,
}

/// Returns the entry in `line` (without its line feed), or `None` if it is damaged.
pub(crate) fn decode(line: &[u8]) -> Option<Record> {
    let line: Line = serde_json::from_slice(line).ok()?;
    Some(Record {
        stream: if line.stream == "stderr" {
            Stream::Stderr
        } else {
            Stream::Stdout
        },
        time: line.time,
        line: line.log.into_bytes(),
        attributes: line.attrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(line: &[u8], attributes: &str) -> String {
        let mut out = Vec::new();
        let time = Timestamp::from_unix(1_577_880_000, 120_000_000);
        encode(&mut out, Stream::Stderr, time, line, attributes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_dockers_bytes() {
        assert_eq!(
            encoded(b"hello\n", ""),
            "{\"log\":\"hello\\n\",\"stream\":\"stderr\",\"time\":\"2020-01-01T12:00:00.12Z\"}\n"
        );
        let attributes = encode_attributes(&BTreeMap::from([("a".to_owned(), "b\"".to_owned())]));
        assert_eq!(
            encoded("\t<é\u{2028}\\\"&>\0\u{7f}\r".as_bytes(), &attributes),
            "{\"log\":\"\\u0009\\u003cé\\u2028\\\\\\\"\\u0026\\u003e\\u0000\u{7f}\\r\",\"stream\":\"stderr\",\
             \"attrs\":{\"a\":\"b\\\"\"},\"time\":\"2020-01-01T12:00:00.12Z\"}\n"
        );
        assert!(encoded(b"a\xe2\x82z\xff", "").contains("\"a\\ufffd\\ufffdz\\ufffd\""));
    }

    #[test]
    fn what_was_written_is_read() {
        let text = encoded("zwölf\t\u{2029}\u{1}\n".as_bytes(), "{\"k\":\"v\"}");
        let record = decode(text.trim_end().as_bytes()).unwrap();
        assert_eq!(record.line, "zwölf\t\u{2029}\u{1}\n".as_bytes());
        assert_eq!(
            (record.stream, record.time.unix_seconds()),
            (Stream::Stderr, 1_577_880_000)
        );
        assert_eq!(record.attributes["k"], "v");
    }

    #[test]
    fn damaged_lines_are_none() {
        for line in [
            "",
            "{",
            "{\"log\":1}",
            "{\"log\":\"x\",\"time\":\"y\"}",
            "\u{0}\u{0}",
        ] {
            assert!(decode(line.as_bytes()).is_none(), "{line}");
        }
    }
}
