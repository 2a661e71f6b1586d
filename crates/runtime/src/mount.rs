//! The mounts of the document: who makes each of them, and those that the parent makes.
//!
//! The parent is real root in the host's namespaces: it clones bind sources, shifts their ids, makes the tmpfs of
//! `/dev` (a device node works only on a file system that the initial user namespace owns) and whatever the child's
//! user namespace may not make. The child makes the file systems that belong to its namespaces. Both make them
//! detached; the child attaches all of them in the order of the document, see [`crate::rootfs`].

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use oci_spec::runtime::{Mount, Spec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::SyscallError;
use sys::clone::CloneFlags;
use sys::mount::{Attributes, Change, Depth, Propagation, mount_setattr};

use crate::error::{AtStep, CreateError, Result, Step};
use crate::namespace::Namespaces;
use crate::option::{IdmapOption, MountOptions};
use crate::request::BindIds;

/// The type of a mount of our own: `/dev/shm` of the process whose directory in /proc is the source. The kernel binds only
/// what is in the caller's mount namespace, so this one is taken from within that process's.
pub const JOINED_SHM: &str = "shm";

/// One mount to attach.
#[derive(Debug)]
pub(crate) struct PlannedMount {
    /// Where, as the document says; resolved inside the new root.
    pub(crate) destination: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) options: MountOptions,
    /// Whether it becomes read-only only when everything inside has its place, see [`crate::rootfs::finish`].
    pub(crate) read_only_later: bool,
}

/// What is mounted and who makes it.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A file system that the child makes in its namespaces.
    Child {
        file_system: CString,
        /// Whether it can be made before the child's ids are mapped.
        before_mapped: bool,
    },
    /// A file system that the parent makes as real root.
    Parent { file_system: CString },
    /// Our own `/dev`.
    Dev,
    /// A part of the host's tree.
    Bind { source: PathBuf, depth: Depth },
    /// The memory of `/dev/shm` of the container with this process (`/proc/PID`).
    JoinedShm { process: PathBuf },
    /// A directory of the container's own cgroup; an index into the cgroup's directories.
    Cgroup { index: usize },
}

impl Kind {
    /// Returns whether it is a new file system without content, so that nobody has put links into it.
    pub(crate) fn is_empty_tmpfs(&self) -> bool {
        match self {
            Self::Dev => true,
            Self::Child { file_system, .. } => file_system.as_c_str() == c"tmpfs",
            _ => false,
        }
    }

    /// Returns whether its root is a directory for sure.
    pub(crate) fn is_directory(&self) -> bool {
        matches!(
            self,
            Self::Dev | Self::Child { .. } | Self::Cgroup { .. } | Self::JoinedShm { .. }
        )
    }

    /// Returns whether the parent makes it.
    pub(crate) fn is_parents(&self) -> bool {
        !matches!(self, Self::Child { .. })
    }
}

/// Sorts the mounts of the document.
pub(crate) fn plan(
    spec: &Spec,
    namespaces: &Namespaces,
    cgroup: Option<&Cgroup>,
) -> Result<Vec<PlannedMount>> {
    let listed = spec.mounts().as_deref().unwrap_or_default();
    let mut planned = Vec::with_capacity(listed.len() + 12);
    for mount in listed {
        let destination = mount.destination();
        if destination.as_os_str().is_empty() {
            return Err(CreateError::spec("a mount has no destination"));
        }
        if is_path(destination, "/") {
            return Err(CreateError::unsupported("a mount at \"/\""));
        }
        let options = MountOptions::parse(mount.options().as_deref().unwrap_or_default())?;
        plan_one(mount, options, namespaces, cgroup, &mut planned)?;
    }
    let has_dev = planned.iter().any(|mount| is_path(&mount.destination, "/dev"));
    if !has_dev {
        // The document's default devices need a place that the image cannot prepare.
        let options = ["nosuid", "strictatime", "mode=755", "size=65536k"].map(str::to_owned);
        planned.insert(
            0,
            PlannedMount {
                destination: PathBuf::from("/dev"),
                kind: Kind::Dev,
                options: MountOptions::parse(&options)?,
                read_only_later: false,
            },
        );
    }
    Ok(planned)
}

fn plan_one(
    mount: &Mount,
    mut options: MountOptions,
    namespaces: &Namespaces,
    cgroup: Option<&Cgroup>,
    planned: &mut Vec<PlannedMount>,
) -> Result<()> {
    let destination = mount.destination().clone();
    let file_system = mount.typ().as_deref().unwrap_or_default();
    let bind = options
        .bind
        .or_else(|| matches!(file_system, "bind" | "rbind").then_some(Depth::Recursive));
    let source = || mount.source().clone().unwrap_or_default();
    let own_user = namespaces.has_user();
    let kind = if let Some(depth) = bind {
        Kind::Bind {
            source: source(),
            depth,
        }
    } else {
        match file_system {
            "tmpfs" if is_path(&destination, "/dev") => Kind::Dev,
            "proc" if own_user && !namespaces.is_own(CloneFlags::NEWPID) => host_bind("/proc", &mut options),
            "sysfs" if own_user && !namespaces.owns(CloneFlags::NEWNET) => {
                // Whoever does not own the network namespace may not mount its sysfs; the host's shows nothing more
                // than a container without a user namespace sees, and is read-only all the way down.
                options.set_all |= Attributes::RDONLY;
                host_bind("/sys", &mut options)
            }
            "mqueue" if own_user && !namespaces.owns(CloneFlags::NEWIPC) => parent(file_system)?,
            "proc" | "sysfs" | "mqueue" => child(file_system, true)?,
            "devpts" | "tmpfs" => child(file_system, false)?,
            JOINED_SHM => Kind::JoinedShm { process: source() },
            "cgroup" | "cgroup2" => {
                return plan_cgroup(destination, options, namespaces, cgroup, planned);
            }
            "" => {
                return Err(CreateError::spec(format!(
                    "the mount at {destination:?} has neither a type nor the option \"bind\""
                )));
            }
            _ => {
                let source = source();
                if !source.as_os_str().is_empty() {
                    let source = source.to_string_lossy().into_owned();
                    options.data.insert(0, ("source".to_owned(), Some(source)));
                }
                parent(file_system)?
            }
        }
    };
    if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
        return Err(CreateError::unsupported(&format!(
            "a map of ids of its own for the mount at {destination:?}"
        )));
    }
    let is_tmpfs = matches!(&kind, Kind::Child { file_system, .. } if file_system.as_c_str() == c"tmpfs");
    if options.copy_up && !is_tmpfs {
        return Err(CreateError::spec(format!(
            "the mount at {destination:?} is no tmpfs, but has the option \"tmpcopyup\""
        )));
    }
    // What has to be filled first is made writable.
    let read_only_later =
        (matches!(kind, Kind::Dev) || options.copy_up) && options.set.contains(Attributes::RDONLY);
    if options.copy_up {
        options.set.0 &= !Attributes::RDONLY.0;
    }
    planned.push(PlannedMount {
        destination,
        kind,
        options,
        read_only_later,
    });
    Ok(())
}

/// The container's own cgroup at `destination`: the v2 file system, or on v1 and hybrid hosts a tmpfs with one
/// directory per hierarchy, all of them what the container's cgroup namespace shows as `/`.
fn plan_cgroup(
    destination: PathBuf,
    options: MountOptions,
    namespaces: &Namespaces,
    cgroup: Option<&Cgroup>,
    planned: &mut Vec<PlannedMount>,
) -> Result<()> {
    // The caller wants no cgroup for the container: it has nothing to show there, and the host's tree is not shown.
    let Some(cgroup) = cgroup else {
        return Ok(());
    };
    let names: Vec<Option<PathBuf>> = cgroup
        .directories()
        .map(|(hierarchy, _)| hierarchy.mount_point().file_name().map(PathBuf::from))
        .collect();
    let only_unified = matches!(
        cgroup.directories().collect::<Vec<_>>().as_slice(),
        [(hierarchy, _)] if hierarchy.version() == cgroup::Version::V2
    );
    if only_unified {
        // With a namespace of its own the root of a new mount is the container's cgroup; without, its directory is
        // bound in place of the host's whole tree.
        let kind = if namespaces.is_new(CloneFlags::NEWCGROUP) {
            child("cgroup2", false)?
        } else {
            Kind::Cgroup { index: 0 }
        };
        planned.push(PlannedMount {
            destination,
            kind,
            options,
            read_only_later: false,
        });
        return Ok(());
    }
    let base = ["mode=755", "nosuid", "nodev", "noexec", "size=64k"].map(str::to_owned);
    planned.push(PlannedMount {
        destination: destination.clone(),
        kind: child("tmpfs", false)?,
        options: MountOptions::parse(&base)?,
        read_only_later: options.set.contains(Attributes::RDONLY),
    });
    for (index, name) in names.into_iter().enumerate() {
        let Some(name) = name else { continue };
        let mut options = options.clone();
        options.data.clear();
        planned.push(PlannedMount {
            destination: destination.join(name),
            kind: Kind::Cgroup { index },
            options,
            read_only_later: false,
        });
    }
    Ok(())
}

fn child(file_system: &str, before_mapped: bool) -> Result<Kind> {
    Ok(Kind::Child {
        file_system: c_string(file_system)?,
        before_mapped,
    })
}

fn parent(file_system: &str) -> Result<Kind> {
    Ok(Kind::Parent {
        file_system: c_string(file_system)?,
    })
}

fn host_bind(path: &str, options: &mut MountOptions) -> Kind {
    options.data.clear();
    options.idmap = Some(IdmapOption::Never);
    Kind::Bind {
        source: PathBuf::from(path),
        depth: Depth::Recursive,
    }
}

/// Returns whether `path` is `other`, whatever slashes and dots it is written with.
pub(crate) fn is_path(path: &Path, other: &str) -> bool {
    path.components().eq(Path::new(other).components())
}

pub(crate) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|error| CreateError::spec(format!("{text:?}: {error}")))
}

/// What the parent needs to make its mounts.
#[derive(Debug)]
pub(crate) struct Maker<'a> {
    pub(crate) namespaces: &'a Namespaces,
    /// The container's user namespace, if it is not the host's.
    pub(crate) user_namespace: Option<BorrowedFd<'a>>,
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) bind_ids: BindIds,
    pub(crate) warnings: Vec<String>,
}

impl Maker<'_> {
    /// Makes one of the parent's mounts, detached; `None` for those of the child.
    pub(crate) fn make(&mut self, mount: &PlannedMount, spec: &Spec) -> Result<Option<OwnedFd>> {
        match &mount.kind {
            Kind::Child { .. } => Ok(None),
            Kind::Dev => crate::device::make_dev(&mount.options, self.namespaces, spec).map(Some),
            Kind::Parent { file_system } => self.make_as_root(mount, file_system).map(Some),
            Kind::Bind { source, depth } => self.bind(mount, source, *depth).map(Some),
            Kind::JoinedShm { process } => crate::shm::take(process, &mount.options).map(Some),
            Kind::Cgroup { index } => {
                let directory = self
                    .cgroup
                    .and_then(|cgroup| cgroup.directories().nth(*index))
                    .ok_or_else(|| CreateError::new(Step::Mount, 0, "no cgroup to mount"))?;
                let tree = sys::mount::open_tree_clone(directory.1, "", Depth::One)
                    .at_with(Step::Mount, || {
                        format!("bind cgroup {:?}", directory.0.mount_point())
                    })?;
                change(tree.as_fd(), &mount.options, Depth::One, None)
                    .at_with(Step::Mount, || format!("bind cgroup at {:?}", mount.destination))?;
                Ok(Some(tree))
            }
        }
    }

    fn make_as_root(&self, mount: &PlannedMount, file_system: &CString) -> Result<OwnedFd> {
        // A message queue belongs to the IPC namespace of whoever mounts it.
        let joined = (file_system.as_c_str() == c"mqueue")
            .then(|| {
                self.namespaces
                    .joined
                    .iter()
                    .find(|(kind, _)| *kind == CloneFlags::NEWIPC)
            })
            .flatten();
        let Some((kind, file)) = joined else {
            return make_file_system(file_system, mount);
        };
        let path = crate::namespace::own_link(*kind);
        let own = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .at_with(Step::Namespace, || format!("open {path:?}"))?;
        sys::namespace::setns(file.as_fd(), *kind).at(Step::Namespace)?;
        let made = make_file_system(file_system, mount);
        sys::namespace::setns(own.as_fd(), *kind).at_with(Step::Namespace, || "go back".to_owned())?;
        made
    }

    fn bind(&mut self, mount: &PlannedMount, source: &Path, depth: Depth) -> Result<OwnedFd> {
        let context = || format!("bind {source:?} at {:?}", mount.destination);
        if !source.is_absolute() {
            return Err(CreateError::spec(format!(
                "{}: the source is not absolute",
                context()
            )));
        }
        let tree = sys::mount::open_tree_clone_at(source, depth).at_with(Step::Mount, context)?;
        let idmap = self.idmap_wish(mount, depth);
        if let (Some((idmap_depth, strict)), Some(namespace)) = (idmap, self.user_namespace) {
            match shift_ids(tree.as_fd(), idmap_depth, namespace) {
                Ok(()) => {}
                Err(error) if strict => return Err(error).at_with(Step::Mount, context),
                Err(error) => {
                    // Below an idmapped top there may be mounts of another kind; then the top alone.
                    let top = idmap_depth == Depth::Recursive
                        && shift_ids(tree.as_fd(), Depth::One, namespace).is_ok();
                    if !top {
                        self.warnings.push(format!(
                            "{source:?} cannot be idmapped ({}): its files keep the host's owners",
                            error.errno()
                        ));
                    }
                }
            }
        } else if matches!(idmap, Some((_, true))) {
            return Err(CreateError::spec(format!(
                "{}: idmap needs a user namespace of the container",
                context()
            )));
        }
        change(tree.as_fd(), &mount.options, depth, None).at_with(Step::Mount, context)?;
        Ok(tree)
    }

    /// Returns how far ids are to be shifted, and whether it must succeed.
    fn idmap_wish(&self, mount: &PlannedMount, depth: Depth) -> Option<(Depth, bool)> {
        match (mount.options.idmap, self.bind_ids) {
            (Some(IdmapOption::Never), _) => None,
            (Some(IdmapOption::One), BindIds::AsSpecified) => Some((Depth::One, true)),
            (Some(IdmapOption::Recursive), BindIds::AsSpecified) => Some((Depth::Recursive, true)),
            (None, BindIds::AsSpecified) => None,
            (_, BindIds::Idmapped) => self.user_namespace.is_some().then_some((depth, false)),
        }
    }
}

/// Makes file system `file_system` with the mount's options, detached.
pub(crate) fn make_file_system(file_system: &CString, mount: &PlannedMount) -> Result<OwnedFd> {
    let context = || format!("mount {file_system:?} at {:?}", mount.destination);
    let config = sys::mount::fsopen(file_system).at_with(Step::Mount, context)?;
    // What /proc/mounts shows in the first column; "none" without it.
    if !mount.options.data.iter().any(|(key, _)| key == "source") {
        sys::mount::fsconfig_set_string(&config, c"source", file_system).at_with(Step::Mount, context)?;
    }
    for (key, value) in &mount.options.data {
        let key = c_string(key)?;
        match value {
            Some(value) => sys::mount::fsconfig_set_string(&config, &key, &c_string(value)?),
            None => sys::mount::fsconfig_set_flag(&config, &key),
        }
        .at_with(Step::Mount, context)?;
    }
    sys::mount::fsconfig_create(&config).at_with(Step::Mount, context)?;
    let tree =
        sys::mount::fsmount(&config, mount.options.new_mount_attributes()).at_with(Step::Mount, context)?;
    if let Some((propagation, _)) = mount.options.propagation
        && propagation != Propagation::Private
    {
        let change = Change {
            propagation: Some(propagation),
            ..Change::default()
        };
        mount_setattr(&tree, Depth::One, change).at_with(Step::Mount, context)?;
    }
    Ok(tree)
}

/// Shifts the ids of a detached tree by the map of a user namespace.
pub(crate) fn shift_ids(
    tree: BorrowedFd<'_>,
    depth: Depth,
    namespace: BorrowedFd<'_>,
) -> std::result::Result<(), SyscallError> {
    let change = Change {
        idmap: Some(namespace),
        ..Change::default()
    };
    mount_setattr(tree, depth, change)
}

/// Gives a cloned tree the attributes of its options; without a word on propagation it becomes private, all of it, so
/// that nothing that is mounted in the container reaches the host.
pub(crate) fn change(
    tree: BorrowedFd<'_>,
    options: &MountOptions,
    depth: Depth,
    idmap: Option<BorrowedFd<'_>>,
) -> std::result::Result<(), SyscallError> {
    let (propagation, reach) = options
        .propagation
        .unwrap_or((Propagation::Private, Depth::Recursive));
    let whole = Change {
        set: options.set_all,
        clear: options.clear_all,
        propagation: Some(propagation),
        idmap: None,
    };
    // One mount without others below it needs one call for everything.
    if depth == Depth::One {
        let one = Change {
            set: whole.set | options.set,
            clear: whole.clear | options.clear,
            idmap,
            ..whole
        };
        return mount_setattr(tree, Depth::One, one);
    }
    if reach == Depth::One && !(options.set_all.is_empty() && options.clear_all.is_empty()) {
        mount_setattr(
            tree,
            Depth::Recursive,
            Change {
                propagation: None,
                ..whole
            },
        )?;
    }
    mount_setattr(
        tree,
        reach,
        Change {
            set: if reach == Depth::Recursive {
                whole.set
            } else {
                Attributes::empty()
            },
            clear: if reach == Depth::Recursive {
                whole.clear
            } else {
                Attributes::empty()
            },
            ..whole
        },
    )?;
    if options.set.is_empty() && options.clear.is_empty() {
        return Ok(());
    }
    let top = Change {
        set: options.set,
        clear: options.clear,
        ..Change::default()
    };
    mount_setattr(tree, Depth::One, top)
}

/// Returns whether the root of a detached mount is a directory.
pub(crate) fn is_directory(tree: BorrowedFd<'_>) -> std::result::Result<bool, Errno> {
    let stat = rustix::fs::fstat(tree)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
