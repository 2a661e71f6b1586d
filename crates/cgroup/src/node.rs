//! Files and directories of a hierarchy, always reached through an open directory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::path::Arg;

/// Opens a directory below `parent` without following a link in its last component.
pub(crate) fn open_directory(parent: BorrowedFd<'_>, path: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry(|| {
        rustix::fs::openat(
            parent,
            path.as_str().map_err(|_no_text| Errno::INVAL)?,
            flags,
            Mode::empty(),
        )
    })
}

/// Opens the file `name` for writing.
pub(crate) fn open_write(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry(|| rustix::fs::openat(directory, name, flags, Mode::empty()))
}

/// Opens the file `name` for reading.
pub(crate) fn open_read(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    retry(|| rustix::fs::openat(directory, name, flags, Mode::empty()))
}

/// Returns the content of the file `name`.
pub(crate) fn read_at(directory: BorrowedFd<'_>, name: &str) -> Result<String, Errno> {
    let file = open_read(directory, name)?;
    read_all(file.as_fd())
}

/// Returns what is left to read of `file`; bytes that are no UTF-8 are replaced.
pub(crate) fn read_all(file: BorrowedFd<'_>) -> Result<String, Errno> {
    let mut content = Vec::new();
    let mut buffer = [0u8; 4096];
    loop {
        let count = retry(|| rustix::io::read(file, &mut buffer))?;
        if count == 0 {
            break;
        }
        content.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8(content)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Writes `value` to the file `name` in one call, as cgroup files need it.
pub(crate) fn write_at(directory: BorrowedFd<'_>, name: &str, value: &str) -> Result<(), Errno> {
    let file = open_write(directory, name)?;
    write_all(file.as_fd(), value)
}

/// Writes `value` to `file` in one call.
pub(crate) fn write_all(file: BorrowedFd<'_>, value: &str) -> Result<(), Errno> {
    let count = retry(|| rustix::io::write(file, value.as_bytes()))?;
    if count == value.len() {
        Ok(())
    } else {
        Err(Errno::IO)
    }
}

/// Makes the directory `path` with mode 0755.
pub(crate) fn make_directory(parent: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    retry(|| rustix::fs::mkdirat(parent, path, Mode::from_raw_mode(0o755)))
}

/// Removes the empty group `path`.
pub(crate) fn remove_directory(parent: BorrowedFd<'_>, path: &str) -> Result<(), Errno> {
    retry(|| rustix::fs::unlinkat(parent, path, rustix::fs::AtFlags::REMOVEDIR))
}

/// Returns the names of the groups directly below `directory`.
pub(crate) fn children(directory: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    names(directory, FileType::Directory)
}

/// Returns the names of the entries of `directory` that are of `kind`.
pub(crate) fn names(directory: BorrowedFd<'_>, kind: FileType) -> Result<Vec<String>, Errno> {
    // A second open file: the position of the directory's own must not move.
    let directory = open_directory(directory, ".")?;
    let mut buffer = Vec::with_capacity(8192);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_type() == kind
            && let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Runs `call` again as long as a signal interrupts it.
pub(crate) fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Returns the error of a call on a file, with its path for the message.
pub(crate) fn file_error(call: impl Into<String>, path: &Path, source: Errno) -> crate::CgroupError {
    crate::CgroupError::File {
        call: call.into(),
        path: path.to_owned(),
        source: io::Error::from(source),
    }
}
