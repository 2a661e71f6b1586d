//! The hierarchies of this host: which are mounted where, and which controller is in which.
//!
//! Sources: proc(5) for the form of `/proc/self/mountinfo`, cgroups(7) for the super options of cgroup mounts.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::DetectError;

/// A version of the cgroup interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller (or set of controllers).
    V1,
    /// One hierarchy for all.
    V2,
}

/// How a host uses the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only v1.
    Legacy,
    /// Controllers on v1, and v2 mounted beside.
    Hybrid,
    /// Only v2.
    Unified,
}

/// A resource controller; `Io` is v1's `blkio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Controller {
    /// CPU time.
    Cpu,
    /// CPU accounting (v1; part of every v2 group).
    Cpuacct,
    /// CPUs and memory nodes.
    Cpuset,
    /// Memory.
    Memory,
    /// Device nodes (v1; a BPF program on v2).
    Devices,
    /// Freezing (v1; part of every v2 group).
    Freezer,
    /// Block devices.
    Io,
    /// Number of tasks.
    Pids,
    /// Huge pages.
    Hugetlb,
    /// Network class (v1).
    NetCls,
    /// Network priority (v1).
    NetPrio,
    /// Performance events.
    PerfEvent,
    /// RDMA.
    Rdma,
    /// Miscellaneous.
    Misc,
}

impl Controller {
    const NAMES: [(&'static str, Self); 15] = [
        ("cpu", Self::Cpu),
        ("cpuacct", Self::Cpuacct),
        ("cpuset", Self::Cpuset),
        ("memory", Self::Memory),
        ("devices", Self::Devices),
        ("freezer", Self::Freezer),
        ("blkio", Self::Io),
        ("io", Self::Io),
        ("pids", Self::Pids),
        ("hugetlb", Self::Hugetlb),
        ("net_cls", Self::NetCls),
        ("net_prio", Self::NetPrio),
        ("perf_event", Self::PerfEvent),
        ("rdma", Self::Rdma),
        ("misc", Self::Misc),
    ];

    /// Returns the controller that the kernel calls `name`, on either version.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, controller)| *controller)
    }

    /// Returns the kernel's name on v1 (`blkio`, not `io`).
    pub fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, controller)| *controller == self)
            .map_or("unknown", |(name, _)| *name)
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One mounted hierarchy.
#[derive(Debug)]
pub struct Hierarchy {
    version: Version,
    controllers: Vec<Controller>,
    name: Option<String>,
    mount_point: PathBuf,
    directory: OwnedFd,
}

impl Hierarchy {
    /// Returns its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the controllers it carries; empty for a named v1 hierarchy.
    pub fn controllers(&self) -> &[Controller] {
        &self.controllers
    }

    /// Returns the name of a named v1 hierarchy, such as `systemd`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns where it is mounted.
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Returns the open mount point.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Returns whether the hierarchy carries `controller`.
    pub fn has(&self, controller: Controller) -> bool {
        self.controllers.contains(&controller)
    }
}

/// All hierarchies of this host; cheap to clone, kept for the life of a process.
#[derive(Clone, Debug)]
pub struct Layout {
    hierarchies: Arc<[Hierarchy]>,
}

impl Layout {
    /// Finds and opens the hierarchies that this process sees.
    pub fn detect() -> Result<Self, DetectError> {
        let path = Path::new("/proc/self/mountinfo");
        let table = std::fs::read_to_string(path).map_err(|source| DetectError::MountTable {
            path: path.to_owned(),
            source,
        })?;
        Self::from_mountinfo(&table, Path::new("/"))
    }

    /// Finds the hierarchies in the text of a mountinfo file, their mount points being taken below `root`.
    ///
    /// The first mount of a hierarchy counts; a later bind mount of it (a container's, for example) does not.
    pub fn from_mountinfo(table: &str, root: &Path) -> Result<Self, DetectError> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mount in table.lines().filter_map(CgroupMount::parse) {
            let path = root.join(mount.mount_point.trim_start_matches('/'));
            let seen = hierarchies.iter().any(|known| match mount.version {
                Version::V2 => known.version == Version::V2,
                Version::V1 => {
                    known.version == Version::V1
                        && known.controllers == mount.controllers
                        && known.name == mount.name
                }
            });
            if seen {
                continue;
            }
            let open = |source: rustix::io::Errno| DetectError::Open {
                path: path.clone(),
                source: source.into(),
            };
            let directory = crate::node::open_directory(rustix::fs::CWD, &path).map_err(open)?;
            let controllers = match mount.version {
                Version::V1 => mount.controllers,
                Version::V2 => {
                    let text = crate::node::read_at(directory.as_fd(), "cgroup.controllers").map_err(open)?;
                    let mut controllers: Vec<Controller> = text
                        .split_whitespace()
                        .filter_map(Controller::from_name)
                        .collect();
                    controllers.dedup();
                    controllers
                }
            };
            hierarchies.push(Hierarchy {
                version: mount.version,
                controllers,
                name: mount.name,
                mount_point: path,
                directory,
            });
        }
        if hierarchies.is_empty() {
            return Err(DetectError::NoHierarchy);
        }
        Ok(Self {
            hierarchies: hierarchies.into(),
        })
    }

    /// Returns how this host uses the two versions.
    pub fn mode(&self) -> Mode {
        let any = |version| {
            self.hierarchies
                .iter()
                .any(|hierarchy| hierarchy.version == version)
        };
        match (any(Version::V1), any(Version::V2)) {
            (true, true) => Mode::Hybrid,
            (false, _) => Mode::Unified,
            (true, false) => Mode::Legacy,
        }
    }

    /// Returns every hierarchy, in the order of the mount table.
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// Returns the hierarchy that carries `controller`.
    pub fn find(&self, controller: Controller) -> Option<&Hierarchy> {
        self.position(controller)
            .map(|position| &self.hierarchies[position])
    }

    /// Returns the v2 hierarchy, with or without controllers.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|hierarchy| hierarchy.version == Version::V2)
    }

    /// Returns the version that carries `controller`, `None` if the host has no such controller.
    ///
    /// On a v2-only host [`Controller::Devices`], [`Controller::Freezer`] and [`Controller::Cpuacct`], which are no
    /// controllers there, are answered with [`Version::V2`].
    pub fn version_of(&self, controller: Controller) -> Option<Version> {
        if let Some(hierarchy) = self.find(controller) {
            return Some(hierarchy.version);
        }
        let implied = matches!(
            controller,
            Controller::Devices | Controller::Freezer | Controller::Cpuacct
        );
        (implied && self.unified().is_some()).then_some(Version::V2)
    }

    pub(crate) fn position(&self, controller: Controller) -> Option<usize> {
        self.hierarchies
            .iter()
            .position(|hierarchy| hierarchy.has(controller))
    }
}

/// A line of the mount table that is a cgroup mount.
struct CgroupMount {
    version: Version,
    controllers: Vec<Controller>,
    name: Option<String>,
    mount_point: String,
}

impl CgroupMount {
    /// Parses `31 23 0:28 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu`.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mount_point = unescape(before.split(' ').nth(4)?);
        let mut after = after.split(' ');
        let version = match after.next()? {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => return None,
        };
        let options = after.nth(1)?;
        let mut mount = Self {
            version,
            controllers: Vec::new(),
            name: None,
            mount_point,
        };
        if version == Version::V1 {
            for option in options.split(',') {
                if let Some(name) = option.strip_prefix("name=") {
                    mount.name = Some(name.to_owned());
                } else {
                    mount.controllers.extend(Controller::from_name(option));
                }
            }
        }
        Some(mount)
    }
}

/// Replaces the kernel's `\\040` for a blank and its kin, as proc(5) has them.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                rest = &after[3..];
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_mount_table() {
        let line =
            "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct";
        let mount = CgroupMount::parse(line).unwrap();
        assert_eq!(mount.controllers, [Controller::Cpu, Controller::Cpuacct]);
        assert_eq!(mount.mount_point, "/sys/fs/cgroup/cpu,cpuacct");
        let line = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,name=systemd";
        assert_eq!(CgroupMount::parse(line).unwrap().name.as_deref(), Some("systemd"));
        for line in [
            "",
            "a - b",
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw",
            "1 2 3 - cgroup",
        ] {
            assert!(CgroupMount::parse(line).is_none(), "{line}");
        }
    }

    #[test]
    fn names_go_both_ways() {
        for (name, controller) in Controller::NAMES {
            assert_eq!(Controller::from_name(name), Some(controller));
        }
        assert_eq!(Controller::Io.to_string(), "blkio");
    }
}
