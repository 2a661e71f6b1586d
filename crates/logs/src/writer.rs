//! Writing a log. The container is never held up by a log that cannot be written: entries are dropped and counted,
//! and a marker in the log says so once it can be written again (F-11).

mod sink;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use base::clock::Timestamp;

use crate::options::{Driver, Options};
use crate::record::{MAXIMUM_LINE, Stream};
use crate::{json, local};
use sink::Sink;

/// The writer of one container's log, held by its shim.
#[derive(Debug)]
pub struct Writer {
    driver: Driver,
    attributes: String,
    partials: [Partial; 2],
    /// Whole encoded entries that go to the sink together.
    batch: Vec<u8>,
    entries: u64,
    sink: Sink,
}

/// The beginning of a line whose end was not read yet.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// When the line began: all pieces of a long line carry this time, as in docker.
    began: Option<Timestamp>,
}

/// A batch is handed on when it has grown to this size.
const BATCH: usize = 8 * 1024;

impl Writer {
    /// Opens the log at `path`, going on where an earlier writer stopped. Never fails: a log that cannot be written
    /// is counted and tried again.
    pub fn open(path: &Path, options: &Options, attributes: &BTreeMap<String, String>) -> Self {
        Self {
            driver: options.driver,
            attributes: json::encode_attributes(attributes),
            partials: Default::default(),
            batch: Vec::new(),
            entries: 0,
            sink: Sink::open(path, options),
        }
    }

    /// Takes output as it was read from the container.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.driver == Driver::None || bytes.is_empty() {
            return;
        }
        let now = Timestamp::now();
        let mut rest = bytes;
        while !rest.is_empty() {
            let partial = &mut self.partials[index(stream)];
            let room = MAXIMUM_LINE - partial.bytes.len();
            let window = &rest[..rest.len().min(room)];
            let end = memchr::memchr(b'\n', window).map(|at| at + 1);
            let is_full = window.len() == room;
            let Some(taken) = end.or(is_full.then_some(window.len())) else {
                partial.bytes.extend_from_slice(window);
                partial.began.get_or_insert(now);
                break;
            };
            let time = partial.began.unwrap_or(now);
            if partial.bytes.is_empty() {
                let line = &window[..taken];
                let line = if end.is_some() { line } else { at_character(line) };
                rest = &rest[line.len()..];
                self.entry(stream, time, line);
            } else {
                let mut line = std::mem::take(&mut partial.bytes);
                line.extend_from_slice(&window[..taken]);
                rest = &rest[taken..];
                let whole = if end.is_some() {
                    &line[..]
                } else {
                    at_character(&line)
                };
                self.entry(stream, time, whole);
                self.partials[index(stream)].bytes = line[whole.len()..].to_vec();
            }
            self.partials[index(stream)].began = end.is_none().then_some(time);
        }
        self.hand_on();
    }

    /// Takes the end of a stream's output: what came after the last line feed is written.
    pub fn end(&mut self, stream: Stream) {
        let partial = std::mem::take(&mut self.partials[index(stream)]);
        if !partial.bytes.is_empty() {
            self.entry(
                stream,
                partial.began.unwrap_or_else(Timestamp::now),
                &partial.bytes,
            );
            self.hand_on();
        }
    }

    /// Returns how soon [`Self::work`] wants to be called; `None`: not at all.
    pub fn needs_work(&self) -> Option<Duration> {
        self.sink.needs_work()
    }

    /// Does a piece of what can wait: compression, and writes that the disk did not take at once.
    pub fn work(&mut self) {
        self.sink.work();
    }

    /// Writes everything that is still held; the writer can go on afterwards.
    pub fn finish(&mut self) {
        self.end(Stream::Stdout);
        self.end(Stream::Stderr);
        self.sink.finish();
    }

    /// Returns how many entries were lost so far.
    pub fn dropped(&self) -> u64 {
        self.sink.dropped_ever()
    }

    fn entry(&mut self, stream: Stream, time: Timestamp, line: &[u8]) {
        if self.sink.would_exceed(self.batch.len()) {
            self.hand_on();
        }
        encode(self.driver, &mut self.batch, stream, time, line, &self.attributes);
        self.entries += 1;
        if self.batch.len() >= BATCH {
            self.hand_on();
        }
    }

    /// Gives the batch to the sink, behind a marker if entries were lost before.
    fn hand_on(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let entries = std::mem::take(&mut self.entries);
        if let Some((count, cause)) = self.sink.unreported() {
            let mut marker = Vec::new();
            let text = lost_text(count, cause);
            encode(
                self.driver,
                &mut marker,
                Stream::Stderr,
                Timestamp::now(),
                text.as_bytes(),
                &self.attributes,
            );
            if self.sink.take(&marker, 0).is_ok() {
                self.sink.reported(count);
            }
        }
        // The sink has counted what it could not take.
        self.sink.take(&batch, entries).ok();
        if batch.capacity() <= 2 * BATCH {
            self.batch = batch;
            self.batch.clear();
        }
    }
}

fn lost_text(count: u64, cause: Option<&io::Error>) -> String {
    match cause {
        Some(cause) => format!("berth: {count} log entries were lost: {cause}\n"),
        None => format!("berth: {count} log entries were lost: the disk is too slow\n"),
    }
}

fn encode(driver: Driver, out: &mut Vec<u8>, stream: Stream, time: Timestamp, line: &[u8], attributes: &str) {
    match driver {
        Driver::JsonFile => json::encode(out, stream, time, line, attributes),
        Driver::Local => local::encode(out, stream, time, line),
        Driver::None => {}
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// Returns `line` without a UTF-8 character at its end that is not complete, so that cutting a long line does not
/// damage a character (docker's does).
fn at_character(line: &[u8]) -> &[u8] {
    let Some(back) = (1..=line.len().min(3)).find(|&back| line[line.len() - back] & 0xc0 != 0x80) else {
        return line;
    };
    let needed = match line[line.len() - back] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf7 => 4,
        _ => 1,
    };
    if needed > back {
        &line[..line.len() - back]
    } else {
        line
    }
}

#[cfg(test)]
pub(crate) mod tests;
