//! Unpacks an archive below a directory.
//!
//! What is done with an entry is GNU tar's and Docker's common ground: a leading slash is dropped, `..` is refused, a
//! later member replaces an earlier one of the same name (a directory stays and gets the new attributes), and the
//! last step of a path is never followed. Owners are set before attributes and modes, because a change of owner takes
//! setuid bits and file capabilities away; times of directories are set last.
//!
//! Extended attributes: `user.*`, `security.capability` and POSIX ACLs are kept. Overlay's own (`user.overlay.*`,
//! `trusted.overlay.*`) would let a layer point anywhere, and other `trusted.*` and `security.*` names speak for the
//! host, so they are dropped, as with every other engine.

mod place;
#[cfg(test)]
mod tests;

use std::io::{BufRead, BufReader, Read};
use std::os::fd::BorrowedFd;

use oci::Digest;
use oci::digest::HashReader;

use crate::compression::{Compression, Decoder};
use crate::entry::{Entry, EntryKind, for_display};
use crate::error::{ReadError, UnpackError};
use crate::limits::Limits;
use crate::pieces::{Pieces, pieces};
use crate::reader::TarReader;
use place::Unpacker;
pub(crate) use place::is_kept as is_kept_attribute;

/// What to do with whiteouts (`.wh.NAME`, `.wh..wh..opq`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// Keep them in overlay's own form: a character device 0/0, and `trusted.overlay.opaque=y`.
    Overlay,
    /// Delete what they name: the target is a copy of the layers below.
    Apply,
    /// They are ordinary names: the archive is no layer.
    Literal,
}

/// How to unpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackOptions {
    /// What to do with whiteouts.
    pub whiteouts: Whiteouts,
    /// What it may cost.
    pub limits: Limits,
    /// Added to every owner id: the base of a container's user namespace, when unpacking into its writable part.
    pub owner_base: u32,
}

impl UnpackOptions {
    /// Returns the options for a layer of an image: unshifted ids, generous limits.
    pub fn layer(whiteouts: Whiteouts) -> Self {
        Self {
            whiteouts,
            limits: Limits::LAYER,
            owner_base: 0,
        }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackSummary {
    /// The digest of the uncompressed stream, to its very end.
    pub diff_id: Digest,
    /// The bytes of the uncompressed stream.
    pub stream_bytes: u64,
    /// The sum of the stored sizes of all regular files in bytes.
    pub content_bytes: u64,
    /// The number of members.
    pub entries: u64,
    /// Extended attributes that the target's file system cannot hold.
    pub lost_xattrs: u64,
    /// How the stream was compressed.
    pub compression: Compression,
}

/// Unpacks the archive in `reader` (plain, gzip or zstd) below the directory `target`, which nobody else changes
/// meanwhile. On an error the target holds a part of the archive: throw it away.
pub fn unpack(
    reader: impl Read,
    target: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<UnpackSummary, UnpackError> {
    let (decoder, compression) = open(reader)?;
    let source = BufReader::with_capacity(BUFFER, HashReader::new(decoder));
    let mut tar = TarReader::new(source, options.limits);
    let lost_xattrs = place(&mut tar, target, options)?;
    let counted = Counted::of(&mut tar)?;
    let (_, diff_id, stream_bytes) = tar.into_inner().into_inner().finish();
    Ok(UnpackSummary {
        lost_xattrs,
        ..counted.summary(diff_id, stream_bytes, compression)
    })
}

/// As [`unpack`], with the decompression on a thread of its own: for large archives. `known` is the digest of just these bytes,
/// from somebody who has hashed them; if they are no compressed stream it is not found out again.
pub fn unpack_beside(
    reader: impl Read + Send,
    target: BorrowedFd<'_>,
    options: &UnpackOptions,
    known: Option<&Digest>,
) -> Result<UnpackSummary, UnpackError> {
    beside(reader, options.limits, known, |tar| place(tar, target, options))
}

/// Reads the archive in `reader` as [`unpack`] would for a layer, but writes nothing: finds its digest and size, and
/// whether it can be read at all.
pub fn inspect(reader: impl Read, limits: &Limits) -> Result<UnpackSummary, ReadError> {
    let (decoder, compression) = open(reader)?;
    let source = BufReader::with_capacity(BUFFER, HashReader::new(decoder));
    let mut tar = TarReader::new(source, *limits);
    while tar.next_entry()?.is_some() {}
    let counted = Counted::of(&mut tar)?;
    let (_, diff_id, stream_bytes) = tar.into_inner().into_inner().finish();
    Ok(counted.summary(diff_id, stream_bytes, compression))
}

/// As [`inspect`], with the decompression on a thread of its own.
pub fn inspect_beside(reader: impl Read + Send, limits: &Limits) -> Result<UnpackSummary, ReadError> {
    beside(reader, *limits, None, |tar| {
        while tar.next_entry()?.is_some() {}
        Ok(0)
    })
}

/// Bytes of the uncompressed stream that are parsed at once.
const BUFFER: usize = 128 << 10;

type Opened<R> = (Decoder<R>, Compression);

fn open<R: Read>(reader: R) -> Result<Opened<R>, ReadError> {
    let decoder = Decoder::new(reader).map_err(|source| ReadError::Source { offset: 0, source })?;
    let compression = decoder.compression();
    Ok((decoder, compression))
}

/// Reads an archive that another thread decompresses; `each` goes through its members and returns lost attributes.
fn beside<E: From<ReadError>>(
    reader: impl Read + Send,
    limits: Limits,
    known: Option<&Digest>,
    each: impl FnOnce(&mut TarReader<Pieces>) -> Result<u64, E>,
) -> Result<UnpackSummary, E> {
    let (maker, mut pieces) = pieces();
    let (told, compression) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || match Decoder::new(reader) {
            Ok(decoder) => {
                // Fails when the other side failed and is gone.
                if told.send(decoder.compression()).is_ok() {
                    maker.pass_on(decoder);
                }
            }
            Err(error) => maker.pass_on(Failed(Some(error))),
        });
        // Fails when the source could not be opened, which the first piece tells.
        let compression = compression.recv().unwrap_or(Compression::Plain);
        if let Some(known) = known.filter(|_| compression == Compression::Plain) {
            pieces.trust(known);
        }
        let mut tar = TarReader::new(pieces, limits);
        let lost_xattrs = each(&mut tar)?;
        let counted = Counted::of(&mut tar)?;
        let (diff_id, stream_bytes) = tar.into_inner().finish();
        Ok(UnpackSummary {
            lost_xattrs,
            ..counted.summary(diff_id, stream_bytes, compression)
        })
    })
}

/// A source that could not even be opened.
struct Failed(Option<std::io::Error>);

impl Read for Failed {
    fn read(&mut self, _buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Makes every member of an archive; returns the number of lost attributes.
fn place<R: BufRead>(
    tar: &mut TarReader<R>,
    target: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<u64, UnpackError> {
    let mut unpacker = Unpacker::new(target, options).map_err(|source| UnpackError::Make {
        doing: "open",
        path: "/".to_owned(),
        source,
    })?;
    while let Some(entry) = tar.next_entry()? {
        let path = Path::parse(&entry, options)?;
        unpacker.place(&entry, &path, tar)?;
    }
    unpacker.finish()
}

/// What a reader counted.
struct Counted {
    entries: u64,
    content_bytes: u64,
}

impl Counted {
    /// Reads the archive to the very end of its stream.
    fn of<R: Read>(tar: &mut TarReader<R>) -> Result<Self, ReadError> {
        tar.drain()?;
        Ok(Self {
            entries: tar.entries(),
            content_bytes: tar.content_bytes(),
        })
    }

    fn summary(self, diff_id: Digest, stream_bytes: u64, compression: Compression) -> UnpackSummary {
        UnpackSummary {
            diff_id,
            stream_bytes,
            content_bytes: self.content_bytes,
            entries: self.entries,
            lost_xattrs: 0,
            compression,
        }
    }
}

/// Where an entry goes, relative to the target, and what its name means.
#[derive(Debug)]
struct Path {
    /// The directory: components joined by `/`, empty for the target itself.
    parent: Vec<u8>,
    meaning: Meaning,
}

#[derive(Debug)]
enum Meaning {
    /// The target itself.
    Root,
    /// A name in the directory.
    Name(Vec<u8>),
    /// The name in the directory is gone.
    Whiteout(Vec<u8>),
    /// Everything that lower layers have in the directory is gone.
    Opaque,
    /// Something of AUFS's own that nobody needs.
    Nothing,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";

impl Path {
    fn parse(entry: &Entry, options: &UnpackOptions) -> Result<Self, UnpackError> {
        let refused = |problem| refuse(entry, problem);
        let components = components(&entry.path).map_err(refused)?;
        if components.len() > options.limits.depth {
            return Err(refused("it lies too deep"));
        }
        let Some((&name, directories)) = components.split_last() else {
            if entry.kind != EntryKind::Directory {
                return Err(refused("the root is not a directory"));
            }
            return Ok(Self {
                parent: Vec::new(),
                meaning: Meaning::Root,
            });
        };
        let meaning = if options.whiteouts == Whiteouts::Literal {
            Meaning::Name(name.to_vec())
        } else if directories.iter().any(|directory| directory.starts_with(AUFS)) {
            Meaning::Nothing
        } else if directories
            .iter()
            .any(|directory| directory.starts_with(WHITEOUT))
        {
            return Err(refused("a whiteout is not a directory"));
        } else if name == OPAQUE {
            Meaning::Opaque
        } else if name.starts_with(AUFS) {
            Meaning::Nothing
        } else if let Some(gone) = name.strip_prefix(WHITEOUT) {
            if matches!(gone, b"" | b"." | b"..") {
                return Err(refused("a whiteout without a name"));
            }
            Meaning::Whiteout(gone.to_vec())
        } else {
            Meaning::Name(name.to_vec())
        };
        Ok(Self {
            parent: directories.join(&b'/'),
            meaning,
        })
    }
}

/// Splits a path; a leading slash and `.` are dropped, `..` is refused.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let mut components = Vec::new();
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err("its path has \"..\""),
            name if name.len() > 255 => return Err("its name is too long"),
            name => components.push(name),
        }
    }
    Ok(components)
}

fn refuse(entry: &Entry, problem: &'static str) -> UnpackError {
    UnpackError::Refused {
        path: for_display(&entry.path),
        problem,
    }
}
