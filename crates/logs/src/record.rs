//! One entry of a log.

use std::collections::BTreeMap;

use base::clock::Timestamp;

/// The longest entry in bytes; a longer line is split into several, as docker does.
pub const MAXIMUM_LINE: usize = 16 * 1024;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Returns docker's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// One entry: a line with its line feed, or a piece of a line that is longer than [`MAXIMUM_LINE`] or was not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it came from.
    pub stream: Stream,
    /// When it was read from the container.
    pub time: Timestamp,
    /// The bytes, with the line feed if there was one.
    pub line: Vec<u8>,
    /// The log's `attrs` (labels and environment that were asked for).
    pub attributes: BTreeMap<String, String>,
}
