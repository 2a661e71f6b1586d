//! Where a copy goes and under which name: docker's rules, which are those of cp(1) with a slash that means something.

use std::io;
use std::path::{Path, PathBuf};

use super::about;
use crate::failure::Failure;

/// What is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The last part of its path; `.` means what is in it.
    pub(super) name: String,
    pub(super) is_directory: bool,
}

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) is_there: bool,
    pub(super) is_directory: bool,
}

impl Target {
    /// Looks at a path of this machine; the directory that holds it must be there.
    pub(super) fn local(path: &str) -> Result<Self, Failure> {
        let own = Path::new(path);
        match own.metadata() {
            Ok(metadata) => Ok(Self {
                path: path.to_owned(),
                is_there: true,
                is_directory: metadata.is_dir(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link to nothing is where the file will be made: its directory counts.
                let target = std::fs::read_link(own).ok().map(|target| {
                    let parent = own.parent().unwrap_or(Path::new("/"));
                    parent.join(target)
                });
                Ok(Self {
                    path: target.map_or(path.to_owned(), |target| target.display().to_string()),
                    is_there: false,
                    is_directory: false,
                })
            }
            Err(error) => Err(Failure::message(about(own, &error))),
        }
    }
}

/// Returns the directory that an archive of `source` is unpacked in, and the name that its first part gets instead of its
/// own. The texts are docker's.
pub(super) fn rename(source: &Source, target: &Target) -> Result<(String, Option<String>), Failure> {
    if target.is_there && target.is_directory {
        return Ok((target.path.clone(), None));
    }
    if target.is_there && source.is_directory {
        return Err(Failure::message("cannot copy directory"));
    }
    if !target.is_there && !source.is_directory && asserts_directory(&target.path) {
        return Err(Failure::message("no such directory"));
    }
    Ok((parent_of(&target.path), Some(base_name(&target.path))))
}

fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || base_name(path) == "."
}

/// Finds what is copied of this machine: its path, and its name in the archive.
pub(super) fn local_source(path: &str, follow: bool) -> Result<(PathBuf, Source), Failure> {
    let absolute = absolute(path)?;
    let own = Path::new(&absolute);
    let failed = |error: &io::Error| Failure::message(format!("lstat {}", about(own, error)));
    let metadata = if follow || absolute.ends_with('/') || absolute.ends_with("/.") {
        own.metadata()
    } else {
        own.symlink_metadata()
    };
    let metadata = metadata.map_err(|error| failed(&error))?;
    let real = if follow && own.is_symlink() {
        let target = std::fs::read_link(own).map_err(|error| failed(&error))?;
        let mut real = own.parent().unwrap_or(Path::new("/")).join(target);
        // A link to a link: as far as the kernel goes.
        for _ in 0..40 {
            match std::fs::read_link(&real) {
                Ok(next) => real = real.parent().unwrap_or(Path::new("/")).join(next),
                Err(_no_link) => break,
            }
        }
        real
    } else {
        own.to_owned()
    };
    if absolute.ends_with('/') && !metadata.is_dir() {
        return Err(failed(&io::Error::from(rustix::io::Errno::NOTDIR)));
    }
    Ok((
        real,
        Source {
            name: base_name(&absolute),
            is_directory: metadata.is_dir(),
        },
    ))
}

/// Refuses a place that cannot become a file.
pub(super) fn check_output(path: &str) -> Result<(), Failure> {
    use std::os::unix::fs::FileTypeExt;
    let parent = parent_of(path);
    if !Path::new(&parent).exists() {
        return Err(Failure::message(format!(
            "invalid output path: directory \"{parent}\" does not exist"
        )));
    }
    if let Ok(metadata) = Path::new(path).metadata() {
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            return Err(Failure::message("got a device"));
        }
        if kind.is_fifo() || kind.is_socket() {
            return Err(Failure::message("got an irregular file"));
        }
    }
    Ok(())
}

/// Returns the path with the working directory before it; a slash or `/.` at its end stays.
pub(super) fn absolute(path: &str) -> Result<String, Failure> {
    let from = if path.starts_with('/') {
        String::new()
    } else {
        let own =
            std::env::current_dir().map_err(|error| Failure::io("find the working directory", &error))?;
        own.display().to_string()
    };
    let whole = format!("{from}/{path}");
    let clean = clean(&whole);
    Ok(if path == "." || path.ends_with("/.") {
        format!("{}/.", clean.trim_end_matches('/'))
    } else if path.ends_with('/') && clean != "/" {
        format!("{clean}/")
    } else {
        clean
    })
}

/// Returns the path without doubled slashes, `.` and `..`, as Go's `filepath.Clean` does.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if rooted || parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

/// Returns the last part of a path; `.` if it ends so, `/` for the root.
pub(super) fn base_name(path: &str) -> String {
    if path == "." || path.ends_with("/.") {
        return ".".to_owned();
    }
    let clean = clean(path);
    match clean.rsplit_once('/') {
        Some((_, "")) => "/".to_owned(),
        Some((_, name)) => name.to_owned(),
        None => clean,
    }
}

/// Returns the directory that holds the last part of a path.
pub(super) fn parent_of(path: &str) -> String {
    let is_dot = path.ends_with("/.");
    let clean = clean(path);
    if is_dot {
        return clean;
    }
    match clean.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((parent, _)) => parent.to_owned(),
        None => ".".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_as_docker_splits_them() {
        for (path, parent, name) in [
            ("/a/b", "/a", "b"),
            ("/a/b/", "/a", "b"),
            ("/a/b/.", "/a/b", "."),
            ("/", "/", "/"),
            ("a", ".", "a"),
            (".", ".", "."),
            ("/a/../b", "/", "b"),
        ] {
            assert_eq!(
                (parent_of(path).as_str(), base_name(path).as_str()),
                (parent, name),
                "{path}"
            );
        }
        assert_eq!(absolute("/a//b/.").ok().as_deref(), Some("/a/b/."));
        assert_eq!(absolute("/a/").ok().as_deref(), Some("/a/"));
        assert_eq!(absolute("/").ok().as_deref(), Some("/"));
    }

    #[test]
    fn where_a_copy_goes() {
        let source = |is_directory| Source {
            name: "s".to_owned(),
            is_directory,
        };
        let target = |path: &str, is_there, is_directory| Target {
            path: path.to_owned(),
            is_there,
            is_directory,
        };
        let to = |source: &Source, target: &Target| rename(source, target).ok();
        let new = Some(("/d".to_owned(), Some("n".to_owned())));
        // Into a directory, it keeps its name.
        assert_eq!(
            to(&source(true), &target("/d", true, true)),
            Some(("/d".to_owned(), None))
        );
        // A new name, or over a file.
        assert_eq!(to(&source(true), &target("/d/n", false, false)), new);
        assert_eq!(to(&source(false), &target("/d/n", false, false)), new);
        assert_eq!(to(&source(false), &target("/d/n", true, false)), new);
        // A directory over a file, and a file into a directory that is not there.
        assert_eq!(to(&source(true), &target("/d/n", true, false)), None);
        assert_eq!(to(&source(false), &target("/d/n/", false, false)), None);
        assert_eq!(to(&source(true), &target("/d/n/", false, false)), new);
    }
}
