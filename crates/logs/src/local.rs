//! The `local` driver's format: compact, binary-safe, readable from both ends.
//!
//! ```text
//! file   = magic record*                   magic  = "BERTHLG1"
//! record = length body length              length = u32 LE, size of body, 9 ..= 9 + 65,536
//! body   = time stream line                time   = i64 LE, nanoseconds since the Unix epoch
//!                                          stream = u8, 1 stdout, 2 stderr;  line = the raw bytes
//! ```
//!
//! The length is repeated behind the body so that the last entries are found from the end, and so that a torn record
//! is known by its missing second length. Labels and environment (`attrs`) are not kept, as in docker's `local`.

use base::clock::Timestamp;

use crate::record::{Record, Stream};

/// The first bytes of each file.
pub(crate) const MAGIC: &[u8; 8] = b"BERTHLG1";

/// Where the first record's time and stream end.
pub(crate) const FIRST_TIME_END: usize = 8 + LENGTH + FIXED;

const FIXED: usize = 9;
const MAXIMUM_BODY: usize = FIXED + 65_536;
const LENGTH: usize = 4;

/// Appends one entry to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, stream: Stream, time: Timestamp, line: &[u8]) {
    for piece in line.chunks(MAXIMUM_BODY - FIXED) {
        let length = u32::try_from(piece.len() + FIXED)
            .unwrap_or(u32::MAX)
            .to_le_bytes();
        out.extend_from_slice(&length);
        out.extend_from_slice(&time.unix_nanos().to_le_bytes());
        out.push(match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        });
        out.extend_from_slice(piece);
        out.extend_from_slice(&length);
    }
}

/// What the first bytes of a buffer are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// An entry of so many bytes; `None` when its body makes no sense.
    Record(Option<Record>, usize),
    /// More bytes are needed.
    Incomplete,
    /// No entry can begin with these bytes: the rest of the file is damaged.
    Damaged,
}

/// Looks at the first record in `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    let Some(size) = length_at(bytes, 0) else {
        return Decoded::Incomplete;
    };
    if !(FIXED..=MAXIMUM_BODY).contains(&size) {
        return Decoded::Damaged;
    }
    let whole = size + 2 * LENGTH;
    let Some(body) = bytes.get(LENGTH..LENGTH + size).filter(|_| bytes.len() >= whole) else {
        return Decoded::Incomplete;
    };
    if length_at(bytes, LENGTH + size) != Some(size) {
        return Decoded::Damaged;
    }
    Decoded::Record(decode_body(body), whole)
}

/// Returns the size of the record that ends where `tail` ends, if its last bytes can be those of a record.
pub(crate) fn size_of_last(tail: &[u8]) -> Option<u64> {
    let size = length_at(tail, tail.len().checked_sub(LENGTH)?)?;
    (FIXED..=MAXIMUM_BODY)
        .contains(&size)
        .then(|| u64::try_from(size + 2 * LENGTH).ok())?
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let (length, _) = bytes.get(at..)?.split_first_chunk::<LENGTH>()?;
    usize::try_from(u32::from_le_bytes(*length)).ok()
}

fn decode_body(body: &[u8]) -> Option<Record> {
    let (nanos, rest) = body.split_first_chunk::<8>()?;
    let nanos = i64::from_le_bytes(*nanos);
    let (stream, line) = rest.split_first()?;
    Some(Record {
        stream: match stream {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        },
        time: Timestamp::from_unix(
            nanos.div_euclid(1_000_000_000),
            u32::try_from(nanos.rem_euclid(1_000_000_000)).ok()?,
        ),
        line: line.to_vec(),
        attributes: std::collections::BTreeMap::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let mut bytes = Vec::new();
        let time = Timestamp::from_unix(1_600_000_000, 5);
        encode(&mut bytes, Stream::Stderr, time, b"\x00\xffbinary\n");
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Decoded::Incomplete, "{end}");
        }
        let Decoded::Record(Some(record), size) = decode(&bytes) else {
            panic!("no record");
        };
        assert_eq!((record.time, record.stream), (time, Stream::Stderr));
        assert_eq!(record.line, b"\x00\xffbinary\n");
        assert_eq!(size, bytes.len());
        assert_eq!(size_of_last(&bytes), u64::try_from(bytes.len()).ok());
    }

    #[test]
    fn damage_is_known() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Stream::Stdout, Timestamp::now(), b"x\n");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert_eq!(decode(&bytes), Decoded::Damaged);
        assert_eq!(decode(&[0; 8]), Decoded::Damaged);
        assert_eq!(decode(&[0xff; 8]), Decoded::Damaged);
        assert_eq!(size_of_last(&[0xff; 3]), None);
    }
}
