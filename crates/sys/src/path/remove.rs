//! Removing a tree that somebody hostile may still be changing.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use crate::error::{SyscallError, call};
use crate::path::openat2;

/// Below this depth a directory is first renamed up to the top, so that the number of open descriptors is bounded.
const MAX_DEPTH: usize = 64;

/// A directory on the way down, and what it is called in the one above.
struct Level {
    directory: OwnedFd,
    name: OsString,
}

pub(super) fn remove_all(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), SyscallError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // EISDIR is Linux's answer for a directory; EPERM is POSIX's and that of some file systems.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(SyscallError::new(format!("unlinkat({name:?}, 0)"), errno)),
    }
    let mut first_error = None;
    if let Err(error) = empty(parent, name, &mut first_error) {
        first_error.get_or_insert(error);
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(first_error
            .unwrap_or_else(|| SyscallError::new(format!("unlinkat({name:?}, AT_REMOVEDIR)"), errno))),
    }
}

/// Removes everything below the directory `name`, depth first with an explicit stack.
fn empty(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    first_error: &mut Option<SyscallError>,
) -> Result<(), SyscallError> {
    let mut stack = vec![Level {
        directory: open_directory(parent, name)?,
        name: name.to_owned(),
    }];
    let mut moved_up = 0u64;
    // Directories that could not be removed are not entered again: each round must make the level smaller.
    while let Some(level) = stack.last() {
        let subdirectory = remove_files(level.directory.as_fd(), first_error)?;
        let Some(subdirectory) = subdirectory else {
            let Some(done) = stack.pop() else { break };
            if let Some(above) = stack.last() {
                remove_directory(above.directory.as_fd(), &done.name)?;
            }
            continue;
        };
        if stack.len() >= MAX_DEPTH {
            moved_up += 1;
            let top = stack[0].directory.as_fd();
            let mut name = OsString::from(format!(".berth-removing-{moved_up}-"));
            name.push(base::id::random_hex::<8>().unwrap_or_default());
            call!(
                rustix::fs::renameat(&level.directory, &*subdirectory, top, &*name),
                "renameat({subdirectory:?}, {name:?})"
            )?;
            continue;
        }
        let directory = match open_directory(level.directory.as_fd(), &subdirectory) {
            // Swapped for something else since it was listed: the next round sees what it is now.
            Err(error) if matches!(error.errno(), Errno::NOTDIR | Errno::LOOP | Errno::NOENT) => continue,
            result => result?,
        };
        stack.push(Level {
            directory,
            name: subdirectory,
        });
    }
    Ok(())
}

/// Removes everything but directories from `directory`; returns one of the directories that are left.
fn remove_files(
    directory: BorrowedFd<'_>,
    first_error: &mut Option<SyscallError>,
) -> Result<Option<OsString>, SyscallError> {
    call!(
        rustix::fs::seek(directory, rustix::fs::SeekFrom::Start(0)),
        "lseek(0)"
    )?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = call!(entry, "getdents64()")?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => {
                match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
                    Err(errno) => return Err(SyscallError::new(format!("unlinkat({name:?})"), errno)),
                }
            }
            Err(errno) => {
                let error = SyscallError::new(format!("unlinkat({name:?})"), errno);
                first_error.get_or_insert(error);
            }
        }
    }
    Ok(None)
}

fn remove_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), SyscallError> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        // Somebody who put something new there loses the race in the next round.
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(SyscallError::new(
            format!("unlinkat({name:?}, AT_REMOVEDIR)"),
            errno,
        )),
    }
}

/// Opens a directory of the same mount; a mount point is `EBUSY`.
fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, SyscallError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(parent, Path::new(name), flags, Mode::empty(), resolve) {
        Err(error) if error.errno() == Errno::XDEV => {
            Err(SyscallError::new(error.call().to_owned(), Errno::BUSY))
        }
        result => result,
    }
}
