//! Namespaces that outlive PID 1: a mount of its link file holds each of them, and the next start joins them.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use shim_api::message::Failure;
use shim_api::task::{KeptNamespaces, Task};

use crate::launch::io_failure;

/// `NSFS_MAGIC` of linux/magic.h.
const NSFS_MAGIC: i64 = 0x6e73_6673;

/// Makes the document join what an earlier run has left; returns the places of what this one makes.
pub(crate) fn join_kept(task: &mut Task) -> Result<Vec<(LinuxNamespaceType, PathBuf)>, Failure> {
    let Some(keep) = &task.keep else {
        return Ok(Vec::new());
    };
    let mut new = Vec::new();
    // The user namespace owns the others: without it they are of no use.
    let mut is_lost = false;
    for &kind in &keep.kinds {
        let place = keep.directory.join(kind.to_string());
        if !is_lost && is_held(&place) {
            join(&mut task.spec, kind, &place);
        } else {
            is_lost |= kind == LinuxNamespaceType::User;
            new.push((kind, place));
        }
    }
    if !new.is_empty() {
        make_places(keep, &new)
            .map_err(|error| io_failure("namespace", "make places for namespaces", &error))?;
    }
    Ok(new)
}

fn is_held(place: &Path) -> bool {
    rustix::fs::statfs(place).is_ok_and(|file_system| file_system.f_type == NSFS_MAGIC)
}

fn join(spec: &mut Spec, kind: LinuxNamespaceType, place: &Path) {
    let linux = spec.linux_mut().as_mut();
    let namespaces = linux.and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace.typ() == kind {
            namespace.set_path(Some(place.to_owned()));
        }
    }
    if kind == LinuxNamespaceType::Uts {
        // The names are kept as well, also those that the container has given itself.
        spec.set_hostname(None).set_domainname(None);
    }
}

fn make_places(keep: &KeptNamespaces, new: &[(LinuxNamespaceType, PathBuf)]) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&keep.directory)?;
    for (_, place) in new {
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(place, flags, Mode::from(0o600))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_count_as_held() {
        assert!(!is_held(Path::new("/proc/self/status")));
        assert!(!is_held(Path::new("/no/such/file")));
        assert!(is_held(Path::new("/proc/self/ns/uts")));
    }

    #[test]
    fn a_kept_host_name_is_left_alone() {
        let mut spec = Spec::default();
        spec.set_hostname(Some("old".to_owned()));
        join(&mut spec, LinuxNamespaceType::Uts, Path::new("/pin"));
        assert!(spec.hostname().is_none());
        let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().clone());
        let uts = namespaces
            .into_iter()
            .flatten()
            .find(|namespace| namespace.typ() == LinuxNamespaceType::Uts);
        assert_eq!(
            uts.and_then(|namespace| namespace.path().clone()).as_deref(),
            Some(Path::new("/pin"))
        );
    }
}
