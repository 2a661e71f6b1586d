//! From a container's path to an archive.

use std::ffi::{CStr, CString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use archive::{PackError, Packer, Sparse, is_of_kernel};
use base::error::Kinded;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, statat};
use rustix::io::Errno;

use super::path::Found;
use super::root::Sight;
use crate::container::changes::FilesError;

/// Deepest tree that is copied; each level holds a descriptor open.
const MOST_DEPTH: usize = 512;

/// Writes what was found, and all below it, as `name`.
pub(super) fn collect(
    sight: &Sight,
    found: &Found,
    name: &str,
    target: impl Write,
) -> Result<(), FilesError> {
    let mut walk = Walk {
        sight,
        // Holes become zeros: docker's clients do not know them.
        packer: Packer::new(target, Sparse::Fill),
    };
    let written = match &found.name {
        Some(own) => walk.packer.file(
            found.parent.as_fd(),
            own,
            name.as_bytes(),
            &found.stat,
            &sight.ids,
        ),
        None => walk.top(found, name.trim_end_matches('/')),
    };
    written
        .and_then(|()| walk.packer.finish())
        .map(drop)
        .map_err(|error| match error.kind() {
            // The client went away.
            base::error::Kind::Cancelled => FilesError::Invalid {
                text: error.to_string(),
            },
            _ => FilesError::Unsupported {
                text: base::error::chain(&error).to_string(),
            },
        })
}

struct Walk<'a, W: Write> {
    sight: &'a Sight,
    packer: Packer<W>,
}

impl<W: Write> Walk<'_, W> {
    fn top(&mut self, found: &Found, name: &str) -> Result<(), PackError> {
        // It was opened without the right to read it.
        let directory = open_directory(found.parent.as_fd(), c".")
            .map_err(|error| read("open", name.as_bytes(), error))?;
        self.directory(directory.as_fd(), name.as_bytes(), &found.stat, 0)
    }

    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
        depth: usize,
    ) -> Result<(), PackError> {
        if depth > MOST_DEPTH {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the tree is too deep");
            return Err(read("copy", path, error));
        }
        self.packer.directory(directory, path, stat, &self.sight.ids)?;
        if is_of_kernel(directory) {
            return Ok(());
        }
        let mut names = names(directory).map_err(|error| read("list", path, error))?;
        names.sort();
        for name in names {
            let child_path = [path, b"/", name.to_bytes()].concat();
            let stat = match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // A running program took it away.
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(read("look at", &child_path, error.into())),
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                self.packer
                    .file(directory, &name, &child_path, &stat, &self.sight.ids)?;
                continue;
            }
            let child = match open_directory(directory, &name) {
                Ok(child) => child,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) =>
                {
                    continue;
                }
                Err(error) => return Err(read("open", &child_path, error)),
            };
            // What was opened counts, not what was there before.
            let stat = fstat(&child).map_err(|error| read("look at", &child_path, error.into()))?;
            self.directory(child.as_fd(), &child_path, &stat, depth + 1)?;
        }
        Ok(())
    }
}

/// Opens the directory `name` itself in `parent`, never through a link; mounts of the container are entered.
fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(parent, name, flags, Mode::empty(), resolve)?)
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for item in Dir::read_from(directory)? {
        let item = item?;
        if !matches!(item.file_name().to_bytes(), b"." | b"..") {
            names.push(item.file_name().to_owned());
        }
    }
    Ok(names)
}

fn read(doing: &'static str, path: &[u8], source: io::Error) -> PackError {
    PackError::Read {
        doing,
        path: path.escape_ascii().to_string(),
        source,
    }
}
