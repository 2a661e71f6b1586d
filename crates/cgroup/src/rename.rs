//! Giving a group another name: a group made ahead of time becomes a container's.
//!
//! Making a directory in a v1 hierarchy costs 20 to 50 µs (the kernel makes every control file), renaming one 8 µs.
//! v2 has no renaming, so there the group is made anew and the old one removed.

use rustix::io::Errno;

use crate::error::CgroupError;
use crate::group::{Cgroup, check_path, relative};
use crate::layout::Version;
use crate::node;

impl Cgroup {
    /// Gives an empty group another name below the same parent; limits and device rules stay on v1.
    ///
    /// On v2 the group starts without limits: what has to hold there is set afterwards. After a failure the group may
    /// have the new name in some hierarchies: remove both paths.
    pub fn rename(self, path: &str) -> Result<Self, CgroupError> {
        check_path(path)?;
        let parent = |path: &str| path.rsplit_once('/').map(|(parent, _)| parent.to_owned());
        if parent(path) != parent(self.path()) {
            return Err(CgroupError::InvalidPath {
                path: path.to_owned(),
            });
        }
        let old = self.path().to_owned();
        for (hierarchy, _) in self.directories() {
            let (root, from, to) = (hierarchy.directory(), relative(&old), relative(path));
            let fail = |call: &str, path: &str, source: Errno| {
                node::file_error(call, &hierarchy.mount_point().join(path), source)
            };
            match hierarchy.version() {
                Version::V1 => rustix::fs::renameat(root, from, root, to)
                    .map_err(|source| fail(&format!("rename to \"{path}\""), from, source))?,
                Version::V2 => {
                    node::remove_directory(root, from).map_err(|source| fail("remove", from, source))?;
                }
            }
        }
        self.renamed(path)
    }
}
