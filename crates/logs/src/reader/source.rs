//! One file of a log as a sequence of entries.

use std::fs::File;
use std::io::{self, Read};
use std::time::UNIX_EPOCH;

use base::clock::Timestamp;
use flate2::read::MultiGzDecoder;

use crate::files::{self, Identity, LogFile};
use crate::json;
use crate::local::{self, Decoded};
use crate::options::Driver;
use crate::record::Record;

/// What [`Source::next`] found.
#[derive(Debug)]
pub(super) enum Found {
    /// An entry.
    Record(Record),
    /// The present end of the file; a torn entry before it is kept for later.
    End,
}

/// An open file and the bytes read from it that were not used yet.
#[derive(Debug)]
pub(super) struct Source {
    identity: Identity,
    bytes: Bytes,
    driver: Driver,
    buffer: Vec<u8>,
    used: usize,
    /// How much of `buffer` was searched for a line feed in vain.
    searched: usize,
    at_start: bool,
    /// Entries to pass over before the first.
    skip: u64,
}

#[derive(Debug)]
enum Bytes {
    Plain(File),
    Compressed(Box<MultiGzDecoder<File>>),
}

/// An entry is never larger: what is, is damage.
const LARGEST: usize = 4 << 20;
const CHUNK: usize = 64 * 1024;

impl Source {
    pub(super) fn new(file: LogFile, driver: Driver) -> Self {
        Self {
            identity: file.identity,
            bytes: if file.is_compressed {
                Bytes::Compressed(Box::new(MultiGzDecoder::new(file.file)))
            } else {
                Bytes::Plain(file.file)
            },
            driver,
            buffer: Vec::new(),
            used: 0,
            searched: 0,
            at_start: true,
            skip: 0,
        }
    }

    pub(super) fn identity(&self) -> io::Result<Identity> {
        match &self.bytes {
            Bytes::Plain(file) => files::identity(file),
            Bytes::Compressed(_) => Ok(self.identity),
        }
    }

    /// Returns whether this is `file`, whatever either of them is called now and whether it was compressed since.
    pub(super) fn is_file(&self, file: &LogFile) -> io::Result<bool> {
        match &self.bytes {
            // No other file can have the inode number while this one is open. Their beginnings say nothing: the first
            // entry may have come between the two looks.
            Bytes::Plain(_) if !file.is_compressed => Ok(self.identity.inode() == file.identity.inode()),
            Bytes::Plain(own) => Ok(files::identity(own)? == file.identity),
            Bytes::Compressed(_) => Ok(self.identity == file.identity),
        }
    }

    pub(super) fn is_compressed(&self) -> bool {
        matches!(self.bytes, Bytes::Compressed(_))
    }

    pub(super) fn driver(&self) -> Driver {
        self.driver
    }

    /// Returns the file when it is not compressed.
    pub(super) fn plain(&self) -> Option<&File> {
        match &self.bytes {
            Bytes::Plain(file) => Some(file),
            Bytes::Compressed(_) => None,
        }
    }

    /// Returns whether the file was last changed before `time`, so that it has nothing newer.
    pub(super) fn ended_before(&self, time: Timestamp) -> bool {
        let file = match &self.bytes {
            Bytes::Plain(file) => file,
            Bytes::Compressed(decoder) => decoder.get_ref(),
        };
        let changed = file.metadata().and_then(|metadata| metadata.modified());
        let Some(changed) = changed
            .ok()
            .and_then(|changed| changed.duration_since(UNIX_EPOCH).ok())
        else {
            return false;
        };
        // A file's time comes from a coarse clock that may be behind by some milliseconds.
        i64::try_from(changed.as_secs()).is_ok_and(|seconds| seconds.saturating_add(1) < time.unix_seconds())
    }

    /// Starts again at the beginning, to pass over `skip` entries.
    pub(super) fn restart(&mut self, skip: u64) -> io::Result<()> {
        use std::io::{Seek, SeekFrom};
        match &mut self.bytes {
            Bytes::Plain(file) => {
                file.seek(SeekFrom::Start(0))?;
            }
            Bytes::Compressed(decoder) => {
                let mut file = decoder.get_ref().try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                self.bytes = Bytes::Compressed(Box::new(MultiGzDecoder::new(file)));
            }
        }
        self.buffer = Vec::new();
        (self.used, self.searched, self.at_start, self.skip) = (0, 0, true, skip);
        Ok(())
    }

    /// Says that the file was positioned behind its first bytes.
    pub(super) fn begin_within(&mut self) {
        self.at_start = false;
    }

    /// Returns the next entry.
    pub(super) fn next(&mut self) -> io::Result<Found> {
        loop {
            while let Some(entry) = self.take_entry() {
                if self.skip > 0 {
                    self.skip -= 1;
                } else if let Some(record) = entry.decode(self) {
                    return Ok(Found::Record(record));
                }
            }
            if self.fill()? == 0 {
                return Ok(Found::End);
            }
        }
    }

    /// Counts the entries from here to the end of the file.
    pub(super) fn count(&mut self) -> io::Result<u64> {
        let mut count = 0;
        loop {
            while self.take_entry().is_some() {
                count += 1;
            }
            if self.fill()? == 0 {
                return Ok(count);
            }
        }
    }

    /// Reads more; returns how many bytes came.
    pub(super) fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.used);
        self.searched -= self.used.min(self.searched);
        self.used = 0;
        if self.buffer.len() > LARGEST {
            self.buffer.clear();
            self.searched = 0;
        }
        let start = self.buffer.len();
        self.buffer.resize(start + CHUNK, 0);
        let result = loop {
            let room = &mut self.buffer[start..];
            let result = match &mut self.bytes {
                Bytes::Plain(file) => file.read(room),
                Bytes::Compressed(decoder) => decoder.read(room),
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.buffer.truncate(start + *result.as_ref().unwrap_or(&0));
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
        result
    }

    /// Takes the next whole entry off the buffer.
    fn take_entry(&mut self) -> Option<Entry> {
        match self.driver {
            Driver::JsonFile | Driver::None => self.take_line(),
            Driver::Local => self.take_record(),
        }
    }

    fn take_line(&mut self) -> Option<Entry> {
        let from = self.searched.max(self.used);
        let Some(at) = memchr::memchr(b'\n', &self.buffer[from..]) else {
            self.searched = self.buffer.len();
            return None;
        };
        let start = self.used;
        self.used = from + at + 1;
        self.searched = self.used;
        Some(Entry {
            start,
            end: from + at,
        })
    }

    fn take_record(&mut self) -> Option<Entry> {
        if self.at_start {
            if self.buffer.len() < local::MAGIC.len() {
                return None;
            }
            self.at_start = false;
            if self.buffer.starts_with(local::MAGIC) {
                self.used = local::MAGIC.len();
            }
        }
        match local::decode(&self.buffer[self.used..]) {
            Decoded::Record(_, size) => {
                let start = self.used;
                self.used += size;
                Some(Entry {
                    start,
                    end: start + size,
                })
            }
            Decoded::Incomplete => None,
            Decoded::Damaged => {
                // There is no way to find the next record in the rest.
                self.used = self.buffer.len();
                None
            }
        }
    }
}

/// Where an entry stands in the buffer.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: usize,
    end: usize,
}

impl Entry {
    fn decode(self, source: &Source) -> Option<Record> {
        let bytes = source.buffer.get(self.start..self.end)?;
        match source.driver {
            Driver::JsonFile | Driver::None => json::decode(bytes),
            Driver::Local => match local::decode(bytes) {
                Decoded::Record(record, _) => record,
                Decoded::Incomplete | Decoded::Damaged => None,
            },
        }
    }
}
