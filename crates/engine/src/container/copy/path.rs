//! The path that a client names, read as docker reads it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use base::clock::Timestamp;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat};
use rustix::io::Errno;
use sys::SyscallError;
use sys::path::Root;

use super::PathFacts;
use crate::container::changes::FilesError;

/// Most links on the way to one path, as in the kernel.
const MOST_LINKS: usize = 40;

/// A path in a container: absolute, without `.`, `..` and doubled slashes but for one `/` or `/.` at its end, which says
/// that it must be a directory and that a link is followed.
#[derive(Debug)]
pub(super) struct CopyPath {
    /// As it was given.
    given: String,
    /// `/a/b`.
    clean: String,
    follow: bool,
    name: String,
}

/// What a path leads to.
#[derive(Debug)]
pub(super) struct Found {
    /// The directory that holds it; itself, if it is a directory.
    pub(super) parent: OwnedFd,
    /// Its name in there; `None`: it is `parent` itself.
    pub(super) name: Option<std::ffi::CString>,
    /// What it is.
    pub(super) stat: Stat,
}

impl CopyPath {
    pub(super) fn parse(given: &str) -> Result<Self, FilesError> {
        if given.is_empty() {
            return Err(FilesError::Invalid {
                text: "bad parameter: path cannot be empty".to_owned(),
            });
        }
        if given.len() > 4096 || given.contains('\0') {
            return Err(FilesError::Invalid {
                text: "bad parameter: path is too long or has a NUL".to_owned(),
            });
        }
        let mut parts: Vec<&str> = Vec::new();
        for part in given.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let is_dot = given == "." || given.ends_with("/.");
        let name = if is_dot {
            "."
        } else {
            parts.last().copied().unwrap_or("/")
        };
        Ok(Self {
            clean: format!("/{}", parts.join("/")),
            follow: is_dot || given.ends_with('/') || parts.is_empty(),
            name: name.to_owned(),
            given: given.to_owned(),
        })
    }

    /// Returns the name that it has in an archive.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Finds what it leads to; a link at its end is itself unless a slash follows.
    pub(super) fn find(&self, root: &Root) -> Result<Found, SyscallError> {
        let stat_of = |fd: &OwnedFd| {
            fstat(fd).map_err(|errno| SyscallError::new(format!("fstat({:?})", self.clean), errno))
        };
        if self.follow {
            let parent = self.open_directory(root)?;
            let stat = stat_of(&parent)?;
            return Ok(Found {
                parent,
                name: None,
                stat,
            });
        }
        let (parent, name) = root.open_parent(&self.clean)?;
        let parent = Root::from_fd(parent);
        let node = parent.open_beneath(&name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty());
        let node = match node {
            // What `openat2` says of a link that it may not follow.
            Err(error) if error.errno() == Errno::LOOP => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                rustix::fs::openat(parent.as_fd(), &*name, flags, Mode::empty())
                    .map_err(|errno| SyscallError::new(format!("openat({name:?})"), errno))?
            }
            other => other?,
        };
        let stat = stat_of(&node)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(Found {
                parent: node,
                name: None,
                stat,
            });
        }
        let name = std::os::unix::ffi::OsStrExt::as_bytes(&*name);
        let name = std::ffi::CString::new(name)
            .map_err(|_nul| SyscallError::new(format!("open({:?})", self.clean), Errno::INVAL))?;
        Ok(Found {
            parent: parent.into_fd(),
            name: Some(name),
            stat,
        })
    }

    /// Opens it as a directory; links are followed.
    pub(super) fn open_directory(&self, root: &Root) -> Result<OwnedFd, SyscallError> {
        root.open_in_root(&self.clean, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    pub(super) fn facts(&self, root: &Root, found: &Found) -> Result<PathFacts, FilesError> {
        let stat = &found.stat;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        Ok(PathFacts {
            name: self.name.clone(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode,
            modified: Timestamp::from_unix(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            link_target: if is_link {
                self.resolve(root)
            } else {
                String::new()
            },
        })
    }

    /// Returns where it leads when all links are followed, as far as there is something. It is a name to show and to
    /// compare: what is opened is opened in the root again.
    pub(super) fn resolve(&self, root: &Root) -> String {
        let split = |path: &str| -> Vec<String> {
            let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
            parts.rev().map(str::to_owned).collect()
        };
        let mut todo = split(&self.clean);
        let (mut done, mut links): (Vec<String>, usize) = (Vec::new(), 0);
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            let path = format!("/{}/{part}", done.join("/"));
            match root.read_link(&path) {
                Ok(target) if links < MOST_LINKS => {
                    links += 1;
                    let target = target.to_string_lossy().into_owned();
                    if target.starts_with('/') {
                        done.clear();
                    }
                    todo.extend(split(&target));
                }
                _ => done.push(part),
            }
        }
        format!("/{}", done.join("/"))
    }

    /// Returns docker's text for a path that is not there.
    pub(super) fn missing(&self, container: &str, error: SyscallError) -> FilesError {
        match error.errno() {
            Errno::NOENT | Errno::NOTDIR => FilesError::NotFound {
                text: format!(
                    "Could not find the file {} in container {container}",
                    shown(&self.given)
                ),
            },
            _ => FilesError::Invalid {
                text: format!("cannot open {}: {error}", shown(&self.given)),
            },
        }
    }

    /// Returns docker's text for a directory that is not there, or none.
    pub(super) fn missing_directory(&self, container: &str, error: SyscallError) -> FilesError {
        match error.errno() {
            Errno::NOTDIR => FilesError::Invalid {
                text: "extraction point is not a directory".to_owned(),
            },
            _ => self.missing(container, error),
        }
    }
}

/// Returns whether a path of ours is below another.
pub(super) fn shown(path: &str) -> String {
    path.chars().take(300).filter(|c| !c.is_control()).collect()
}

/// Joins the resolved target directory and a path in an archive.
pub(super) fn below(directory: &str, path: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(directory).join(std::ffi::OsStr::from_bytes(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_docker_reads_them() {
        for (given, clean, follow, name) in [
            ("/dir", "/dir", false, "dir"),
            ("/dir/", "/dir", true, "dir"),
            ("/dir/.", "/dir", true, "."),
            ("dir/../x", "/x", false, "x"),
            ("/", "/", true, "/"),
            (".", "/", true, "."),
            ("/../..", "/", true, "/"),
            ("../a", "/a", false, "a"),
        ] {
            let path = CopyPath::parse(given).unwrap();
            assert_eq!(
                (path.clean.as_str(), path.follow, path.name.as_str()),
                (clean, follow, name),
                "{given}"
            );
        }
        assert!(CopyPath::parse("").is_err());
        assert!(CopyPath::parse("a\0b").is_err());
    }
}
