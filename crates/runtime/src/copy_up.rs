//! `tmpcopyup`: a tmpfs that begins with what the directory below it holds (child).
//!
//! The directory is the image's, so nothing is opened by more than one name at a time and no link is followed.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

/// The deepest tree that is copied; each level holds two descriptors.
const DEEPEST: usize = 200;

/// Copies the content of `below` into `tree`, a new file system. `owns_mode`: whether the options of the mount say
/// nothing of the top's mode, which is then that of the directory.
pub(crate) fn fill(below: BorrowedFd<'_>, tree: BorrowedFd<'_>, owns_mode: bool) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let source = rustix::fs::openat(below, ".", flags, Mode::empty())?;
    let target = rustix::fs::openat(tree, ".", flags, Mode::empty())?;
    copy_entries(&source, &target, 0)?;
    if owns_mode {
        adopt(&target, &rustix::fs::fstat(&source)?)?;
    }
    Ok(())
}

fn copy_entries(source: &OwnedFd, target: &OwnedFd, depth: usize) -> Result<(), Errno> {
    if depth > DEEPEST {
        return Err(Errno::NAMETOOLONG);
    }
    for entry in Dir::read_from(source)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            copy_entry(source, target, entry.file_name(), depth)?;
        }
    }
    Ok(())
}

fn copy_entry(source: &OwnedFd, target: &OwnedFd, name: &CStr, depth: usize) -> Result<(), Errno> {
    let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | nofollow;
            rustix::fs::mkdirat(target, name, Mode::RWXU)?;
            let from = rustix::fs::openat(source, name, flags, Mode::empty())?;
            let to = rustix::fs::openat(target, name, flags, Mode::empty())?;
            copy_entries(&from, &to, depth + 1)?;
            adopt(&to, &stat)
        }
        FileType::RegularFile => {
            let from = rustix::fs::openat(
                source,
                name,
                OFlags::RDONLY | OFlags::NONBLOCK | nofollow,
                Mode::empty(),
            )?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | nofollow;
            let to = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
            let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
            std::io::copy(&mut from, &mut to)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            adopt(OwnedFd::from(to), &stat)
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(source, name, Vec::new())?;
            rustix::fs::symlinkat(&*link, target, name)?;
            let (uid, gid) = owner(&stat);
            rustix::fs::chownat(target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        }
        // A socket or FIFO is of no use without its process, and a device node cannot be made here.
        _ => Ok(()),
    }
}

/// Gives `file` the owner, mode and times that `stat` tells; the mode last, as a change of owner clears bits of it.
fn adopt(file: impl AsFd, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(stat);
    rustix::fs::fchown(&file, uid, gid)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |tv_sec: i64, nanos: u64| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(nanos).unwrap_or(0),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(&file, &times)
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}
