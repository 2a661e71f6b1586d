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

use std::io::Read;
use std::os::fd::BorrowedFd;

use oci::Digest;
use oci::digest::HashReader;

use crate::compression::{Compression, Decoder};
use crate::entry::{Entry, EntryKind, for_display};
use crate::error::{ReadError, UnpackError};
use crate::limits::Limits;
use crate::reader::TarReader;
use place::Unpacker;

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
    let (mut tar, compression) = open(reader, options.limits)?;
    let mut unpacker = Unpacker::new(target, options);
    while let Some(entry) = tar.next_entry()? {
        let path = Path::parse(&entry, options)?;
        unpacker.place(&entry, &path, &mut tar)?;
    }
    let lost_xattrs = unpacker.finish()?;
    Ok(UnpackSummary {
        lost_xattrs,
        ..summary(tar, compression)?
    })
}

/// Reads the archive in `reader` as [`unpack`] would for a layer, but writes nothing: finds its digest and size, and
/// whether it can be read at all.
pub fn inspect(reader: impl Read, limits: &Limits) -> Result<UnpackSummary, ReadError> {
    let (mut tar, compression) = open(reader, *limits)?;
    while tar.next_entry()?.is_some() {}
    summary(tar, compression)
}

type Tar<R> = TarReader<HashReader<Decoder<R>>>;

fn open<R: Read>(reader: R, limits: Limits) -> Result<(Tar<R>, Compression), ReadError> {
    let decoder = Decoder::new(reader).map_err(|source| ReadError::Source { offset: 0, source })?;
    let compression = decoder.compression();
    Ok((TarReader::new(HashReader::new(decoder), limits), compression))
}

fn summary<R: Read>(mut tar: Tar<R>, compression: Compression) -> Result<UnpackSummary, ReadError> {
    tar.drain()?;
    let (entries, content_bytes) = (tar.entries(), tar.content_bytes());
    let (_, diff_id, stream_bytes) = tar.into_inner().finish();
    Ok(UnpackSummary {
        diff_id,
        stream_bytes,
        content_bytes,
        entries,
        lost_xattrs: 0,
        compression,
    })
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
