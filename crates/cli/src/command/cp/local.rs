//! Files of this machine, from and to an archive. What comes is the word of a daemon that may be hostile: nothing is made
//! outside of the directory that was named, and no link is followed that leads anywhere (CP-06).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use archive::{Entry, EntryKind, IdShift, Limits, PackError, Packer, Sparse, TarReader};
use base::error::chain;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, fchmod, fstat, futimens,
    linkat, mkdirat, open, openat, openat2, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use super::about;

/// Deepest tree that is packed.
const MOST_DEPTH: usize = 512;

/// Packs the file or directory at `path` as `name`; returns the bytes of its files.
pub(super) fn pack(path: &Path, name: &str, target: impl Write) -> Result<u64, String> {
    let mut packer = Packer::new(target, Sparse::Fill);
    let failed = |error: io::Error| about(path, &error);
    let metadata = path.symlink_metadata().map_err(failed)?;
    let name = name.as_bytes();
    let packed = if metadata.is_dir() || path.as_os_str().as_bytes().ends_with(b"/.") {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        directory_into(&mut packer, directory.as_fd(), name, 0)
    } else {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = open(parent, flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        let own = path.file_name().unwrap_or_default().as_bytes();
        let own = CString::new(own).map_err(|error| error.to_string())?;
        let stat = statat(&parent, &own, AtFlags::SYMLINK_NOFOLLOW).map_err(|error| failed(error.into()))?;
        packer.file(parent.as_fd(), &own, name, &stat, &IdShift::none())
    };
    packed
        .and_then(|()| packer.finish())
        .map(|summary| summary.content_bytes)
        .map_err(|error| chain(&error).to_string())
}

fn directory_into<W: Write>(
    packer: &mut Packer<W>,
    directory: BorrowedFd<'_>,
    path: &[u8],
    depth: usize,
) -> Result<(), PackError> {
    let failed = |doing: &'static str, error: io::Error| PackError::Read {
        doing,
        path: path.escape_ascii().to_string(),
        source: error,
    };
    if depth > MOST_DEPTH {
        return Err(failed(
            "copy",
            io::Error::new(io::ErrorKind::InvalidData, "the tree is too deep"),
        ));
    }
    let ids = IdShift::none();
    let stat = fstat(directory).map_err(|error| failed("look at", error.into()))?;
    packer.directory(directory, path, &stat, &ids)?;
    let mut names: Vec<CString> = Vec::new();
    for item in Dir::read_from(directory).map_err(|error| failed("list", error.into()))? {
        let item = item.map_err(|error| failed("list", error.into()))?;
        if !matches!(item.file_name().to_bytes(), b"." | b"..") {
            names.push(item.file_name().to_owned());
        }
    }
    names.sort();
    for name in names {
        let child = [path, b"/", name.to_bytes()].concat();
        let stat = match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(failed("look into", error.into())),
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let own = openat(directory, &name, flags, Mode::empty())
                .map_err(|error| failed("open what is in", error.into()))?;
            directory_into(packer, own.as_fd(), &child, depth + 1)?;
        } else {
            packer.file(directory, &name, &child, &stat, &ids)?;
        }
    }
    Ok(())
}

/// Unpacks an archive in `directory`; the first part of its names is replaced. Files belong to whoever runs this. Returns
/// the bytes of its files.
pub(super) fn unpack(
    archive: impl Read,
    directory: &str,
    rename: Option<&(String, String)>,
) -> Result<u64, String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        open(directory, flags, Mode::empty()).map_err(|error| about(Path::new(directory), &error.into()))?;
    let mut tar = TarReader::new(archive, Limits::LAYER);
    let mut times = Vec::new();
    while let Some(entry) = tar.next_entry().map_err(|error| chain(&error).to_string())? {
        let name = |path: &[u8]| {
            components(path, rename).ok_or_else(|| refused(&entry, "its path leaves the directory"))
        };
        let path = name(&entry.path)?;
        let link = match entry.kind {
            EntryKind::HardLink => name(&entry.link)?,
            _ => Vec::new(),
        };
        place(root.as_fd(), &entry, &path, &link, &mut tar, &mut times).map_err(|error| match error {
            Problem::Text(text) => text,
            Problem::Io(error) => about(&Path::new(directory).join(entry.path_for_display()), &error),
        })?;
    }
    for (directory, mtime) in times {
        futimens(directory, &timestamps(mtime)).ok();
    }
    Ok(tar.content_bytes())
}

enum Problem {
    Text(String),
    Io(io::Error),
}

impl<E: Into<io::Error>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

fn place<R: Read>(
    root: BorrowedFd<'_>,
    entry: &Entry,
    path: &[Vec<u8>],
    link: &[Vec<u8>],
    content: &mut TarReader<R>,
    times: &mut Vec<(OwnedFd, (i64, u32))>,
) -> Result<(), Problem> {
    let Some((name, parents)) = path.split_last() else {
        return if entry.kind == EntryKind::Directory {
            Ok(())
        } else {
            Err(Problem::Text(refused(entry, "it has no name")))
        };
    };
    let parent = open_parent(root, parents)?;
    let present = statat(&parent, &name[..], AtFlags::SYMLINK_NOFOLLOW).ok();
    let is_directory = present.map(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    let wanted = entry.kind == EntryKind::Directory;
    match is_directory {
        Some(true) if !wanted => {
            let text = format!(
                "cannot overwrite directory \"{}\" with non-directory",
                entry.path_for_display()
            );
            return Err(Problem::Text(text));
        }
        Some(false) if wanted => {
            let text = format!(
                "cannot overwrite non-directory \"{}\" with directory",
                entry.path_for_display()
            );
            return Err(Problem::Text(text));
        }
        Some(false) => rustix::fs::unlinkat(&parent, &name[..], AtFlags::empty())?,
        Some(true) | None => {}
    }
    match entry.kind {
        EntryKind::Directory => {
            if is_directory.is_none() {
                mkdirat(&parent, &name[..], Mode::from(0o700))?;
            }
            let own = open_below(parent.as_fd(), name)?;
            // The bits of other users' rights only: a daemon has no business with setuid files here.
            fchmod(&own, Mode::from(entry.mode & 0o1777))?;
            if times.len() < 256 {
                times.push((own, entry.mtime));
            }
        }
        EntryKind::File => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&parent, &name[..], flags, Mode::from(0o600))?);
            match &entry.sparse {
                None => copy(content, &mut file, entry.size)?,
                Some(map) => {
                    for &(offset, length) in map {
                        file.seek(SeekFrom::Start(offset))?;
                        copy(content, &mut file, length)?;
                    }
                    file.set_len(entry.size)?;
                }
            }
            fchmod(&file, Mode::from(entry.mode))?;
            futimens(&file, &timestamps(entry.mtime))?;
        }
        EntryKind::Symlink => {
            symlinkat(&entry.link[..], &parent, &name[..])?;
            utimensat(
                &parent,
                &name[..],
                &timestamps(entry.mtime),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        EntryKind::HardLink => {
            let Some((target, directories)) = link.split_last() else {
                return Err(Problem::Text(refused(entry, "its target has no name")));
            };
            let from = open_parent(root, directories)?;
            linkat(&from, &target[..], &parent, &name[..], AtFlags::empty())?;
        }
        EntryKind::Fifo => rustix::fs::mknodat(
            &parent,
            &name[..],
            FileType::Fifo,
            Mode::from(entry.mode & 0o777),
            0,
        )?,
        EntryKind::CharDevice | EntryKind::BlockDevice => {
            return Err(Problem::Text(refused(entry, "devices are not copied")));
        }
    }
    Ok(())
}

/// Opens a directory below `root`, making what is missing; a link on the way is an error.
fn open_parent(root: BorrowedFd<'_>, path: &[Vec<u8>]) -> io::Result<OwnedFd> {
    let mut directory = root.try_clone_to_owned()?;
    for name in path {
        directory = match open_below(directory.as_fd(), name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                mkdirat(&directory, &name[..], Mode::from(0o755))?;
                open_below(directory.as_fd(), name)?
            }
            other => other?,
        };
    }
    Ok(directory)
}

fn open_below(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(parent, name, flags, Mode::empty(), resolve) {
        // Hosts before Linux 5.6: one step, itself not followed, is the same.
        Err(Errno::NOSYS) => Ok(openat(parent, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Splits a path, with its first part replaced; `None` if it has `..`. The old name `.` or `/` is that of an archive of
/// what is in a directory: the new one is put before it.
fn components(path: &[u8], rename: Option<&(String, String)>) -> Option<Vec<Vec<u8>>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part => parts.push(part.to_vec()),
        }
    }
    if let Some((old, new)) = rename {
        if matches!(old.as_str(), "." | "/") {
            parts.insert(0, new.as_bytes().to_vec());
        } else if parts.first().is_some_and(|first| first == old.as_bytes()) {
            parts[0] = new.as_bytes().to_vec();
        }
    }
    let is_plain = |part: &Vec<u8>| !matches!(&part[..], b"." | b"/");
    Some(parts.into_iter().filter(is_plain).collect())
}

fn copy<R: Read>(content: &mut TarReader<R>, file: &mut File, bytes: u64) -> io::Result<()> {
    if io::copy(&mut content.take(bytes), file)? == bytes {
        Ok(())
    } else {
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

fn timestamps(mtime: (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.0,
        tv_nsec: mtime.1.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn refused(entry: &Entry, problem: &str) -> String {
    format!("refuse \"{}\": {problem}", entry.path_for_display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::TarWriter;

    fn tar(entries: &[Entry]) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        for entry in entries {
            writer.append(entry, &mut &b"evil!"[..]).unwrap();
        }
        writer.finish().unwrap()
    }

    fn file(path: &str) -> Entry {
        let mut entry = Entry::new(path, EntryKind::File, 0o644);
        entry.size = 5;
        entry
    }

    fn link(path: &str, kind: EntryKind, target: &str) -> Entry {
        let mut entry = Entry::new(path, kind, 0o777);
        entry.link = target.as_bytes().to_vec();
        entry
    }

    /// CP-06: whatever a daemon sends, nothing is made outside of the directory that was named.
    #[test]
    fn cp_06_nothing_is_unpacked_outside() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        let outside = place.path().join("outside");
        for directory in [&target, &outside] {
            std::fs::create_dir(directory).unwrap();
        }
        let out = outside.to_str().unwrap();
        for entries in [
            vec![file("../escaped")],
            vec![file("a/../../escaped")],
            vec![link("l", EntryKind::Symlink, out), file("l/escaped")],
            vec![link("m", EntryKind::Symlink, "../outside"), file("m/escaped")],
            vec![link("n", EntryKind::HardLink, "../outside/x")],
            vec![
                link("o", EntryKind::Symlink, &format!("{out}/escaped")),
                file("o"),
                link("p", EntryKind::HardLink, "o/x"),
            ],
        ] {
            drop(unpack(&tar(&entries)[..], target.to_str().unwrap(), None));
        }
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        let names: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
        assert_eq!(names.len(), 2);
    }

    #[test]
    fn names_are_replaced() {
        let parts = |path: &str, old: &str, new: &str| {
            let rename = (old.to_owned(), new.to_owned());
            let parts = components(path.as_bytes(), Some(&rename)).unwrap();
            String::from_utf8(parts.join(&b'/')).unwrap()
        };
        assert_eq!(parts("a/b", "a", "n"), "n/b");
        assert_eq!(parts("./b", ".", "n"), "n/b");
        assert_eq!(parts("/b", "/", "n"), "n/b");
        assert_eq!(parts("./", ".", "n"), "n");
        assert_eq!(parts("x/a", "a", "n"), "x/a");
    }

    #[test]
    fn there_and_back() {
        let place = tempfile::tempdir().unwrap();
        let source = place.path().join("source");
        std::fs::create_dir_all(source.join("sub")).unwrap();
        base::file::create_new(&source.join("sub/file"), 0o640)
            .unwrap()
            .write_all(b"hello")
            .unwrap();
        std::os::unix::fs::symlink("sub/file", source.join("link")).unwrap();
        let mut bytes = Vec::new();
        assert_eq!(pack(&source, "renamed", &mut bytes).unwrap(), 5);
        let target = place.path().join("target");
        std::fs::create_dir(&target).unwrap();
        unpack(&bytes[..], target.to_str().unwrap(), None).unwrap();
        let file = target.join("renamed/link");
        assert_eq!(std::fs::read(file).unwrap(), b"hello");
    }
}
