//! The tar parser: ustar, PAX and GNU headers become [`Entry`] values.
//!
//! Formats: POSIX.1-2024 `pax`, "ustar Interchange Format" and "pax Interchange Format"; GNU tar manual, "Basic Tar
//! Format" and "Storing Sparse Files". Where two readers could see two archives in the same bytes (CVE-2025-62518 and
//! its kin), the archive is refused: a size on a member that has no content, a name given twice with two values, a
//! lone zero block, an extension header of an extension header, a size that does not fit.

use std::io::{self, BufRead, Read};

use crate::entry::{Entry, EntryKind};
use crate::error::ReadError;
use crate::header::{is_extension, old_pieces, plain_entry, unsigned, verify_checksum};
use crate::limits::Limits;
use crate::pax::Extensions;

pub(crate) const BLOCK: usize = 512;
const BLOCK_U64: u64 = 512;
/// Longest extension header in bytes.
const MAX_EXTENSION: u64 = 1 << 20;
/// Most pieces of one sparse file.
pub(crate) const MAX_PIECES: usize = 1 << 16;

/// Reads the members of an uncompressed archive, one after the other.
///
/// After [`Self::next_entry`] the reader itself yields the content of that member (the stored bytes, for sparse files
/// the pieces one after the other); what is not read is skipped.
#[derive(Debug)]
pub struct TarReader<R> {
    source: R,
    limits: Limits,
    offset: u64,
    /// Unread content of the present member.
    remaining: u64,
    /// Zeros after that.
    padding: u64,
    entries: u64,
    content: u64,
    done: bool,
}

impl<R: Read> TarReader<R> {
    /// Returns a reader of the archive in `source`.
    pub fn new(source: R, limits: Limits) -> Self {
        Self {
            source,
            limits,
            offset: 0,
            remaining: 0,
            padding: 0,
            entries: 0,
            content: 0,
            done: false,
        }
    }

    /// Returns the number of members so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Returns the sum of the stored sizes of all members so far in bytes.
    pub fn content_bytes(&self) -> u64 {
        self.content
    }

    /// Returns the next member, or `None` at the end of the archive.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        self.skip_content()?;
        if self.done {
            return Ok(None);
        }
        let mut extensions = Extensions::default();
        loop {
            let start = self.offset;
            let Some(block) = self.read_header()? else {
                self.done = true;
                if extensions.any() {
                    return Err(header(start, "an extension header without a member"));
                }
                return Ok(None);
            };
            verify_checksum(&block).ok_or_else(|| header(start, "the checksum is wrong"))?;
            let size = unsigned(&block[124..136]).ok_or_else(|| header(start, "the size is not a number"))?;
            if is_extension(&block) {
                let data = self.read_extension(size)?;
                extensions
                    .add(block[156], data)
                    .map_err(|problem| header(start, problem))?;
                continue;
            }
            return self.finish_entry(start, &block, size, extensions).map(Some);
        }
    }

    /// Reads the rest of the source (padding after the end of the archive), so that a digest covers all of it.
    pub fn drain(&mut self) -> Result<(), ReadError> {
        self.remaining = 0;
        self.padding = 0;
        self.done = true;
        let mut buffer = vec![0; 64 << 10];
        while self.read_source(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Returns the source, read as far as the archive was.
    pub fn into_inner(self) -> R {
        self.source
    }

    fn read_source(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        loop {
            match self.source.read(buffer) {
                Ok(count) => {
                    self.offset += u64::try_from(count).unwrap_or(u64::MAX);
                    if self.offset > self.limits.stream_bytes {
                        return Err(limit("bytes", self.limits.stream_bytes));
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(ReadError::Source {
                        offset: self.offset,
                        source,
                    });
                }
            }
        }
    }

    /// Fills `buffer`; returns how much there was, which is less only at the end of the source.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_source(&mut buffer[filled..])? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn fill_exact(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        if self.fill(buffer)? == buffer.len() {
            Ok(())
        } else {
            Err(self.truncated())
        }
    }

    fn truncated(&self) -> ReadError {
        ReadError::Source {
            offset: self.offset,
            source: io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off"),
        }
    }

    fn skip_content(&mut self) -> Result<(), ReadError> {
        let mut left = self.remaining + self.padding;
        let mut buffer = [0; 16 << 10];
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match self.read_source(&mut buffer[..part])? {
                0 => return Err(self.truncated()),
                count => left -= u64::try_from(count).unwrap_or(u64::MAX),
            }
        }
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    /// Reads one header block; `None` at the end: two zero blocks, or a source that ends between members.
    fn read_header(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let start = self.offset;
        let mut block = [0; BLOCK];
        match self.fill(&mut block)? {
            0 => return Ok(None),
            BLOCK => {}
            _ => return Err(self.truncated()),
        }
        if block.iter().any(|&byte| byte != 0) {
            return Ok(Some(block));
        }
        let mut second = [0; BLOCK];
        self.fill(&mut second)?;
        if second.iter().any(|&byte| byte != 0) {
            // GNU tar stops here, others go on: what follows would be seen by some only.
            return Err(header(start, "a lone block of zeros inside the archive"));
        }
        Ok(None)
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, ReadError> {
        if size > MAX_EXTENSION {
            return Err(limit("bytes in an extension header", MAX_EXTENSION));
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut data = vec![0; size.next_multiple_of(BLOCK)];
        self.fill_exact(&mut data)?;
        data.truncate(size);
        Ok(data)
    }

    fn finish_entry(
        &mut self,
        start: u64,
        block: &[u8; BLOCK],
        header_size: u64,
        extensions: Extensions,
    ) -> Result<Entry, ReadError> {
        let wrong = |problem| header(start, problem);
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(limit("members", self.limits.entries));
        }
        let mut pax = extensions.pax;
        let stored = pax.size.unwrap_or(header_size);
        if stored > i64::MAX.unsigned_abs() - BLOCK_U64 {
            return Err(wrong("the size is too large"));
        }
        let old_sparse = block[156] == b'S';
        let new_sparse = pax.sparse_version == Some((1, 0));
        let pieces = pax.sparse_map.take();
        let mut entry =
            plain_entry(block, &mut pax, extensions.long_name, extensions.long_link).map_err(wrong)?;
        if entry.kind != EntryKind::File && (stored != 0 || old_sparse || new_sparse || pieces.is_some()) {
            return Err(wrong("content on a member that cannot have any"));
        }
        entry.size = stored;
        self.remaining = stored;
        self.padding = stored.next_multiple_of(BLOCK_U64).saturating_sub(stored);
        if [old_sparse, new_sparse, pieces.is_some()]
            .iter()
            .filter(|&&yes| yes)
            .count()
            > 1
        {
            return Err(wrong("two sparse maps"));
        }
        if old_sparse {
            let map = self.old_sparse_map(start, block)?;
            let size = unsigned(&block[483..495]).ok_or_else(|| wrong("the sparse size is not a number"))?;
            self.set_sparse(start, &mut entry, map, size, stored)?;
        } else if new_sparse {
            let map = self.new_sparse_map(start)?;
            let size = pax
                .sparse_size
                .ok_or_else(|| wrong("a sparse file without its size"))?;
            let data = self.remaining;
            self.set_sparse(start, &mut entry, map, size, data)?;
        } else if let Some(map) = pieces {
            self.set_sparse(start, &mut entry, map, pax.sparse_size.unwrap_or(stored), stored)?;
        } else if pax.sparse_version.is_some_and(|version| version.0 != 0) {
            return Err(wrong("an unknown sparse format"));
        }
        self.content = self.content.saturating_add(entry.stored_size());
        if self.content > self.limits.content_bytes {
            return Err(limit("bytes of content", self.limits.content_bytes));
        }
        if entry.xattrs.len() > self.limits.xattrs {
            return Err(limit(
                "extended attributes on one member",
                to_u64(self.limits.xattrs),
            ));
        }
        if entry
            .xattrs
            .iter()
            .any(|(_, value)| value.len() > self.limits.xattr_bytes)
        {
            return Err(limit(
                "bytes in an extended attribute",
                to_u64(self.limits.xattr_bytes),
            ));
        }
        Ok(entry)
    }

    /// Reads the map of GNU's old format: four pieces in the header, 21 in each block that follows.
    fn old_sparse_map(&mut self, start: u64, block: &[u8; BLOCK]) -> Result<Vec<(u64, u64)>, ReadError> {
        let mut map = Vec::new();
        old_pieces(&block[386..482], &mut map).ok_or_else(|| header(start, "a broken sparse map"))?;
        let mut more = block[482] != 0;
        while more {
            let mut next = [0; BLOCK];
            self.fill_exact(&mut next)?;
            old_pieces(&next[..504], &mut map).ok_or_else(|| header(start, "a broken sparse map"))?;
            more = next[504] != 0;
            if map.len() > MAX_PIECES {
                return Err(limit("pieces in a sparse file", to_u64(MAX_PIECES)));
            }
        }
        Ok(map)
    }

    /// Reads the map of the PAX 1.0 format: decimal lines at the start of the content, padded to a block.
    fn new_sparse_map(&mut self, start: u64) -> Result<Vec<(u64, u64)>, ReadError> {
        let broken = || header(start, "a broken sparse map");
        let (mut numbers, mut wanted) = (Vec::new(), None);
        let mut number: Option<u64> = None;
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            if self.remaining < BLOCK_U64 {
                return Err(broken());
            }
            let mut block = [0; BLOCK];
            self.fill_exact(&mut block)?;
            self.remaining -= BLOCK_U64;
            for byte in block {
                match byte {
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        let next = number
                            .unwrap_or(0)
                            .checked_mul(10)
                            .and_then(|ten| ten.checked_add(digit));
                        number = Some(next.ok_or_else(broken)?);
                    }
                    b'\n' => {
                        let value = number.take().ok_or_else(broken)?;
                        if wanted.is_some() {
                            numbers.push(value);
                        } else {
                            let pieces = usize::try_from(value).unwrap_or(usize::MAX);
                            if pieces > MAX_PIECES {
                                return Err(limit("pieces in a sparse file", to_u64(MAX_PIECES)));
                            }
                            wanted = Some(pieces * 2);
                        }
                        if wanted == Some(numbers.len()) {
                            break;
                        }
                    }
                    _ => return Err(broken()),
                }
            }
        }
        Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    fn set_sparse(
        &self,
        start: u64,
        entry: &mut Entry,
        map: Vec<(u64, u64)>,
        size: u64,
        stored: u64,
    ) -> Result<(), ReadError> {
        let wrong = |problem| header(start, problem);
        if size > self.limits.sparse_bytes {
            return Err(limit("bytes in a sparse file", self.limits.sparse_bytes));
        }
        let (mut end, mut sum) = (0u64, 0u64);
        for &(offset, length) in &map {
            let next = offset
                .checked_add(length)
                .ok_or_else(|| wrong("a broken sparse map"))?;
            if offset < end || next > size {
                return Err(wrong("a broken sparse map"));
            }
            end = next;
            sum += length;
        }
        if sum != stored {
            return Err(wrong("a sparse map that does not fit the content"));
        }
        entry.size = size;
        entry.sparse = Some(map);
        Ok(())
    }
}

impl<R: BufRead> TarReader<R> {
    /// Gives the next `bytes` of the present member's content to `take`, piece by piece and without a copy.
    pub(crate) fn take_content(
        &mut self,
        bytes: u64,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let cut_off = || io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off");
        let mut left = bytes;
        if left > self.remaining {
            return Err(cut_off());
        }
        while left > 0 {
            let piece = match self.source.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if piece.is_empty() {
                return Err(cut_off());
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            take(&piece[..length])?;
            self.source.consume(length);
            let length = to_u64(length);
            left -= length;
            self.remaining -= length;
            self.offset += length;
            if self.offset > self.limits.stream_bytes {
                let error = limit("bytes", self.limits.stream_bytes);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for TarReader<R> {
    /// Reads content of the present member.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if part == 0 {
            return Ok(0);
        }
        let count = self
            .read_source(&mut buffer[..part])
            .map_err(|error| match error {
                ReadError::Source { source, .. } => source,
                other => io::Error::new(io::ErrorKind::InvalidData, other),
            })?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive is cut off",
            ));
        }
        self.remaining -= to_u64(count);
        Ok(count)
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn header(offset: u64, problem: &'static str) -> ReadError {
    ReadError::Header { offset, problem }
}

fn limit(what: &'static str, limit: u64) -> ReadError {
    ReadError::Limit { what, limit }
}
