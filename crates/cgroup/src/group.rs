//! One group: a directory of the same path in every hierarchy.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;

use crate::error::CgroupError;
use crate::layout::{Controller, Hierarchy, Layout, Version};
use crate::node;

/// The group of one container, with its directories open.
pub struct Cgroup {
    layout: Layout,
    path: String,
    /// One entry per hierarchy of the layout; `None` where the group does not exist.
    directories: Vec<Option<OwnedFd>>,
}

impl Cgroup {
    /// Makes the group `path` in every hierarchy, with its parents; a group that exists already is taken over.
    ///
    /// `path` is absolute below the mounts, such as `/berth/<id>`. CPU sets are inherited on v1, and on v2 every
    /// controller of the hierarchy is enabled down to the group. After a failure nothing that this call made is left.
    pub fn create(layout: &Layout, path: &str) -> Result<Self, CgroupError> {
        check_path(path)?;
        let mut group = Self {
            layout: layout.clone(),
            path: path.to_owned(),
            directories: Vec::with_capacity(layout.hierarchies().len()),
        };
        let mut made = Vec::new();
        for hierarchy in layout.hierarchies() {
            match group.create_in(hierarchy, &mut made) {
                Ok(directory) => group.directories.push(Some(directory)),
                Err(error) => {
                    for (directory, path) in made.iter().rev() {
                        // The first error is the one to report; what cannot be removed was in use before.
                        match node::remove_directory(*directory, path) {
                            Ok(()) | Err(_) => {}
                        }
                    }
                    return Err(error);
                }
            }
        }
        Ok(group)
    }

    /// Opens the group `path` wherever it exists; an error if it exists in no hierarchy.
    pub fn open(layout: &Layout, path: &str) -> Result<Self, CgroupError> {
        check_path(path)?;
        let mut directories = Vec::with_capacity(layout.hierarchies().len());
        for hierarchy in layout.hierarchies() {
            match node::open_directory(hierarchy.directory(), relative(path)) {
                Ok(directory) => directories.push(Some(directory)),
                Err(Errno::NOENT) => directories.push(None),
                Err(source) => {
                    let path = hierarchy.mount_point().join(relative(path));
                    return Err(node::file_error("open", &path, source));
                }
            }
        }
        if directories.iter().all(Option::is_none) {
            return Err(CgroupError::NotFound {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            layout: layout.clone(),
            path: path.to_owned(),
            directories,
        })
    }

    /// Takes over the group `path` whose directories another process has opened, one for each hierarchy of the same layout;
    /// an error if there are more or fewer.
    pub fn from_directories(
        layout: &Layout,
        path: &str,
        directories: Vec<Option<OwnedFd>>,
    ) -> Result<Self, CgroupError> {
        check_path(path)?;
        if directories.len() != layout.hierarchies().len() {
            return Err(CgroupError::NotFound {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            layout: layout.clone(),
            path: path.to_owned(),
            directories,
        })
    }

    /// Returns the open directory of each hierarchy of the layout; `None` where the group does not exist.
    pub fn all_directories(&self) -> impl Iterator<Item = Option<BorrowedFd<'_>>> {
        self.directories
            .iter()
            .map(|directory| directory.as_ref().map(AsFd::as_fd))
    }

    /// Returns the path below the mounts.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the layout the group lives in.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the open directories of the group with their hierarchies.
    pub fn directories(&self) -> impl Iterator<Item = (&Hierarchy, BorrowedFd<'_>)> {
        self.layout
            .hierarchies()
            .iter()
            .zip(&self.directories)
            .filter_map(|(hierarchy, directory)| Some((hierarchy, directory.as_ref()?.as_fd())))
    }

    /// Returns the group's v2 directory, for `CLONE_INTO_CGROUP`; also on a hybrid host.
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.directories()
            .find(|(hierarchy, _)| hierarchy.version() == Version::V2)
            .map(|(_, directory)| directory)
    }

    /// Returns the group's directory of `controller`, and its version.
    pub(crate) fn directory(&self, controller: Controller) -> Option<(Version, BorrowedFd<'_>)> {
        let position = self.layout.position(controller)?;
        let directory = self.directories[position].as_ref()?;
        Some((self.layout.hierarchies()[position].version(), directory.as_fd()))
    }

    /// Returns the path of a file of the group, for messages only.
    pub(crate) fn path_for_display(&self, directory: BorrowedFd<'_>, file: &str) -> PathBuf {
        use std::os::fd::AsRawFd;
        let mount = self
            .directories()
            .find(|(_, known)| known.as_raw_fd() == directory.as_raw_fd())
            .map_or_else(PathBuf::new, |(hierarchy, _)| hierarchy.mount_point().to_owned());
        mount.join(relative(&self.path)).join(file)
    }

    /// Reads a file of the group.
    pub(crate) fn read(&self, directory: BorrowedFd<'_>, file: &str) -> Result<String, CgroupError> {
        node::read_at(directory, file)
            .map_err(|source| node::file_error("read", &self.path_for_display(directory, file), source))
    }

    /// Reads a file of the group, `None` if this kernel has no such file.
    pub(crate) fn read_optional(
        &self,
        directory: BorrowedFd<'_>,
        file: &str,
    ) -> Result<Option<String>, CgroupError> {
        match node::read_at(directory, file) {
            Ok(text) => Ok(Some(text)),
            // A file can be there and have no answer, such as pressure files with PSI switched off.
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(None),
            Err(source) => Err(node::file_error(
                "read",
                &self.path_for_display(directory, file),
                source,
            )),
        }
    }

    /// Writes a file of the group.
    pub(crate) fn write(
        &self,
        directory: BorrowedFd<'_>,
        file: &str,
        value: &str,
    ) -> Result<(), CgroupError> {
        node::write_at(directory, file, value).map_err(|source| {
            let path = self.path_for_display(directory, file);
            node::file_error(format!("write \"{}\" to", value.trim_end()), &path, source)
        })
    }

    fn create_in<'a>(
        &self,
        hierarchy: &'a Hierarchy,
        made: &mut Vec<(BorrowedFd<'a>, String)>,
    ) -> Result<OwnedFd, CgroupError> {
        let path = relative(&self.path);
        let root = hierarchy.directory();
        let fail = |call: &str, path: &str, source| {
            node::file_error(call, &hierarchy.mount_point().join(path), source)
        };
        // Mostly it is there: made by who asks for a container, and then taken over by who runs it.
        match node::open_directory(root, path) {
            Ok(directory) => return self.complete(hierarchy, directory),
            Err(Errno::NOENT) => {}
            Err(source) => return Err(fail("open", path, source)),
        }
        let result = match node::make_directory(root, path) {
            Err(Errno::NOENT) => {
                for parent in ancestors(path) {
                    match node::make_directory(root, parent) {
                        Ok(()) => made.push((root, parent.to_owned())),
                        Err(Errno::EXIST) => {}
                        Err(source) => return Err(fail("create", parent, source)),
                    }
                }
                node::make_directory(root, path)
            }
            result => result,
        };
        match result {
            Ok(()) => made.push((root, path.to_owned())),
            Err(Errno::EXIST) => {}
            Err(source) => return Err(fail("create", path, source)),
        }
        let directory = node::open_directory(root, path).map_err(|source| fail("open", path, source))?;
        self.complete(hierarchy, directory)
    }

    /// Makes a group's directory one that processes can be put into.
    fn complete(&self, hierarchy: &Hierarchy, directory: OwnedFd) -> Result<OwnedFd, CgroupError> {
        let path = relative(&self.path);
        if hierarchy.version() == Version::V2 {
            enable_controllers(hierarchy, path, directory.as_fd())?;
        } else if hierarchy.has(Controller::Cpuset) {
            inherit_cpuset(hierarchy, path, directory.as_fd())?;
        }
        Ok(directory)
    }
}

impl fmt::Debug for Cgroup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Cgroup({})", self.path)
    }
}

/// Refuses every path that is not absolute, is the root, or could leave it.
pub(crate) fn check_path(path: &str) -> Result<(), CgroupError> {
    let good = path.len() < 4096
        && path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|component| {
                !matches!(component, "" | "." | "..")
                    && !component.contains(['\0', '\n'])
                    && component.len() < 256
            })
        });
    if good {
        Ok(())
    } else {
        Err(CgroupError::InvalidPath {
            path: path.chars().take(200).collect(),
        })
    }
}

/// Returns the path without its leading slash, as `*at` calls need it.
pub(crate) fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

/// Returns the proper ancestors of a relative path, the shortest first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Gives a v1 cpuset group the CPUs and memory nodes of its parent: the kernel lets no process into an empty set.
///
/// `cgroup.clone_children` in the parent makes the kernel do it for every later child, so that this costs two reads
/// per container.
fn inherit_cpuset(hierarchy: &Hierarchy, path: &str, directory: BorrowedFd<'_>) -> Result<(), CgroupError> {
    const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];
    let fail =
        |call: &str, path: &str, source| node::file_error(call, &hierarchy.mount_point().join(path), source);
    let is_empty = |directory: BorrowedFd<'_>, path: &str, file: &str| {
        node::read_at(directory, file)
            .map(|text| text.trim().is_empty())
            .map_err(|source| fail("read", &format!("{path}/{file}"), source))
    };
    if !is_empty(directory, path, FILES[0])? && !is_empty(directory, path, FILES[1])? {
        return Ok(());
    }
    let root = hierarchy.directory();
    let mut parent = node::open_directory(root, ".").map_err(|source| fail("open", "", source))?;
    for step in ancestors(path).chain(std::iter::once(path)) {
        let own = node::open_directory(root, step).map_err(|source| fail("open", step, source))?;
        for file in FILES {
            if is_empty(own.as_fd(), step, file)? {
                let value = node::read_at(parent.as_fd(), file)
                    .map_err(|source| fail("read the parent of", &format!("{step}/{file}"), source))?;
                node::write_at(own.as_fd(), file, value.trim())
                    .map_err(|source| fail("write", &format!("{step}/{file}"), source))?;
            }
        }
        if step != path {
            node::write_at(own.as_fd(), "cgroup.clone_children", "1")
                .map_err(|source| fail("write", &format!("{step}/cgroup.clone_children"), source))?;
        }
        parent = own;
    }
    Ok(())
}

/// Enables every controller of the v2 hierarchy in the group's ancestors, if it is not yet.
fn enable_controllers(
    hierarchy: &Hierarchy,
    path: &str,
    directory: BorrowedFd<'_>,
) -> Result<(), CgroupError> {
    const FILE: &str = "cgroup.subtree_control";
    let fail = |call: String, path: &str, source| {
        node::file_error(call, &hierarchy.mount_point().join(path), source)
    };
    if hierarchy.controllers().is_empty() {
        return Ok(());
    }
    let missing = |directory: BorrowedFd<'_>, path: &str, file: &str| -> Result<String, CgroupError> {
        let text = node::read_at(directory, file)
            .map_err(|source| fail("read".to_owned(), &format!("{path}/{file}"), source))?;
        let present: Vec<&str> = text.split_whitespace().collect();
        Ok(hierarchy
            .controllers()
            .iter()
            .map(|controller| v2_name(*controller))
            .filter(|name| !present.contains(name))
            .map(|name| format!("+{name} "))
            .collect())
    };
    if missing(directory, path, "cgroup.controllers")?.is_empty() {
        return Ok(());
    }
    for step in std::iter::once(".").chain(ancestors(path)) {
        let own = node::open_directory(hierarchy.directory(), step)
            .map_err(|source| fail("open".to_owned(), step, source))?;
        let wanted = missing(own.as_fd(), step, FILE)?;
        if wanted.is_empty() || node::write_at(own.as_fd(), FILE, wanted.trim_end()).is_ok() {
            continue;
        }
        // All or nothing did not work: one by one. A controller that cannot be enabled here (realtime processes, an
        // ancestor with processes of its own) is missed by the limit that needs it, which names it.
        for one in wanted.split_whitespace() {
            match node::write_at(own.as_fd(), FILE, one) {
                Ok(()) | Err(Errno::INVAL | Errno::BUSY | Errno::NOENT | Errno::OPNOTSUPP) => {}
                Err(source) => {
                    return Err(fail(
                        format!("write \"{one}\" to"),
                        &format!("{step}/{FILE}"),
                        source,
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Returns the name of a controller on v2.
fn v2_name(controller: Controller) -> &'static str {
    match controller {
        Controller::Io => "io",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_below_the_root() {
        for path in [
            "", "/", "berth", "/berth/", "/a//b", "/a/../b", "/.", "/a\nb", "//",
        ] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        for path in ["/berth", "/berth/x", "/a/b/c:d"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
        assert_eq!(ancestors("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
    }
}
