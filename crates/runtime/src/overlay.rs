//! The overlay of a container's root file system, made in one of two ways (parent).
//!
//! *By descriptors* (Linux 6.15): the idmapped copies of the layers are mounted nowhere, and overlay takes them as
//! descriptors. *By paths*: older kernels know no such option, and take layers only that are mounted in the mount namespace of the
//! caller. So a process in a mount namespace of its own, which ends at once, attaches the copies there, names them by its descriptors
//! (`/proc/self/fd/5` is just `5` to it) and hands the overlay back detached. The host's namespace never sees any of it.

use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, StatVfs, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use sys::SyscallError;
use sys::clone::CloneFlags;
use sys::mount::{Attributes, Depth, fsconfig_set_fd, fsconfig_set_string};
use sys::path::Root;

use crate::between;
use crate::error::{AtStep, CreateError, Result, Step};
use crate::mount::shift_ids;
use crate::rootfs::Made;

/// What an overlay is made of.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    /// The layers, the topmost first.
    pub(crate) lowers: &'a [PathBuf],
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
    /// The namespace whose ids the layers are to have.
    pub(crate) user_namespace: Option<BorrowedFd<'a>>,
    pub(crate) volatile: bool,
}

/// Forces the way for older kernels, so that it can be tested on every kernel: `BERTH_OVERLAY=paths`.
const SWITCH: &str = "BERTH_OVERLAY";

/// What the writable part must not hold, because `diff` and `commit` read it as plain directories and files, whatever the
/// host's defaults are (`/sys/module/overlay/parameters`).
const FEATURES_OFF: [&CStr; 4] = [c"redirect_dir", c"metacopy", c"nfs_export", c"index"];

impl Overlay<'_> {
    pub(crate) fn make(&self) -> Result<Made> {
        if self.lowers.is_empty() {
            return Err(CreateError::new(
                Step::Rootfs,
                libc::EINVAL,
                "an overlay without layers",
            ));
        }
        // By paths works everywhere, so a kernel that can more than its version says only loses some time.
        if kernel_is_before(6, 15) || std::env::var_os(SWITCH).is_some_and(|way| way == "paths") {
            self.make_by_paths()
        } else {
            self.make_by_descriptors()
        }
    }

    fn make_by_descriptors(&self) -> Result<Made> {
        let config = sys::mount::fsopen(c"overlay").at(Step::Rootfs)?;
        let mut leftovers = Vec::with_capacity(self.lowers.len());
        for lower in self.lowers {
            let layer = self.layer(lower)?;
            fsconfig_set_fd(&config, c"lowerdir+", &layer)
                .at_with(Step::Rootfs, || format!("layer {lower:?}"))?;
            leftovers.push(layer);
        }
        for (key, path) in [(c"upperdir", self.upper), (c"workdir", self.work)] {
            let directory = open_directory(path)?;
            fsconfig_set_fd(&config, key, &directory)
                .at_with(Step::Rootfs, || format!("{key:?} {path:?}"))?;
        }
        for feature in FEATURES_OFF {
            match fsconfig_set_string(&config, feature, c"off") {
                // A kernel that does not know it does not do it.
                Err(error) if error.errno() != rustix::io::Errno::INVAL => {
                    return Err(error).at(Step::Rootfs);
                }
                _ => {}
            }
        }
        if self.volatile {
            sys::mount::fsconfig_set_flag(&config, c"volatile").at(Step::Rootfs)?;
        }
        // Shown in /proc/mounts in place of "none".
        fsconfig_set_string(&config, c"source", c"overlay").at(Step::Rootfs)?;
        sys::mount::fsconfig_create(&config).at(Step::Rootfs)?;
        let tree = sys::mount::fsmount(&config, Attributes::empty()).at(Step::Rootfs)?;
        Ok(Made { tree, leftovers })
    }

    fn make_by_paths(&self) -> Result<Made> {
        let doing = "mount the overlay";
        let tree = between::detached_mount(CloneFlags::NEWNS, Step::Rootfs, doing, || self.mount_apart())?;
        Ok(Made {
            tree,
            leftovers: Vec::new(),
        })
    }

    /// Mounts the overlay in the mount namespace of this process alone and returns a detached copy.
    fn mount_apart(&self) -> Result<OwnedFd> {
        const PLACE: &str = "overlay";
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .at_with(Step::Rootfs, || "make / private".to_owned())?;
        // Mounts pile up on the root directory, where paths do not meet them: this process keeps the old root.
        let root =
            rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Rootfs)?;
        let config = sys::mount::fsopen(c"tmpfs").at(Step::Rootfs)?;
        sys::mount::fsconfig_create(&config).at(Step::Rootfs)?;
        let scratch = sys::mount::fsmount(&config, Attributes::empty()).at(Step::Rootfs)?;
        rustix::fs::mkdirat(&scratch, PLACE, Mode::RWXU).at(Step::Rootfs)?;
        let mut layers = Vec::with_capacity(self.lowers.len());
        for lower in self.lowers {
            let layer = self.layer(lower)?;
            if self.user_namespace.is_some() {
                sys::mount::move_mount(&layer, &root).at(Step::Rootfs)?;
            }
            layers.push(layer);
        }
        sys::mount::move_mount(&scratch, &root).at(Step::Rootfs)?;
        let (upper, work) = (open_directory(self.upper)?, open_directory(self.work)?);
        let options = options(&layers, upper.as_fd(), work.as_fd(), self.volatile);
        rustix::process::chdir("/proc/self/fd").at(Step::Rootfs)?;
        let target = format!("{}/{PLACE}", scratch.as_raw_fd());
        rustix::mount::mount(
            "overlay",
            target.as_str(),
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .at_with(Step::Rootfs, || self.mount_failed(&options))?;
        sys::mount::open_tree_clone(&scratch, PLACE, Depth::One).at(Step::Rootfs)
    }

    fn mount_failed(&self, options: &CString) -> String {
        let mut text = format!("mount(overlay, {options:?})");
        if self.user_namespace.is_some() && kernel_is_before(5, 19) {
            text.push_str(
                " (layers with the ids of a user namespace need Linux 5.19; --userns=host does without)",
            );
        }
        text
    }

    /// Opens a layer, with the container's ids if it has its own.
    fn layer(&self, path: &Path) -> Result<OwnedFd> {
        let Some(namespace) = self.user_namespace else {
            return open_directory(path);
        };
        let tree = sys::mount::open_tree_clone_at(path, Depth::One).at(Step::Rootfs)?;
        shift_ids(tree.as_fd(), Depth::One, namespace).at_with(Step::Rootfs, || no_idmap(path))?;
        Ok(tree)
    }
}

/// Returns overlay's options for mount(2), the directories named by their descriptors alone: that keeps more than a
/// hundred layers within the page that the kernel reads, and nothing in a path needs escaping.
fn options(layers: &[OwnedFd], upper: BorrowedFd<'_>, work: BorrowedFd<'_>, volatile: bool) -> CString {
    let mut text = String::from("lowerdir=");
    for (index, layer) in layers.iter().enumerate() {
        let separator = if index == 0 { "" } else { ":" };
        // Writing to a string cannot fail.
        write!(text, "{separator}{}", layer.as_raw_fd()).ok();
    }
    write!(
        text,
        ",upperdir={},workdir={}",
        upper.as_raw_fd(),
        work.as_raw_fd()
    )
    .ok();
    for feature in FEATURES_OFF {
        // They have such names.
        write!(text, ",{}=off", feature.to_str().unwrap_or_default()).ok();
    }
    if volatile {
        text.push_str(",volatile");
    }
    CString::new(text).unwrap_or_default()
}

pub(crate) fn no_idmap(path: &Path) -> String {
    format!("idmap {path:?} (the file system cannot be used in a user namespace; --userns=host does without)")
}

/// Returns why an overlay that should be writable is not, if so. The kernel makes it read-only, and says so in its log alone,
/// when it cannot make its work directory (fs/overlayfs/super.c, "mounting read-only"); what it met is met again here.
pub(crate) fn why_read_only(tree: BorrowedFd<'_>, work: &Path) -> Option<SyscallError> {
    let is_read_only = |state: StatVfs| state.f_flag.contains(StatVfsMountFlags::RDONLY);
    if !rustix::fs::fstatvfs(tree).is_ok_and(is_read_only) {
        return None;
    }
    let probed = Root::open(work).and_then(|root| {
        root.mkdir_all("probe", 0o700)?;
        root.remove_all("probe")
    });
    // There may be room again by now.
    let then = || SyscallError::new("mkdirat(\"work\")", Errno::NOSPC);
    Some(probed.err().unwrap_or_else(then))
}

/// Removes the mark of a volatile overlay (Documentation/filesystems/overlayfs.rst); returns whether there was one.
pub(crate) fn forget_volatile(work: &Path) -> bool {
    let Ok(root) = Root::open(work) else { return false };
    root.metadata("work/incompat/volatile").is_ok() && root.remove_all("work/incompat").is_ok()
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at_with(Step::Rootfs, || format!("open {path:?}"))
}

/// Returns whether the running kernel is older than `major.minor`; not if its release says nothing.
fn kernel_is_before(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_str().unwrap_or_default();
    is_before(release, (major, minor))
}

fn is_before(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return false;
    };
    (major, minor) < wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, expected) in [
            ("6.1.0-56-amd64", true),
            ("5.19.0", true),
            ("6.14.11", true),
            ("6.15", false),
            ("6.15-rc1", false),
            ("6.18.44-fc", false),
            ("7.3.4+deb13-amd64", false),
            ("unknown", false),
        ] {
            assert_eq!(is_before(release, (6, 15)), expected, "{release}");
        }
    }

    #[test]
    fn a_hundred_layers_fit_into_the_kernels_page() {
        let layers: Vec<OwnedFd> = (0..200)
            .map(|_| rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap())
            .collect();
        let options = options(&layers, layers[0].as_fd(), layers[1].as_fd(), true);
        let text = options.to_str().unwrap();
        assert!(text.len() < 4096, "{}", text.len());
        assert!(text.ends_with(",volatile"), "{text}");
    }
}
