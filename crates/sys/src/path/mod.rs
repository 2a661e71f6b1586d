//! Paths that an image, a container or a user controls, resolved below a root directory and never outside it.
//!
//! Every resolution is one `openat2`: `RESOLVE_IN_ROOT` (symbolic links and `..` stop at the root, as after chroot)
//! with `RESOLVE_NO_MAGICLINKS`, or `RESOLVE_BENEATH` with `RESOLVE_NO_SYMLINKS` where a link is never right.
//! Operations on the last component go through a descriptor of its parent, so that nobody can swap a directory for a
//! link between the check and the use.

mod remove;

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::error::{SyscallError, call};

/// A directory below which hostile paths are resolved.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
}

/// How often a resolution that the kernel could not decide (a rename or mount raced it) is tried again.
const RACE_TRIES: usize = 128;

impl Root {
    /// Opens `directory`, a path of our own (it is resolved as usual), as a root.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, SyscallError> {
        let path = directory.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = call!(
            rustix::fs::open(path, flags, Mode::empty()),
            "open({path:?}, {flags:?})"
        )?;
        Ok(Self { directory })
    }

    /// Returns a root for a directory that is open already.
    pub fn from_fd(directory: OwnedFd) -> Self {
        Self { directory }
    }

    /// Returns another root of the same directory.
    pub fn try_clone(&self) -> Result<Self, SyscallError> {
        let directory = call!(
            rustix::io::fcntl_dupfd_cloexec(&self.directory, 3),
            "fcntl({}, F_DUPFD_CLOEXEC)",
            self.directory.as_raw_fd()
        )?;
        Ok(Self { directory })
    }

    /// Returns the directory's descriptor.
    pub fn into_fd(self) -> OwnedFd {
        self.directory
    }

    /// Opens `path` as a process chrooted here would, without magic links; adds `CLOEXEC`.
    ///
    /// `flags` should have `NONBLOCK` (or `PATH`) unless the file is known to be no FIFO or device.
    pub fn open_in_root(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, SyscallError> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(self.directory.as_fd(), path.as_ref(), flags, mode, resolve)
    }

    /// Opens `path` below this directory; a symbolic link or a `..` that leaves it is an error. Adds `CLOEXEC`.
    ///
    /// A leading `/` is this directory.
    pub fn open_beneath(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, SyscallError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let relative = relative(path.as_ref());
        openat2(self.directory.as_fd(), &relative, flags, mode, resolve)
    }

    /// Opens the directory that holds the last component of `path` and returns it with that name.
    ///
    /// Links on the way are followed inside the root; the last component is not looked at. A path without a normal
    /// last component (`/`, `..`, `.`) is `EINVAL`.
    pub fn open_parent(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString), SyscallError> {
        let path = path.as_ref();
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(SyscallError::new(format!("open_parent({path:?})"), Errno::INVAL));
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        Ok((self.open_in_root(parent, flags, Mode::empty())?, name.to_owned()))
    }

    /// Makes the directory `path` and all that is missing above it, and returns it (an `O_PATH` descriptor).
    ///
    /// New directories get `mode` (less the umask) and the caller's ids. Existing directories and links to them are
    /// used as they are; a dangling link or a file in the way is `ENOTDIR`.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: RawMode) -> Result<OwnedFd, SyscallError> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open_in_root(path, flags, Mode::empty()) {
            Err(error) if error.errno() == Errno::NOENT => {}
            result => return result,
        }
        // The longest prefix that exists; then one component after the other, each in the directory just opened.
        let components: Vec<Component<'_>> = path.components().collect();
        let mut existing = components.len();
        let mut directory = loop {
            existing = existing.saturating_sub(1);
            let prefix: PathBuf = components[..existing].iter().collect();
            match self.open_in_root(&prefix, flags, Mode::empty()) {
                Err(error) if error.errno() == Errno::NOENT && existing > 0 => {}
                result => break result?,
            }
        };
        for component in &components[existing..] {
            match component {
                Component::Normal(name) => directory = make_directory(directory.as_fd(), name, mode)?,
                Component::CurDir | Component::RootDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(SyscallError::new(format!("mkdir_all({path:?})"), Errno::INVAL));
                }
            }
        }
        Ok(directory)
    }

    /// Returns the content of the regular file `path`, at most `limit` bytes.
    ///
    /// Links are followed inside the root. Anything but a regular file is `EINVAL` and is never opened for reading,
    /// so that a FIFO cannot block and a device cannot act; a longer file is `EFBIG`.
    pub fn read_file(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>, SyscallError> {
        let path = path.as_ref();
        let file = self.open_file(path)?;
        let mut content = Vec::new();
        std::fs::File::from(file)
            .take(limit.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|error| {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                SyscallError::new(format!("read({path:?})"), errno)
            })?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > limit {
            return Err(SyscallError::new(format!("read({path:?}, {limit})"), Errno::FBIG));
        }
        Ok(content)
    }

    /// Opens the regular file `path` for reading; anything else is `EINVAL`. Never blocks.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<OwnedFd, SyscallError> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        // A device's open can have effects of its own (a tape rewinds), so look before opening for reading.
        let seen = self.open_in_root(path, OFlags::PATH, Mode::empty())?;
        let stat = call!(rustix::fs::fstat(&seen), "fstat({path:?})")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SyscallError::new(
                format!("open({path:?}): not a regular file"),
                Errno::INVAL,
            ));
        }
        let file = self.open_in_root(path, flags, Mode::empty())?;
        let again = call!(rustix::fs::fstat(&file), "fstat({path:?})")?;
        if FileType::from_raw_mode(again.st_mode) != FileType::RegularFile {
            return Err(SyscallError::new(
                format!("open({path:?}): not a regular file"),
                Errno::INVAL,
            ));
        }
        Ok(file)
    }

    /// Returns the metadata of `path`; a symbolic link at its end is not followed.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Stat, SyscallError> {
        let path = path.as_ref();
        let file = self.open_in_root(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        call!(rustix::fs::fstat(&file), "fstat({path:?})")
    }

    /// Creates the regular file `path`, which must not exist, and returns it open for reading and writing.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: RawMode) -> Result<OwnedFd, SyscallError> {
        let (parent, name) = self.open_parent(path)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        call!(
            rustix::fs::openat(&parent, &*name, flags, Mode::from_raw_mode(mode)),
            "openat({}, {name:?}, O_CREAT|O_EXCL)",
            parent.as_raw_fd()
        )
    }

    /// Makes the symbolic link `path`, which must not exist, with the text `target`.
    pub fn symlink(&self, target: impl AsRef<OsStr>, path: impl AsRef<Path>) -> Result<(), SyscallError> {
        let (parent, name) = self.open_parent(path)?;
        let target = target.as_ref();
        call!(
            rustix::fs::symlinkat(target, &parent, &*name),
            "symlinkat({target:?}, {}, {name:?})",
            parent.as_raw_fd()
        )
    }

    /// Makes `path`, which must not exist, another name of the file `existing`; a link at its end is not followed.
    pub fn hard_link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<(), SyscallError> {
        let (from_parent, from) = self.open_parent(existing)?;
        let (parent, name) = self.open_parent(path)?;
        call!(
            rustix::fs::linkat(&from_parent, &*from, &parent, &*name, AtFlags::empty()),
            "linkat({from:?}, {name:?})"
        )
    }

    /// Renames `from` to `to`; what was there is replaced unless `flags` say otherwise.
    pub fn rename(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        flags: RenameFlags,
    ) -> Result<(), SyscallError> {
        let (from_parent, from) = self.open_parent(from)?;
        let (parent, name) = self.open_parent(to)?;
        call!(
            rustix::fs::renameat_with(&from_parent, &*from, &parent, &*name, flags),
            "renameat2({from:?}, {name:?}, {flags:?})"
        )
    }

    /// Makes the device node, FIFO or socket `path`, which must not exist.
    pub fn mknod(
        &self,
        path: impl AsRef<Path>,
        file_type: FileType,
        mode: RawMode,
        device: u64,
    ) -> Result<(), SyscallError> {
        let (parent, name) = self.open_parent(path)?;
        call!(
            rustix::fs::mknodat(&parent, &*name, file_type, Mode::from_raw_mode(mode), device),
            "mknodat({name:?}, {file_type:?}, {mode:o}, {device:#x})"
        )
    }

    /// Returns the text of the symbolic link `path`.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<OsString, SyscallError> {
        let (parent, name) = self.open_parent(path)?;
        let target = call!(
            rustix::fs::readlinkat(&parent, &*name, Vec::new()),
            "readlinkat({name:?})"
        )?;
        Ok(OsStr::from_bytes(target.as_bytes()).to_owned())
    }

    /// Removes the file, link or node `path`.
    pub fn unlink(&self, path: impl AsRef<Path>) -> Result<(), SyscallError> {
        let (parent, name) = self.open_parent(path)?;
        call!(
            rustix::fs::unlinkat(&parent, &*name, AtFlags::empty()),
            "unlinkat({name:?}, 0)"
        )
    }

    /// Removes the empty directory `path`.
    pub fn remove_dir(&self, path: impl AsRef<Path>) -> Result<(), SyscallError> {
        let (parent, name) = self.open_parent(path)?;
        call!(
            rustix::fs::unlinkat(&parent, &*name, AtFlags::REMOVEDIR),
            "unlinkat({name:?}, AT_REMOVEDIR)"
        )
    }

    /// Removes `path` and, if it is a directory, all below it; nothing to remove is success.
    ///
    /// Neither follows symbolic links nor enters another mount (RUSTSEC-2023-0018): a mount point below `path` is
    /// `EBUSY`. Deep trees need neither stack nor descriptors in proportion. Goes on after an error and returns the
    /// first one.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> Result<(), SyscallError> {
        let (parent, name) = match self.open_parent(path) {
            Err(error) if error.errno() == Errno::NOENT => return Ok(()),
            result => result?,
        };
        remove::remove_all(parent.as_fd(), &name)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// Opens `path` below `directory` by `openat2`; adds `CLOEXEC`, retries lost races.
pub fn openat2(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, SyscallError> {
    // An empty path is the directory itself; openat2 has no AT_EMPTY_PATH.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, mode, resolve) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if tries < RACE_TRIES => tries += 1,
            result => {
                return call!(
                    result,
                    "openat2({}, {path:?}, {flags:?}, {resolve:?})",
                    directory.as_raw_fd()
                );
            }
        }
    }
}

fn relative(path: &Path) -> PathBuf {
    path.components()
        .filter(|component| !matches!(component, Component::RootDir | Component::Prefix(_)))
        .collect()
}

/// Makes `name` if it is missing and opens it; a link there is not followed.
fn make_directory(parent: BorrowedFd<'_>, name: &OsStr, mode: RawMode) -> Result<OwnedFd, SyscallError> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(SyscallError::new(format!("mkdirat({name:?}, {mode:o})"), errno)),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(parent, Path::new(name), flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests;
