//! The directory that is unpacked into: parents are found below it, whatever links an archive made.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat2};
use rustix::io::Errno;

/// Mode of directories that an archive forgot to mention.
const MISSING_PARENT: u32 = 0o755;

/// A directory and the last parent that was opened below it: archives list a directory's members together.
#[derive(Debug)]
pub(crate) struct Target {
    root: Rc<Directory>,
    last: Option<(Vec<u8>, Rc<Directory>)>,
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// Whether what is made in it belongs to group 0 whoever makes it: it is not set-group-id, and its own group is 0,
    /// for mounts where files have the group of their directory.
    pub(crate) gives_group_0: bool,
}

impl Directory {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        Ok(Self {
            fd,
            gives_group_0: stat.st_gid == 0 && stat.st_mode & 0o2000 == 0,
        })
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Target {
    pub(crate) fn new(root: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            root: Rc::new(Directory::new(root.try_clone_to_owned()?)?),
            last: None,
        })
    }

    /// Forgets the parent that is kept open. Needed whenever a directory or a link may have gone or changed.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Looks at the root again: its owner or mode was changed.
    pub(crate) fn refresh_root(&mut self) -> io::Result<()> {
        self.root = Rc::new(Directory::new(self.root.fd.try_clone()?)?);
        Ok(())
    }

    /// Forgets the kept parent if it is `path`.
    pub(crate) fn forget_path(&mut self, path: &[u8]) {
        if self.last.as_ref().is_some_and(|(last, _)| last == path) {
            self.last = None;
        }
    }

    /// Opens the directory `path` (components joined by `/`; empty for the target itself), resolving links as if the
    /// target were the root of the file system.
    pub(crate) fn open(&mut self, path: &[u8]) -> io::Result<Rc<Directory>> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((last, directory)) = &self.last
            && last == path
        {
            return Ok(Rc::clone(directory));
        }
        let directory = Rc::new(Directory::new(open_in(self.root.as_fd(), path)?)?);
        self.last = Some((path.to_vec(), Rc::clone(&directory)));
        Ok(directory)
    }

    /// Opens the directory `path` and makes what is missing of it.
    pub(crate) fn open_or_make(&mut self, path: &[u8]) -> io::Result<Rc<Directory>> {
        match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let root = Rc::clone(&self.root);
        let mut end = 0;
        while end < path.len() {
            let start = if end == 0 { 0 } else { end + 1 };
            end = path[start..]
                .iter()
                .position(|&byte| byte == b'/')
                .map_or(path.len(), |at| start + at);
            match open_in(root.as_fd(), &path[..end]) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(_) => continue,
            }
            let parent = match start {
                0 => None,
                _ => Some(open_in(root.as_fd(), &path[..start - 1])?),
            };
            let parent = parent.as_ref().map_or(root.as_fd(), AsFd::as_fd);
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
