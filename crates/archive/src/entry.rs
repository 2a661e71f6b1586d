//! One member of an archive.

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file with content.
    File,
    /// Another name of a file that came before; `link` is that file's path.
    HardLink,
    /// A symbolic link to `link`.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One member of an archive, with all its extension headers applied. Names are bytes as they were written, without NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The member's path as it was written: it may be absolute or have `..`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky (`0o7777`).
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// Time of last change: seconds since the Unix epoch, and nanoseconds.
    pub mtime: (i64, u32),
    /// The logical size of a regular file in bytes; 0 for all else.
    pub size: u64,
    /// The target of a link.
    pub link: Vec<u8>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes by their full names.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where a sparse file has data: offset and length, ascending. The archive holds only these bytes.
    pub sparse: Option<Vec<(u64, u64)>>,
}

impl Entry {
    /// Returns an entry without content, links and attributes, owned by root and changed at the epoch.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind, mode: u32) -> Self {
        Self {
            path: path.into(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
            size: 0,
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// Returns how many bytes of content the archive holds.
    pub fn stored_size(&self) -> u64 {
        match &self.sparse {
            Some(map) => map.iter().map(|(_, length)| length).sum(),
            None => self.size,
        }
    }

    /// Returns the path for messages: printable and not too long.
    pub fn path_for_display(&self) -> String {
        for_display(&self.path)
    }
}

/// Returns bytes from an archive for messages: printable and not too long.
pub(crate) fn for_display(path: &[u8]) -> String {
    let end = path.len().min(200);
    let text = String::from_utf8_lossy(&path[..end]);
    let mut printed: String = text.chars().flat_map(char::escape_debug).collect();
    if end < path.len() {
        printed.push('…');
    }
    printed
}
