//! Where encoded entries go: the current file, rotated at its size, and in non-blocking mode a bounded queue before it.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::{Errno, ReadWriteFlags};

use crate::local::{self, Decoded};
use crate::options::{Driver, Options};
use crate::rotate::{self, Compression, Progress};

/// The current file and what surrounds it.
#[derive(Debug)]
pub(super) struct Sink {
    path: PathBuf,
    options: Options,
    file: Option<File>,
    /// The current file's size.
    size: u64,
    compression: Option<Compression>,
    /// Batches that wait for the disk (non-blocking mode only), and how much of the first is written.
    queue: VecDeque<(Vec<u8>, u64)>,
    queued: u64,
    written: usize,
    /// Whether the file system can write without blocking.
    can_nowait: bool,
    lost: u64,
    lost_unreported: u64,
    cause: Option<io::Error>,
}

/// The batch was not taken.
#[derive(Debug)]
pub(super) struct Lost;

impl Sink {
    pub(super) fn open(path: &Path, options: &Options) -> Self {
        let mut sink = Self {
            path: path.to_owned(),
            options: options.clone(),
            file: None,
            size: 0,
            compression: None,
            queue: VecDeque::new(),
            queued: 0,
            written: 0,
            can_nowait: true,
            lost: 0,
            lost_unreported: 0,
            cause: None,
        };
        if options.driver != Driver::None {
            // A failure shows again with the first entry.
            sink.open_file().ok();
        }
        sink
    }

    /// Returns whether `more` bytes and an entry would not fit into the current file any more.
    pub(super) fn would_exceed(&self, more: usize) -> bool {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        more > 0
            && self
                .options
                .max_size
                .is_some_and(|limit| self.size.saturating_add(more) >= limit)
    }

    /// Takes a batch of `entries` whole entries.
    pub(super) fn take(&mut self, batch: &[u8], entries: u64) -> Result<(), Lost> {
        let Some(limit) = self.options.buffer else {
            return self.store(batch).map_err(|error| self.lose(entries, Some(error)));
        };
        let size = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        if self.queued.saturating_add(size) > limit {
            self.drain(Wait::No);
        }
        if self.queued.saturating_add(size) > limit {
            return Err(self.lose(entries, None));
        }
        self.queue.push_back((batch.to_vec(), entries));
        self.queued += size;
        self.drain(Wait::No);
        Ok(())
    }

    pub(super) fn needs_work(&self) -> Option<Duration> {
        if self.compression.is_some() {
            Some(Duration::ZERO)
        } else {
            (!self.queue.is_empty()).then_some(Duration::from_millis(5))
        }
    }

    pub(super) fn work(&mut self) {
        self.drain(Wait::No);
        if let Some(compression) = &mut self.compression {
            match compression.step() {
                Ok(Progress::More) => {}
                // After a failure the uncompressed file stays; readers and rotation take either.
                Ok(Progress::Finished) | Err(_) => self.compression = None,
            }
        }
    }

    pub(super) fn finish(&mut self) {
        self.drain(Wait::Yes);
    }

    pub(super) fn dropped_ever(&self) -> u64 {
        self.lost
    }

    /// Returns the number of lost entries that no marker tells of yet.
    pub(super) fn unreported(&self) -> Option<(u64, Option<&io::Error>)> {
        (self.lost_unreported > 0).then_some((self.lost_unreported, self.cause.as_ref()))
    }

    pub(super) fn reported(&mut self, count: u64) {
        self.lost_unreported -= count.min(self.lost_unreported);
    }

    fn lose(&mut self, entries: u64, cause: Option<io::Error>) -> Lost {
        self.lost += entries;
        self.lost_unreported += entries;
        self.cause = cause;
        Lost
    }

    /// Writes `batch` whole or not at all.
    fn store(&mut self, batch: &[u8]) -> io::Result<()> {
        self.make_room(batch.len())?;
        let size = self.size;
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        match write_all(file, batch) {
            Ok(()) => {
                self.size = size + u64::try_from(batch.len()).unwrap_or(0);
                Ok(())
            }
            Err(error) => {
                // Half an entry must not stand before the next one. If even this fails the reader skips it.
                file.set_len(size).ok();
                Err(error)
            }
        }
    }

    /// Writes what is queued.
    fn drain(&mut self, wait: Wait) {
        while let Some((batch, entries)) = self.queue.pop_front() {
            match self.store_rest(&batch, wait) {
                Ok(true) => {
                    self.queued -= u64::try_from(batch.len()).unwrap_or(0);
                    self.written = 0;
                }
                Ok(false) => {
                    self.queue.push_front((batch, entries));
                    return;
                }
                Err(error) => {
                    if let Some(file) = &self.file {
                        file.set_len(self.size).ok();
                    }
                    self.queued -= u64::try_from(batch.len()).unwrap_or(0);
                    self.written = 0;
                    self.lose(entries, Some(error));
                }
            }
        }
    }

    /// Writes what is left of the first queued batch; returns whether that was all.
    fn store_rest(&mut self, batch: &[u8], wait: Wait) -> io::Result<bool> {
        if self.written == 0 {
            self.make_room(batch.len())?;
        }
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        while self.written < batch.len() {
            let rest = &batch[self.written..];
            if wait == Wait::Yes || !self.can_nowait {
                write_all(file, rest)?;
                self.written = batch.len();
                continue;
            }
            let offset = self.size + u64::try_from(self.written).unwrap_or(0);
            match rustix::io::pwritev2(file, &[IoSlice::new(rest)], offset, ReadWriteFlags::NOWAIT) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.can_nowait = false,
                Err(errno) => return Err(errno.into()),
            }
        }
        self.size += u64::try_from(batch.len()).unwrap_or(0);
        Ok(true)
    }

    /// Makes sure that there is a current file with room for `more` bytes, rotating when there is none.
    fn make_room(&mut self, more: usize) -> io::Result<()> {
        if self.file.is_none() {
            self.open_file()?;
        }
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let Some(limit) = self.options.max_size else {
            return Ok(());
        };
        if self.size <= self.empty_size() || self.size.saturating_add(more) <= limit {
            return Ok(());
        }
        if let Some(compression) = self.compression.take() {
            compression.finish().ok();
        }
        rotate::rotate(&self.path, self.options.max_file)?;
        self.file = None;
        self.open_file()?;
        if self.options.compress {
            self.compression = Compression::begin(&self.path)?;
        }
        Ok(())
    }

    fn empty_size(&self) -> u64 {
        match self.options.driver {
            Driver::Local => 8,
            Driver::JsonFile | Driver::None => 0,
        }
    }

    /// Opens the current file and cuts off half an entry that a killed writer left at its end.
    fn open_file(&mut self) -> io::Result<()> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&self.path)?;
        let length = file.metadata()?.len();
        let whole = match self.options.driver {
            Driver::JsonFile => end_of_last_line(&file, length)?,
            Driver::Local => end_of_last_record(&file, length)?,
            Driver::None => length,
        };
        if whole < length {
            file.set_len(whole)?;
        }
        self.size = whole;
        if self.options.driver == Driver::Local && whole == 0 {
            write_all(&file, local::MAGIC)?;
            self.size = self.empty_size();
        }
        self.file = Some(file);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    No,
    Yes,
}

fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    file.write_all(bytes)
}

/// Returns where the last line that was ended ends.
fn end_of_last_line(file: &File, length: u64) -> io::Result<u64> {
    let mut block = [0u8; 4096];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(4096);
        let block = &mut block[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(block, start)?;
        if let Some(at) = memchr::memrchr(b'\n', block) {
            return Ok(start + u64::try_from(at).unwrap_or(0) + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Returns where the last whole record ends; 0 if the file does not begin as one of ours.
fn end_of_last_record(file: &File, length: u64) -> io::Result<u64> {
    let mut magic = [0u8; 8];
    if length < 8 {
        return Ok(0);
    }
    file.read_exact_at(&mut magic, 0)?;
    if magic != *local::MAGIC {
        return Ok(0);
    }
    if length == 8 || last_record_is_whole(file, length)? {
        return Ok(length);
    }
    // Only after a kill in mid-write: walk through the records from the start.
    let mut at = 8;
    let mut buffer = vec![0u8; 128 * 1024];
    loop {
        let count = read_some(file, &mut buffer, at)?;
        match local::decode(&buffer[..count]) {
            Decoded::Record(_, size) => at += u64::try_from(size).unwrap_or(0),
            Decoded::Incomplete | Decoded::Damaged => return Ok(at),
        }
    }
}

fn last_record_is_whole(file: &File, length: u64) -> io::Result<bool> {
    let mut tail = [0u8; 4];
    file.read_exact_at(&mut tail, length - 4)?;
    let Some(size) = local::size_of_last(&tail).filter(|size| *size <= length - 8) else {
        return Ok(false);
    };
    let mut record = vec![0u8; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut record, length - size)?;
    Ok(matches!(local::decode(&record), Decoded::Record(Some(_), _)))
}

fn read_some(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
