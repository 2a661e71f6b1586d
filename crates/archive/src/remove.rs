//! Removes trees that may be as deep as their maker liked, without following a link or crossing a mount.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, renameat, unlinkat};
use rustix::io::Errno;

/// Directories that are held open at once. What lies deeper is moved up first, so that neither the stack nor the table
/// of descriptors is a limit.
const OPEN_LEVELS: usize = 48;

/// Removes what `name` in `parent` names, if anything: a file, a link itself, or a whole tree. Directories are opened
/// one by one below `parent` and never through a link; a mount inside is an error.
pub fn remove_tree(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    let parent = parent.as_fd();
    let mut moved = 0u64;
    let mut queue = vec![CString::new(name)?];
    while let Some(name) = queue.pop() {
        remove_level(parent, parent, &name, OPEN_LEVELS, &mut moved, &mut queue)?;
    }
    Ok(())
}

fn remove_level(
    top: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &CString,
    levels: usize,
    moved: &mut u64,
    queue: &mut Vec<CString>,
) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    if levels == 0 {
        return move_up(top, parent, name, moved, queue);
    }
    let directory = open_below(parent, name)?;
    for child in children(&directory)? {
        remove_level(top, directory.as_fd(), &child, levels - 1, moved, queue)?;
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn move_up(
    top: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &CString,
    moved: &mut u64,
    queue: &mut Vec<CString>,
) -> io::Result<()> {
    *moved += 1;
    let random = base::id::random_hex::<8>()?;
    let new = CString::new(format!(".berth-remove-{moved}-{random}"))?;
    renameat(parent, name, top, &new)?;
    queue.push(new);
    Ok(())
}

fn open_below(parent: BorrowedFd<'_>, name: &CString) -> io::Result<OwnedFd> {
    Ok(openat2(
        parent,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )?)
}

/// Returns the names in a directory, in no order.
pub(crate) fn children(directory: impl AsFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for item in Dir::read_from(directory)? {
        let item = item?;
        if !matches!(item.file_name().to_bytes(), b"." | b"..") {
            names.push(item.file_name().to_owned());
        }
    }
    Ok(names)
}

/// Removes the tree at `path`, a path of Berth's own, if it is there.
pub fn remove_tree_at(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a path below a directory",
        ));
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, parent, flags, Mode::empty()) {
        Ok(parent) => remove_tree(parent, name.as_bytes()),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns whether a mode from `stat` is a directory's.
pub(crate) fn is_directory(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_trees_and_links_go_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let outside = temporary.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::create_dir(outside.join("kept")).unwrap();
        let top = temporary.path().join("tree");
        std::fs::create_dir(&top).unwrap();
        std::os::unix::fs::symlink(&outside, top.join("link")).unwrap();
        // Far deeper than a path may be long.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut directory = rustix::fs::open(&top, flags, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&directory, "directory", Mode::from(0o755)).unwrap();
            directory = rustix::fs::openat(&directory, "directory", flags, Mode::empty()).unwrap();
        }
        remove_tree_at(&top).unwrap();
        assert!(!top.exists());
        assert!(outside.join("kept").exists());
        remove_tree_at(&top).unwrap();
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
    }
}
