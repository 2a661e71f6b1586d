//! The beginning of a blob that comes from elsewhere, and may be cut off at any byte.
//!
//! What comes out of order goes to its place in the same file. As long as there is such a piece, a file beside
//! (`<hex>.ahead`) says how far the beginning reaches, and which pieces are behind it; it may lag behind by
//! [`UNRECORDED`] bytes, which are fetched again after a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::file::{Durability, FileError, read_optional, write_atomic};
use oci::Digest;
use oci::digest::HashWriter;

use crate::blob::{BlobError, Content};

const SUFFIX: &str = ".part";
const AHEAD: &str = ".ahead";
/// Largest list of pieces in bytes.
const MAX_AHEAD: u64 = 16 << 10;
/// Bytes that may come until the list of pieces is written again.
const UNRECORDED: u64 = 256 << 10;
/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;
/// Bytes after which the kernel is asked to begin writing them to the disk, so that the sync at the end is short.
const WRITE_BACK: u64 = 8 << 20;

/// The digests that somebody is fetching.
type Fetching = Arc<Mutex<BTreeSet<Digest>>>;

/// The first bytes of a blob whose digest is known. Dropping it keeps the file, so that the next [`Content::partial`]
/// goes on where this one stopped, also after a restart (see [`crate::Lease`]).
#[derive(Debug)]
pub struct Partial {
    digest: Digest,
    path: PathBuf,
    writer: HashWriter<File>,
    length: u64,
    written_back: u64,
    /// What came of the bytes behind: where each piece begins and ends.
    ahead: BTreeMap<u64, u64>,
    /// Bytes that came since the list of pieces was written.
    unrecorded: u64,
    _claim: Claim,
}

#[derive(Debug)]
struct Claim {
    digest: Digest,
    fetching: Fetching,
}

impl Drop for Claim {
    fn drop(&mut self) {
        locked(&self.fetching).remove(&self.digest);
    }
}

impl Content {
    /// Opens what there is of a blob that is fetched, which may be nothing. What is there is read once, hashed and
    /// given to `each` in order, in pieces of up to 256 KiB; more than `limit` bytes cannot be of this blob and are
    /// thrown away. Fails with [`BlobError::Busy`] while somebody else has it.
    pub fn partial<E: From<BlobError>>(
        &self,
        digest: &Digest,
        limit: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Partial, E> {
        // Refuses other algorithms, whose digests are not the names of files.
        self.blob_path(digest)?;
        if !locked(&self.fetching).insert(digest.clone()) {
            return Err(BlobError::Busy {
                digest: digest.clone(),
            }
            .into());
        }
        let claim = Claim {
            digest: digest.clone(),
            fetching: Arc::clone(&self.fetching),
        };
        let path = self
            .directory
            .join("ingest")
            .join(format!("{}{SUFFIX}", digest.hex()));
        let (file, known, ahead) = open(&path, limit).map_err(BlobError::from)?;
        let mut partial = Partial {
            digest: digest.clone(),
            path,
            writer: HashWriter::new(file),
            length: 0,
            written_back: 0,
            ahead,
            unrecorded: 0,
            _claim: claim,
        };
        partial.ahead.insert(0, known);
        partial.catch_up(&mut each)?;
        partial.written_back = partial.length;
        Ok(partial)
    }

    /// Makes a complete partial file the blob, synced, if its digest is right. If not, the file is removed: there is no
    /// telling which of its bytes are wrong.
    pub fn finish(&self, partial: Partial) -> Result<u64, BlobError> {
        let Partial {
            digest,
            path,
            writer,
            ahead,
            _claim,
            ..
        } = partial;
        let (file, actual, size) = writer.finish();
        if actual != digest || !ahead.is_empty() {
            remove(&path)?;
            return Err(BlobError::Mismatch {
                expected: digest,
                actual,
            });
        }
        let shown = self.blob_path(&digest)?;
        file.sync_all().map_err(step("sync"))?;
        std::fs::rename(&path, &shown).map_err(step("show"))?;
        base::file::sync_parent(&shown)?;
        Ok(size)
    }
}

impl Partial {
    /// Returns how many bytes are there.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns what is missing up to the end of the blob, which has `size` bytes.
    pub fn gaps(&self, size: u64) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut from = self.length;
        for (&start, &end) in &self.ahead {
            if from < start {
                gaps.push(from..start);
            }
            from = end;
        }
        if from < size {
            gaps.push(from..size);
        }
        gaps
    }

    /// Puts bytes that do not follow to their place; there must be none yet.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), BlobError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        // The list first: without it, all of the file would be taken for the beginning.
        let piece = self
            .ahead
            .iter()
            .find(|&(_, &end)| end == offset)
            .map(|(&start, _)| start);
        if piece.is_none() {
            self.ahead.insert(offset, offset);
            self.record()?;
        }
        self.writer
            .inner()
            .write_all_at(bytes, offset)
            .map_err(step("write"))?;
        self.ahead
            .insert(piece.unwrap_or(offset), offset.saturating_add(length));
        self.count(length)
    }

    /// Joins the pieces that follow by now to the beginning, and gives their bytes to `each` in order.
    pub fn catch_up<E: From<BlobError>>(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.length;
        let mut buffer = Vec::new();
        while let Some((&start, &end)) = self.ahead.first_key_value()
            && start <= self.length
        {
            while self.length < end {
                buffer.resize(PIECE, 0);
                let wanted = usize::try_from(end - self.length).map_or(PIECE, |left| left.min(PIECE));
                let piece = &mut buffer[..wanted];
                self.writer
                    .inner()
                    .read_exact_at(piece, self.length)
                    .map_err(step("read"))?;
                self.writer.skip(piece);
                self.length += u64::try_from(wanted).unwrap_or(u64::MAX);
                each(piece)?;
            }
            // A piece that is just begun stays: its bytes come here.
            if start == end && start == self.length && start > 0 {
                break;
            }
            self.ahead.remove(&start);
        }
        if self.length > before {
            let mut file = self.writer.inner();
            file.seek(SeekFrom::Start(self.length)).map_err(step("seek"))?;
            self.record()?;
        }
        Ok(())
    }

    /// Adds the bytes that follow. They are there for the next try as soon as this returns, also if the process dies.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.writer.write_all(bytes).map_err(step("write"))?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.length += length;
        if !self.ahead.is_empty() {
            self.count(length)?;
        }
        if self.length - self.written_back >= WRITE_BACK {
            // A hint: the sync at the end is what counts.
            drop(sys::fd::start_write_back(
                self.writer.inner().as_fd(),
                self.written_back,
                self.length - self.written_back,
            ));
            self.written_back = self.length;
        }
        Ok(())
    }
}

impl Partial {
    fn count(&mut self, length: u64) -> Result<(), BlobError> {
        self.unrecorded += length;
        if self.unrecorded >= UNRECORDED {
            self.record()?;
        }
        Ok(())
    }

    /// Writes the list of pieces, or removes it when there are none.
    fn record(&mut self) -> Result<(), BlobError> {
        let path = self.path.with_extension(&AHEAD[1..]);
        if self.ahead.is_empty() {
            return Ok(crate::blob::remove_file(&path)?);
        }
        let pieces = self.ahead.iter().map(|(start, end)| format!("{start} {end}\n"));
        let text: String = std::iter::once(format!("0 {}\n", self.length))
            .chain(pieces)
            .collect();
        write_atomic(&path, text.as_bytes(), 0o600, Durability::Crash)?;
        self.unrecorded = 0;
        Ok(())
    }
}

impl Content {
    /// Throws away the beginning of a blob, unless somebody fetches it just now.
    pub fn discard_partial(&self, digest: &Digest) -> Result<(), BlobError> {
        self.blob_path(digest)?;
        if locked(&self.fetching).contains(digest) {
            return Ok(());
        }
        let path = self
            .directory
            .join("ingest")
            .join(format!("{}{SUFFIX}", digest.hex()));
        Ok(remove(&path)?)
    }
}

/// Returns the digest of the blob whose beginning a file of this name is.
pub(crate) fn digest_of(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(SUFFIX).or_else(|| name.strip_suffix(AHEAD))?;
    Digest::from_sha256_hex(hex).ok()
}

pub(crate) fn locked(fetching: &Fetching) -> MutexGuard<'_, BTreeSet<Digest>> {
    fetching.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the file and the list of its pieces; the file first, because without the list it means something else.
fn remove(path: &Path) -> Result<(), FileError> {
    crate::blob::remove_file(path)?;
    crate::blob::remove_file(&path.with_extension(&AHEAD[1..]))
}

/// Opens the file; also returns how far its beginning reaches, and the pieces behind it.
fn open(path: &Path, limit: u64) -> Result<(File, u64, BTreeMap<u64, u64>), FileError> {
    let failed = |source| FileError::new("open", path, source);
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let file = options.open(path).map_err(failed)?;
    let mut length = file.metadata().map_err(failed)?.len();
    let list = path.with_extension(&AHEAD[1..]);
    let mut ahead = BTreeMap::new();
    match read_optional(&list, MAX_AHEAD)?.map(|text| pieces(&text, length)) {
        None if length <= limit => {}
        Some(Some(mut pieces)) if length <= limit => {
            // What is behind the last piece that is known of was not written down any more.
            let last = pieces.last_key_value().map_or(0, |(_, &end)| end);
            file.set_len(last).map_err(failed)?;
            length = pieces.remove(&0).unwrap_or(0);
            ahead = pieces;
        }
        _ => {
            file.set_len(0).map_err(failed)?;
            crate::blob::remove_file(&list)?;
            length = 0;
        }
    }
    Ok((file, length, ahead))
}

/// Reads a list of pieces: in order, apart from one another, within the file's `length`.
fn pieces(text: &[u8], length: u64) -> Option<BTreeMap<u64, u64>> {
    let text = std::str::from_utf8(text).ok()?;
    let mut found = BTreeMap::new();
    let mut from = 0;
    for line in text.lines() {
        let (start, end) = line.split_once(' ')?;
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        let is_first = found.is_empty();
        if (is_first && start != 0) || start < from || end < start || end > length {
            return None;
        }
        from = end;
        // One that was only begun has nothing.
        if is_first || start < end {
            found.insert(start, end);
        }
    }
    (!found.is_empty()).then_some(found)
}

fn step(doing: &'static str) -> impl FnOnce(io::Error) -> BlobError {
    move |source| BlobError::Step { doing, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> (tempfile::TempDir, Content) {
        let directory = tempfile::tempdir().unwrap();
        for name in ["blobs/sha256", "ingest", "leases"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let content = Content::new(directory.path());
        (directory, content)
    }

    fn open(content: &Content, digest: &Digest, size: u64) -> (Partial, Vec<u8>) {
        let mut read = Vec::new();
        let partial = content
            .partial::<BlobError>(digest, size, |bytes| {
                read.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        (partial, read)
    }

    #[test]
    fn pieces_out_of_order_are_kept_and_joined() {
        let (directory, content) = content();
        let bytes: Vec<u8> = (0..1_000_000u32)
            .map(|number| (number % 251).to_le_bytes()[0])
            .collect();
        let (digest, size) = (Digest::sha256(&bytes), 1_000_000);
        let (mut partial, _) = open(&content, &digest, size);
        partial.append(&bytes[..100]).unwrap();
        partial.write_at(500_000, &bytes[500_000..600_000]).unwrap();
        partial.write_at(600_000, &bytes[600_000..800_000]).unwrap();
        partial.write_at(900_000, &bytes[900_000..900_001]).unwrap();
        assert_eq!(
            partial.gaps(size),
            [100..500_000, 800_000..900_000, 900_001..size]
        );
        drop(partial);
        // What was written after the list was is fetched again.
        let (mut partial, read) = open(&content, &digest, size);
        assert_eq!(read, &bytes[..100]);
        assert_eq!(partial.gaps(size), [100..500_000, 800_000..size]);
        partial.append(&bytes[100..500_000]).unwrap();
        let mut joined = Vec::new();
        let mut join = |partial: &mut Partial| {
            partial
                .catch_up::<BlobError>(|bytes| {
                    joined.extend_from_slice(bytes);
                    Ok(())
                })
                .unwrap();
        };
        join(&mut partial);
        assert_eq!(partial.length(), 800_000);
        partial.write_at(850_000, &bytes[850_000..]).unwrap();
        partial.append(&bytes[800_000..850_000]).unwrap();
        join(&mut partial);
        assert_eq!(joined.len(), 300_000 + 150_000);
        assert_eq!(content.finish(partial).unwrap(), size);
        assert_eq!(std::fs::read(content.blob_path(&digest).unwrap()).unwrap(), bytes);
        assert_eq!(
            std::fs::read_dir(directory.path().join("ingest"))
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn a_damaged_list_of_pieces_costs_the_bytes_and_nothing_else() {
        for list in [
            "",
            "x",
            "0 10",
            "0 20\n10 30\n",
            "0 10\n40 90000\n",
            "5 10\n",
            "0 10\n30 20\n",
        ] {
            let (directory, content) = content();
            let digest = Digest::sha256(b"x");
            let (mut partial, _) = open(&content, &digest, 100);
            partial.append(&[1; 10]).unwrap();
            partial.write_at(50, &[1; 10]).unwrap();
            drop(partial);
            let path = directory
                .path()
                .join("ingest")
                .join(format!("{}.ahead", digest.hex()));
            write_atomic(&path, list.as_bytes(), 0o600, Durability::Crash).unwrap();
            let (partial, read) = open(&content, &digest, 100);
            let is_whole = list == "0 10";
            assert_eq!(read.len(), if is_whole { 10 } else { 0 }, "{list}");
            assert_eq!(partial.gaps(100).len(), 1);
            content.discard_partial(&digest).unwrap();
            drop(partial);
            content.discard_partial(&digest).unwrap();
            assert_eq!(
                std::fs::read_dir(directory.path().join("ingest"))
                    .unwrap()
                    .count(),
                0
            );
        }
    }
}
