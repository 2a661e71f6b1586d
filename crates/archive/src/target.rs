//! The directory that is unpacked into: parents are found below it, whatever links an archive made.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, fchmod, mkdirat, openat2};
use rustix::io::Errno;

/// Mode of directories that an archive forgot to mention.
const MISSING_PARENT: u32 = 0o755;

/// A directory and the last parent that was opened below it: archives list a directory's members together.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    root: BorrowedFd<'a>,
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Target<'a> {
    pub(crate) fn new(root: BorrowedFd<'a>) -> Self {
        Self { root, last: None }
    }

    /// Forgets the parent that is kept open. Needed whenever a directory or a link may have gone or changed.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Opens the directory `path` (components joined by `/`; empty for the target itself), resolving links as if the
    /// target were the root of the file system.
    pub(crate) fn open(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.root);
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let directory = open_in(self.root, path)?;
            self.last = Some((path.to_vec(), directory));
        }
        match &self.last {
            Some((_, directory)) => Ok(directory.as_fd()),
            None => Ok(self.root),
        }
    }

    /// Opens the directory `path` and makes what is missing of it.
    pub(crate) fn open_or_make(&mut self, path: &[u8]) -> io::Result<BorrowedFd<'_>> {
        match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => return self.open(path),
        }
        let mut end = 0;
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end = path[start..]
                .iter()
                .position(|&byte| byte == b'/')
                .map_or(path.len(), |at| start + at);
            match open_in(self.root, &path[..end]) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(_) => continue,
            }
            let parent = match start {
                0 => None,
                _ => Some(open_in(self.root, &path[..start - 1])?),
            };
            let parent = parent.as_ref().map_or(self.root, AsFd::as_fd);
            // A dangling link is in the way here: it exists, and is refused.
            mkdirat(parent, &path[start..end], Mode::from(MISSING_PARENT))?;
            let made = open_directory(parent, &path[start..end])?;
            fchmod(&made, Mode::from(MISSING_PARENT))?;
        }
        self.open(path)
    }
}

fn open_in(root: BorrowedFd<'_>, path: &[u8]) -> io::Result<OwnedFd> {
    loop {
        let opened = openat2(
            root,
            path,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
        );
        match opened {
            // A rename somewhere on the machine disturbed the walk.
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Opens the directory `name` itself in `parent`: never a link, never something below.
pub(crate) fn open_directory(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    Ok(openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )?)
}
