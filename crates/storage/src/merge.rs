//! What an image holds, seen through all its layers without mounting them.
//!
//! The rules are overlay's: the topmost layer that has a name decides; a whiteout ends the search; a directory goes on
//! below unless it is opaque or something else than a directory is there.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, Stat, fgetxattr, fstat, mkdirat, readlinkat, statat};
use rustix::io::Errno;

use crate::driver::CopyOutcome;
use crate::tree::{
    Copier, check_depth, copy_directory_attributes, is_directory, is_whiteout, join, names, open_directory,
};

/// Most links on the way to one directory, as in the kernel.
const MAX_LINKS: usize = 40;

/// Copies the merged directory `path` into `target`; `layers` are the layers' roots, topmost first.
pub(crate) fn copy_directory(
    layers: Vec<OwnedFd>,
    path: &Path,
    target: BorrowedFd<'_>,
) -> io::Result<CopyOutcome> {
    let Some(directory) = find(Merged::root(layers), path)? else {
        return Ok(CopyOutcome::Absent);
    };
    let mut copier = Copier::new(target, None);
    copy(&mut copier, &directory, target, b"", 0)?;
    Ok(CopyOutcome::Copied)
}

/// One directory, as the layers that have it hold it, topmost first; never empty.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) layers: Vec<OwnedFd>,
    /// Whether the first of them is a container's writable part.
    pub(crate) has_upper: bool,
}

/// What a merged directory has under a name.
pub(crate) enum Found {
    Nothing,
    Directory(Merged),
    /// Not a directory: in which of the layers, and what.
    Other(usize, Box<Stat>),
}

impl Merged {
    /// Returns the root of layers, topmost first.
    pub(crate) fn root(layers: Vec<OwnedFd>) -> Self {
        let mut own = Self {
            layers: Vec::new(),
            has_upper: false,
        };
        for layer in layers {
            let last = is_opaque(layer.as_fd());
            own.layers.push(layer);
            if last {
                break;
            }
        }
        own
    }

    /// Returns the root of a container: its writable part above layers, topmost first.
    pub(crate) fn with_upper(upper: OwnedFd, layers: Vec<OwnedFd>) -> Self {
        let mut all = vec![upper];
        all.extend(layers);
        Self {
            has_upper: true,
            ..Self::root(all)
        }
    }

    pub(crate) fn find(&self, name: &CStr) -> io::Result<Found> {
        let mut merged = Self {
            layers: Vec::new(),
            has_upper: false,
        };
        for (at, layer) in self.layers.iter().enumerate() {
            let stat = match statat(layer, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            if is_directory(&stat) {
                let directory = open_directory(layer, name)?;
                let last = is_opaque(directory.as_fd());
                if at == 0 && self.has_upper {
                    refuse_redirect(directory.as_fd())?;
                    merged.has_upper = true;
                }
                merged.layers.push(directory);
                if last {
                    break;
                }
            } else if merged.layers.is_empty() && !is_whiteout(&stat) {
                return Ok(Found::Other(at, Box::new(stat)));
            } else {
                break;
            }
        }
        Ok(if merged.layers.is_empty() {
            Found::Nothing
        } else {
            Found::Directory(merged)
        })
    }

    /// Returns all names, sorted; some may turn out to be nothing.
    pub(crate) fn names(&self) -> io::Result<Vec<CString>> {
        let mut seen = HashSet::new();
        for layer in &self.layers {
            seen.extend(names(layer)?);
        }
        let mut all: Vec<CString> = seen.into_iter().collect();
        all.sort();
        Ok(all)
    }
}

pub(crate) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0u8; 2];
    matches!(fgetxattr(directory, "trusted.overlay.opaque", &mut value[..]), Ok(1) if value[0] == b'y')
}

/// With `redirect_dir=on`, which no kernel has by itself, a renamed directory of a lower layer would be found elsewhere.
fn refuse_redirect(directory: BorrowedFd<'_>) -> io::Result<()> {
    let mut value = [0u8; 0];
    match fgetxattr(directory, "trusted.overlay.redirect", &mut value[..]) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the overlay module of this host redirects directories (redirect_dir=on)",
        )),
        Err(_none) => Ok(()),
    }
}

/// Follows `path` from the image's root; links lead nowhere outside.
fn find(root: Merged, path: &Path) -> io::Result<Option<Merged>> {
    let mut stack = vec![root];
    let mut todo: Vec<Vec<u8>> = split(path.as_os_str().as_bytes());
    let mut links = 0;
    while let Some(name) = todo.pop() {
        if name == b".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let Some(directory) = stack.last() else {
            return Ok(None);
        };
        let name = CString::new(name)?;
        match directory.find(&name)? {
            Found::Nothing => return Ok(None),
            Found::Directory(next) => stack.push(next),
            Found::Other(layer, stat) => {
                if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::Symlink {
                    return Ok(None);
                }
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::from(Errno::LOOP));
                }
                let target = readlinkat(&directory.layers[layer], &name, Vec::new())?.into_bytes();
                if target.starts_with(b"/") {
                    stack.truncate(1);
                }
                todo.extend(split(&target));
            }
        }
    }
    Ok(stack.pop())
}

/// Returns the components of a path, last first.
fn split(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

fn copy(
    copier: &mut Copier<'_>,
    directory: &Merged,
    target: BorrowedFd<'_>,
    path: &[u8],
    depth: usize,
) -> io::Result<()> {
    check_depth(depth)?;
    for name in directory.names()? {
        match directory.find(&name)? {
            Found::Nothing => {}
            Found::Other(layer, stat) => {
                copier.copy_file(directory.layers[layer].as_fd(), target, &name, path, &stat)?;
            }
            Found::Directory(child) => {
                mkdirat(target, &name, Mode::from(0o700))?;
                let made = open_directory(target, &name)?;
                copy(copier, &child, made.as_fd(), &join(path, &name), depth + 1)?;
            }
        }
    }
    let Some(top) = directory.layers.first() else {
        return Ok(());
    };
    copy_directory_attributes(top.as_fd(), target, &fstat(top)?)
}
