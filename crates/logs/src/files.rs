//! The names of a log's files and the identity by which a reader knows a file again after its rotation.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use crate::local;

/// Returns the path of the `index`-th rotated file, counted from 1 (the newest).
pub(crate) fn rotated(path: &Path, index: u32) -> PathBuf {
    suffixed(path, &format!(".{index}"))
}

/// Returns the path of the `index`-th rotated file when it is compressed.
pub(crate) fn compressed(path: &Path, index: u32) -> PathBuf {
    suffixed(path, &format!(".{index}.gz"))
}

/// Returns the path under which the newest rotated file is being compressed.
pub(crate) fn being_compressed(path: &Path) -> PathBuf {
    suffixed(path, ".1.gz.tmp")
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Names a log file whatever it is called at the moment. An inode number alone would not do: the file system may give
/// it to a new file as soon as a compressed one's original is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The inode number, or the one it had before it was compressed (kept as the gzip header's comment).
    inode: u64,
    /// A hash of its beginning, which holds the time of its first entry; `None` while it is empty.
    beginning: Option<u64>,
}

impl Identity {
    /// Returns the inode number that the file has, or had before it was compressed.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }
}

/// A file of a log, opened for reading.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) identity: Identity,
    pub(crate) file: File,
    pub(crate) is_compressed: bool,
}

impl LogFile {
    /// Opens the file at `index` (0: the current one); `None` if there is none.
    pub(crate) fn open(path: &Path, index: u32) -> Result<Option<Self>, (PathBuf, io::Error)> {
        if index == 0 {
            return Self::open_plain(path);
        }
        // Twice, because between the two looks at the names a plain file may have been replaced by its compressed form.
        for _ in 0..2 {
            let opened = match Self::open_compressed(&compressed(path, index))? {
                Some(file) => Some(file),
                None => Self::open_plain(&rotated(path, index))?,
            };
            if opened.is_some() {
                return Ok(opened);
            }
        }
        Ok(None)
    }

    fn open_compressed(path: &Path) -> Result<Option<Self>, (PathBuf, io::Error)> {
        let opened = File::open(path).and_then(|file| Ok((identity_of_compressed(&file)?, file)));
        match opened {
            Ok((identity, file)) => Ok(Some(Self {
                identity,
                file,
                is_compressed: true,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err((path.to_owned(), error)),
        }
    }

    fn open_plain(path: &Path) -> Result<Option<Self>, (PathBuf, io::Error)> {
        let opened = File::open(path).and_then(|file| Ok((identity(&file)?, file)));
        match opened {
            Ok((identity, file)) => Ok(Some(Self {
                identity,
                file,
                is_compressed: false,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err((path.to_owned(), error)),
        }
    }
}

const BEGINNING: usize = 256;

/// Returns the identity of a file that is not compressed; it changes once, with the first entry.
pub(crate) fn identity(file: &File) -> io::Result<Identity> {
    let mut buffer = [0u8; BEGINNING];
    let length = file.read_at(&mut buffer, 0)?;
    Ok(Identity {
        inode: file.metadata()?.ino(),
        beginning: hash(&buffer[..length]),
    })
}

fn identity_of_compressed(file: &File) -> io::Result<Identity> {
    let mut from_start = file;
    let mut decoder = GzDecoder::new(from_start);
    let mut buffer = Vec::new();
    let limit = u64::try_from(BEGINNING).unwrap_or(0);
    // A damaged file is only told from others by its inode.
    decoder.by_ref().take(limit).read_to_end(&mut buffer).ok();
    let comment = decoder
        .header()
        .and_then(|header| header.comment())
        .and_then(|comment| std::str::from_utf8(comment).ok()?.parse().ok());
    from_start.seek(SeekFrom::Start(0))?;
    Ok(Identity {
        inode: match comment {
            Some(inode) => inode,
            None => file.metadata()?.ino(),
        },
        beginning: hash(&buffer),
    })
}

/// Hashes the part of a file's first bytes that is there as soon as the file has one entry.
fn hash(bytes: &[u8]) -> Option<u64> {
    let first = if bytes.starts_with(local::MAGIC) {
        bytes.get(..local::FIRST_TIME_END)?
    } else {
        bytes.split_inclusive(|byte| *byte == b'\n').next()?
    };
    let mut hasher = DefaultHasher::new();
    first.hash(&mut hasher);
    Some(hasher.finish())
}
