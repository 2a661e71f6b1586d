//! Writes archives that every reader takes: ustar headers, with a PAX header before those members that need one.
//!
//! The same entries give the same bytes: no time, no name of a user and no number of a process is added.

use std::io::{self, Read, Write};

use crate::entry::{Entry, EntryKind};
use crate::reader::BLOCK;

/// The largest number of a header field with seven and with eleven octal digits.
const MAX_ID: u64 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;

/// Writes an uncompressed archive, member by member.
#[derive(Debug)]
pub struct TarWriter<W> {
    target: W,
}

impl<W: Write> TarWriter<W> {
    /// Returns a writer of an archive into `target`.
    pub fn new(target: W) -> Self {
        Self { target }
    }

    /// Writes a member. `content` must yield exactly [`Entry::stored_size`] bytes; for a sparse file these are its
    /// pieces, one after the other.
    pub fn append(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let mut records = Vec::new();
        let map = sparse_map(entry);
        let stored = entry.stored_size() + to_u64(map.len());
        let mut path = entry.path.clone();
        if entry.kind == EntryKind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        if entry.sparse.is_some() {
            record(&mut records, b"GNU.sparse.major", b"1");
            record(&mut records, b"GNU.sparse.minor", b"0");
            record(&mut records, b"GNU.sparse.name", &path);
            record(
                &mut records,
                b"GNU.sparse.realsize",
                entry.size.to_string().as_bytes(),
            );
            path.truncate(100);
        } else if path.len() > 100 {
            record(&mut records, b"path", &path);
            path.truncate(100);
        }
        let mut link = entry.link.clone();
        if link.len() > 100 {
            record(&mut records, b"linkpath", &link);
            link.truncate(100);
        }
        if stored > MAX_SIZE {
            record(&mut records, b"size", stored.to_string().as_bytes());
        }
        for (key, id) in [(&b"uid"[..], entry.uid), (b"gid", entry.gid)] {
            if u64::from(id) > MAX_ID {
                record(&mut records, key, id.to_string().as_bytes());
            }
        }
        let (seconds, nanos) = entry.mtime;
        let header_time = u64::try_from(seconds).ok().filter(|&seconds| seconds <= MAX_SIZE);
        if nanos != 0 || header_time.is_none() {
            record(&mut records, b"mtime", time(seconds, nanos).as_bytes());
        }
        for (name, value) in &entry.xattrs {
            record(&mut records, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if !records.is_empty() {
            let size = to_u64(records.len());
            let header = Header {
                path: b"PaxHeader",
                link: b"",
                flag: b'x',
                mode: 0o644,
                owner: (0, 0),
                size,
                mtime: 0,
                device: (0, 0),
            };
            self.target.write_all(&header.encode())?;
            self.target.write_all(&records)?;
            self.pad(size)?;
        }
        let header = Header {
            path: &path,
            link: &link,
            flag: flag(entry.kind),
            mode: entry.mode & 0o7777,
            owner: (u64::from(entry.uid).min(MAX_ID), u64::from(entry.gid).min(MAX_ID)),
            size: stored.min(MAX_SIZE),
            mtime: header_time.unwrap_or(0),
            device: entry.device,
        };
        self.target.write_all(&header.encode())?;
        self.target.write_all(&map)?;
        let wanted = entry.stored_size();
        let copied = io::copy(&mut content.take(wanted), &mut self.target)?;
        if copied != wanted {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the content is shorter than it was said to be",
            ));
        }
        self.pad(stored)
    }

    /// Writes the end of the archive and returns the target.
    pub fn finish(mut self) -> io::Result<W> {
        self.target.write_all(&[0; BLOCK * 2])?;
        self.target.flush()?;
        Ok(self.target)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = usize::try_from(size % 512).unwrap_or(0);
        if rest == 0 {
            return Ok(());
        }
        self.target.write_all(&[0; BLOCK][rest..])
    }
}

struct Header<'a> {
    path: &'a [u8],
    link: &'a [u8],
    flag: u8,
    mode: u32,
    owner: (u64, u64),
    size: u64,
    mtime: u64,
    device: (u32, u32),
}

impl Header<'_> {
    fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..self.path.len().min(100)].copy_from_slice(&self.path[..self.path.len().min(100)]);
        octal(&mut block[100..108], self.mode.into());
        octal(&mut block[108..116], self.owner.0);
        octal(&mut block[116..124], self.owner.1);
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], self.mtime);
        block[148..156].fill(b' ');
        block[156] = self.flag;
        block[157..157 + self.link.len()].copy_from_slice(self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0.into());
        octal(&mut block[337..345], self.device.1.into());
        let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
        octal(&mut block[148..155], sum);
        block
    }
}

/// Writes a number with leading zeros and a NUL at the end; larger ones are cut, the caller wrote a PAX record.
fn octal(field: &mut [u8], mut number: u64) {
    let Some((end, digits)) = field.split_last_mut() else {
        return;
    };
    *end = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number & 7).unwrap_or(0);
        number >>= 3;
    }
}

/// Appends `LENGTH KEY=VALUE\n`, where LENGTH counts its own digits as well.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    if length.to_string().len() > rest.to_string().len() {
        length += 1;
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn time(seconds: i64, nanos: u32) -> String {
    let total = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, fraction) = (
        total.unsigned_abs() / 1_000_000_000,
        total.unsigned_abs() % 1_000_000_000,
    );
    let text = format!("{sign}{whole}.{fraction:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The map of a sparse file in GNU's PAX 1.0 format, padded to a block.
fn sparse_map(entry: &Entry) -> Vec<u8> {
    let Some(pieces) = &entry.sparse else {
        return Vec::new();
    };
    let mut map = format!("{}\n", pieces.len()).into_bytes();
    for (offset, length) in pieces {
        map.extend_from_slice(format!("{offset}\n{length}\n").as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

fn flag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::CharDevice => b'3',
        EntryKind::BlockDevice => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::reader::TarReader;

    #[test]
    fn what_is_written_is_read_back() {
        let long = "d/".repeat(100) + "file";
        let mut file = Entry::new(long.as_bytes(), EntryKind::File, 0o4755);
        file.size = 5;
        (file.uid, file.gid) = (4_000_000_000, 7);
        file.mtime = (-3, 500_000_000);
        file.xattrs = vec![
            (b"user.x".to_vec(), b"a\nb=\0".to_vec()),
            (b"user.y".to_vec(), vec![b'v'; 980]),
        ];
        let mut link = Entry::new("link", EntryKind::Symlink, 0o777);
        link.link = vec![b't'; 150];
        link.mtime = (1 << 40, 0);
        let mut sparse = Entry::new("sparse", EntryKind::File, 0o600);
        sparse.size = 1 << 40;
        sparse.sparse = Some(vec![(4096, 3), (1 << 30, 2), (1 << 40, 0)]);
        let mut device = Entry::new("null", EntryKind::CharDevice, 0o666);
        device.device = (1, 3);
        let directory = Entry::new("directory/", EntryKind::Directory, 0o1777);
        let entries = [file, link, sparse, device, directory];
        let mut writer = TarWriter::new(Vec::new());
        for entry in &entries {
            writer.append(entry, &mut &b"hello"[..]).unwrap();
        }
        let bytes = writer.finish().unwrap();
        let mut reader = TarReader::new(&bytes[..], Limits::LAYER);
        for entry in &entries {
            assert_eq!(reader.next_entry().unwrap().as_ref(), Some(entry));
            if entry.kind == EntryKind::File {
                let mut content = Vec::new();
                reader.read_to_end(&mut content).unwrap();
                assert_eq!(content, b"hello");
            }
        }
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn short_content_is_an_error() {
        let mut entry = Entry::new("x", EntryKind::File, 0o644);
        entry.size = 9;
        assert!(
            TarWriter::new(Vec::new())
                .append(&entry, &mut &b"short"[..])
                .is_err()
        );
    }
}
