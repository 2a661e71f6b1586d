//! How much an archive may cost.

/// Bounds on what unpacking an archive may cost. Each is checked before it is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of all regular files together, sparse holes not counted.
    pub content_bytes: u64,
    /// Bytes of the uncompressed tar stream.
    pub stream_bytes: u64,
    /// The logical size of one sparse file in bytes.
    pub sparse_bytes: u64,
    /// Directories below one another.
    pub depth: usize,
    /// Extended attributes of one entry, and the bytes of one value.
    pub xattrs: usize,
    /// Bytes of one attribute's value.
    pub xattr_bytes: usize,
}

impl Limits {
    /// For a layer of an image: generous to every real one, and finite.
    pub const LAYER: Self = Self {
        entries: 4_000_000,
        content_bytes: 256 << 30,
        stream_bytes: 272 << 30,
        sparse_bytes: 8 << 40,
        depth: 512,
        xattrs: 256,
        xattr_bytes: 64 << 10,
    };
}
