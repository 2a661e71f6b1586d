//! The root file system: put together by the parent, entered and furnished by the child.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::rootfs::Rootfs;
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use sys::SyscallError;
use sys::mount::{Attributes, Change, Depth, Propagation, mount_setattr};
use sys::path::Root;

use crate::error::{AtStep, CreateError, Result, Step};
use crate::mount::{Kind, PlannedMount, is_path, shift_ids};
use crate::overlay::{self, Overlay, no_idmap};
use crate::target;

/// A root file system as a detached mount.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) tree: OwnedFd,
    /// Idmapped copies of the layers, which the overlay has its own copies of by now; closing them takes a while.
    pub(crate) leftovers: Vec<OwnedFd>,
}

/// A root file system for whoever looks into a container that does not run.
#[derive(Debug)]
pub struct Looked {
    /// The root, as a detached mount.
    pub tree: OwnedFd,
    /// Why nothing can be written, if the kernel made it read-only for want of room.
    pub full: Option<SyscallError>,
}

/// Puts the root file system of a container that does not run together, for whoever looks into it. Nobody else may have it
/// mounted. It can be looked into on a full disk too.
pub fn make_rootfs(rootfs: &Rootfs, user_namespace: Option<BorrowedFd<'_>>) -> Result<Looked> {
    let tree = assemble(rootfs, user_namespace)?.tree;
    let full = match rootfs {
        Rootfs::Directory { .. } => None,
        Rootfs::Overlay { work, .. } => overlay::why_read_only(tree.as_fd(), work),
    };
    Ok(Looked { tree, full })
}

/// Puts the root file system together (parent); one that is to be `writable` is so.
pub(crate) fn make(rootfs: &Rootfs, user_namespace: Option<BorrowedFd<'_>>, writable: bool) -> Result<Made> {
    let made = assemble(rootfs, user_namespace)?;
    if let (Rootfs::Overlay { work, .. }, true) = (rootfs, writable)
        && let Some(error) = overlay::why_read_only(made.tree.as_fd(), work)
    {
        return Err(error).at_with(Step::Rootfs, || format!("make overlay's directory in {work:?}"));
    }
    Ok(made)
}

fn assemble(rootfs: &Rootfs, user_namespace: Option<BorrowedFd<'_>>) -> Result<Made> {
    match rootfs {
        Rootfs::Directory { path, idmap } => {
            let tree = sys::mount::open_tree_clone_at(path, Depth::Recursive).at(Step::Rootfs)?;
            if let (true, Some(namespace)) = (*idmap, user_namespace) {
                // The top alone: what is mounted below keeps the host's owners, which is stricter.
                shift_ids(tree.as_fd(), Depth::One, namespace).at_with(Step::Rootfs, || no_idmap(path))?;
            }
            let private = Change {
                propagation: Some(Propagation::Private),
                ..Change::default()
            };
            mount_setattr(&tree, Depth::Recursive, private).at(Step::Rootfs)?;
            Ok(Made {
                tree,
                leftovers: Vec::new(),
            })
        }
        Rootfs::Overlay {
            lowers,
            upper,
            work,
            idmap,
            volatile,
        } => {
            let overlay = Overlay {
                lowers,
                upper,
                work,
                user_namespace: user_namespace.filter(|_| *idmap),
                volatile: *volatile,
            };
            match overlay.make() {
                // A volatile overlay leaves a mark that keeps it from being mounted again, because a crash may have
                // lost writes. Whoever asks for `volatile` again (a restart) has said that this does not matter.
                Err(error)
                    if *volatile && error.errno() == libc::EINVAL && overlay::forget_volatile(work) =>
                {
                    overlay.make()
                }
                result => result,
            }
        }
    }
}

/// Makes `tree` the root of the calling process's mount namespace and lets go of everything else (child).
pub(crate) fn enter(tree: BorrowedFd<'_>, own_user: bool) -> Result<()> {
    if !own_user {
        // A new mount namespace of the same user namespace still shares its mounts with the host.
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .at_with(Step::Rootfs, || "make / private".to_owned())?;
    }
    let old = rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Rootfs)?;
    // On top of the old root: the one place that exists on every host and needs no directory of ours.
    sys::mount::move_mount(tree, &old).at(Step::Rootfs)?;
    drop(old);
    rustix::process::fchdir(tree).at(Step::Rootfs)?;
    // pivot_root(2), "pivot_root(".", ".")": the old root lands on top of the new one and is unmounted from there.
    sys::mount::pivot_root(".", ".").at(Step::Rootfs)?;
    sys::mount::umount2_detach(".").at(Step::Rootfs)?;
    rustix::process::chdir("/").at(Step::Rootfs)
}

/// A mount that is in its place.
#[derive(Debug)]
pub(crate) struct Attached<'a> {
    pub(crate) planned: &'a PlannedMount,
    pub(crate) tree: OwnedFd,
}

/// Attaches every mount in the order of the document (child, after [`enter`]).
pub(crate) fn attach<'a>(root: &Root, mounts: Vec<(&'a PlannedMount, OwnedFd)>) -> Result<Vec<Attached<'a>>> {
    let mut attached = Vec::with_capacity(mounts.len());
    for (planned, tree) in mounts {
        let context = || format!("mount at {:?}", planned.destination);
        let is_directory = planned.kind.is_directory()
            || crate::mount::is_directory(tree.as_fd()).at_with(Step::Mount, context)?;
        let place = match place_in_our_own(&attached, planned).filter(|_| is_directory) {
            Some((parent, name)) => target::make_in_empty(parent, name)?,
            None => {
                let place = target::open(root, &planned.destination, is_directory)?;
                target::refuse_inside_proc(place.as_fd(), planned)?;
                place
            }
        };
        if planned.options.copy_up {
            let own_mode = !planned.options.data.iter().any(|(key, _)| key == "mode");
            crate::copy_up::fill(place.as_fd(), tree.as_fd(), own_mode).at_with(Step::Mount, || {
                format!("copy what is at {:?} into the tmpfs", planned.destination)
            })?;
        }
        sys::mount::move_mount(&tree, &place).at_with(Step::Mount, context)?;
        if matches!(planned.kind, Kind::Dev) {
            crate::device::make_links(tree.as_fd())?;
        }
        attached.push(Attached { planned, tree });
    }
    Ok(attached)
}

/// Returns the directory and name for a mount right below one that we made empty ourselves (`/dev/pts`, the
/// hierarchies in `/sys/fs/cgroup`): no path of the image is walked, so none has to be distrusted.
fn place_in_our_own<'a>(
    attached: &'a [Attached<'_>],
    planned: &'a PlannedMount,
) -> Option<(BorrowedFd<'a>, &'a std::ffi::OsStr)> {
    let (parent, name) = (planned.destination.parent()?, planned.destination.file_name()?);
    let above = attached
        .iter()
        .rev()
        .find(|mount| mount.planned.destination == parent)?;
    above
        .planned
        .kind
        .is_empty_tmpfs()
        .then(|| (above.tree.as_fd(), name))
}

/// Makes read-only what had to be writable until now (child, last of all mounts).
pub(crate) fn finish(root: &Root, attached: &[Attached<'_>], spec: &Spec) -> Result<()> {
    let read_only = Change {
        set: Attributes::RDONLY,
        ..Change::default()
    };
    for mount in attached {
        if mount.planned.read_only_later {
            mount_setattr(&mount.tree, Depth::One, read_only).at_with(Step::Mount, || {
                format!("make {:?} read-only", mount.planned.destination)
            })?;
        }
    }
    if is_read_only(spec) {
        mount_setattr(root, Depth::One, read_only).at_with(Step::Rootfs, || "make / read-only".to_owned())?;
    }
    let linux = spec.linux().as_ref();
    let Some(propagation) = linux.and_then(|linux| linux.rootfs_propagation().as_deref()) else {
        return Ok(());
    };
    let (depth, name) = match propagation.strip_prefix('r') {
        Some(rest) => (Depth::Recursive, rest),
        None => (Depth::One, propagation),
    };
    let propagation = match name {
        // What everything is already; the document's word for "not at all" is the empty one.
        "private" | "" => return Ok(()),
        "slave" => Propagation::Slave,
        "shared" => Propagation::Shared,
        "unbindable" => Propagation::Unbindable,
        _ => {
            return Err(CreateError::spec(format!(
                "\"{propagation}\" is no propagation of the root"
            )));
        }
    };
    let change = Change {
        propagation: Some(propagation),
        ..Change::default()
    };
    mount_setattr(root, depth, change).at(Step::Rootfs)
}

/// Returns the mount at `destination`, the last one if there are several.
pub(crate) fn find<'a, 'b>(attached: &'b [Attached<'a>], destination: &str) -> Option<&'b Attached<'a>> {
    attached
        .iter()
        .rev()
        .find(|mount| is_path(&mount.planned.destination, destination))
}

/// Returns whether the root is to be read-only.
pub(crate) fn is_read_only(spec: &Spec) -> bool {
    let root = spec.root().as_ref();
    root.is_some_and(|root| root.readonly() == Some(true))
}

/// Returns whether an errno says that a path is not there.
pub(crate) fn is_missing(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR)
}
