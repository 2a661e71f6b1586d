//! Which namespaces are new, joined or shared with the host, and the clone that makes it so.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use sys::clone::{CloneFlags, Cloned, clone3};
use sys::namespace::setns;

use crate::between;
use crate::channel::Channel;
use crate::error::{AtStep, CreateError, Result, Step};

/// The namespaces of a container.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// The kinds made new.
    pub(crate) new: CloneFlags,
    /// The kinds joined, with their link files; never `NEWUSER` or `NEWNS`.
    pub(crate) joined: Vec<(CloneFlags, OwnedFd)>,
    /// The user namespace that is joined.
    pub(crate) joined_user: Option<OwnedFd>,
    /// The joined kinds that belong to the user namespace that is joined.
    owned: CloneFlags,
    /// The maps of the user namespace; of a joined one as the document tells them.
    pub(crate) uid_map: Vec<LinuxIdMapping>,
    pub(crate) gid_map: Vec<LinuxIdMapping>,
    /// The text for `timens_offsets`; the time namespace is then made by the child, see [`crate::child`].
    pub(crate) time_offsets: Option<String>,
    /// Whether the child makes its network namespace itself. That takes the kernel longer than all the others together,
    /// and this way it happens while the parent mounts. Hooks of the parent expect it to be there.
    pub(crate) makes_network: bool,
    /// The new kinds that a sandbox has already, see [`crate::sandbox`].
    pub(crate) made: CloneFlags,
}

impl Namespaces {
    pub(crate) fn from_spec(spec: &Spec) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let mut namespaces = Self {
            new: CloneFlags::empty(),
            joined: Vec::new(),
            joined_user: None,
            owned: CloneFlags::empty(),
            uid_map: linux
                .and_then(|linux| linux.uid_mappings().clone())
                .unwrap_or_default(),
            gid_map: linux
                .and_then(|linux| linux.gid_mappings().clone())
                .unwrap_or_default(),
            time_offsets: None,
            makes_network: false,
            made: CloneFlags::empty(),
        };
        let listed = linux
            .and_then(|linux| linux.namespaces().as_deref())
            .unwrap_or_default();
        let mut seen = CloneFlags::empty();
        for namespace in listed {
            let kind = flag(namespace.typ());
            if seen.contains(kind) {
                return Err(CreateError::spec(format!(
                    "namespace \"{:?}\" is listed twice",
                    namespace.typ()
                )));
            }
            seen |= kind;
            let path = namespace
                .path()
                .as_deref()
                .filter(|path| !path.as_os_str().is_empty());
            let Some(path) = path else {
                namespaces.new |= kind;
                continue;
            };
            let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .at_with(Step::Namespace, || format!("open namespace {path:?}"))?;
            match kind {
                CloneFlags::NEWNS => {
                    return Err(CreateError::unsupported("joining a mount namespace"));
                }
                CloneFlags::NEWUSER => namespaces.joined_user = Some(file),
                _ => namespaces.joined.push((kind, file)),
            }
        }
        if !namespaces.new.contains(CloneFlags::NEWNS) {
            return Err(CreateError::unsupported("a container without a mount namespace"));
        }
        namespaces.makes_network = spec.hooks().is_none() && namespaces.is_new(CloneFlags::NEWNET);
        namespaces.find_owned();
        namespaces.check_maps()?;
        namespaces.read_time_offsets(spec)?;
        Ok(namespaces)
    }

    /// Looks which of the joined namespaces belong to the user namespace that is joined with them. One that cannot be
    /// asked counts as somebody else's.
    fn find_owned(&mut self) {
        let Some(user) = &self.joined_user else { return };
        for (kind, file) in &self.joined {
            let owner = sys::namespace::owner(file.as_fd());
            if owner.is_ok_and(|owner| is_same_file(owner.as_fd(), user.as_fd())) {
                self.owned |= *kind;
            }
        }
    }

    fn check_maps(&self) -> Result<()> {
        for entry in self.uid_map.iter().chain(&self.gid_map) {
            let ends = [entry.container_id(), entry.host_id()].map(|id| id.checked_add(entry.size()));
            if entry.size() == 0 || ends.contains(&None) {
                return Err(CreateError::new(
                    Step::Idmap,
                    libc::EINVAL,
                    format!("bad map of ids {entry:?}"),
                ));
            }
        }
        if !self.has_user() {
            return Ok(());
        }
        for (name, map) in [("uid", &self.uid_map), ("gid", &self.gid_map)] {
            if map_id(map, 0).is_none() {
                return Err(CreateError::spec(format!(
                    "the {name} map of the user namespace does not map id 0"
                )));
            }
        }
        Ok(())
    }

    fn read_time_offsets(&mut self, spec: &Spec) -> Result<()> {
        use std::fmt::Write;
        let linux = spec.linux().as_ref();
        let Some(offsets) = linux.and_then(|linux| linux.time_offsets().as_ref()) else {
            return Ok(());
        };
        let mut text = String::new();
        for (clock, offset) in offsets {
            if clock != "monotonic" && clock != "boottime" {
                return Err(CreateError::spec(format!("no time offset for clock \"{clock}\"")));
            }
            let (seconds, nanos) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            if (seconds, nanos) != (0, 0) {
                writeln!(text, "{clock} {seconds} {nanos}")
                    .map_err(|error| CreateError::spec(error.to_string()))?;
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        if !self.new.contains(CloneFlags::NEWTIME) {
            return Err(CreateError::spec("time offsets need a new time namespace"));
        }
        self.time_offsets = Some(text);
        Ok(())
    }

    /// Returns whether the container has a user namespace that is not the caller's.
    pub(crate) fn has_user(&self) -> bool {
        self.new.contains(CloneFlags::NEWUSER) || self.joined_user.is_some()
    }

    /// Returns whether namespace `kind` is made new.
    pub(crate) fn is_new(&self, kind: CloneFlags) -> bool {
        self.new.contains(kind)
    }

    /// Returns whether namespace `kind` belongs to the container's user namespace, so that root of it may mount what
    /// belongs to it.
    pub(crate) fn owns(&self, kind: CloneFlags) -> bool {
        self.new.contains(kind) || self.owned.contains(kind)
    }

    /// Returns whether namespace `kind` is not the caller's.
    pub(crate) fn is_own(&self, kind: CloneFlags) -> bool {
        self.new.contains(kind) || self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Returns the host's ids for root of the container.
    pub(crate) fn host_root(&self) -> (u32, u32) {
        self.host_ids(0, 0).unwrap_or((0, 0))
    }

    /// Returns the host's ids for ids of the container, if they are mapped.
    pub(crate) fn host_ids(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        if !self.has_user() {
            return Some((uid, gid));
        }
        Some((map_id(&self.uid_map, uid)?, map_id(&self.gid_map, gid)?))
    }

    /// Returns the flags for the clone: the child makes its cgroup namespace later, once it is in its cgroup, its time
    /// namespace when it has offsets, and its network namespace unless hooks need it. What a sandbox has is made.
    pub(crate) fn clone_flags(&self) -> CloneFlags {
        let mut flags = CloneFlags::empty();
        for kind in [
            CloneFlags::NEWUSER,
            CloneFlags::NEWNS,
            CloneFlags::NEWPID,
            CloneFlags::NEWUTS,
            CloneFlags::NEWIPC,
            CloneFlags::NEWNET,
            CloneFlags::NEWTIME,
        ] {
            let late = (kind == CloneFlags::NEWTIME && self.time_offsets.is_some())
                || (kind == CloneFlags::NEWNET && self.makes_network);
            if self.is_new(kind) && !late && !self.made.contains(kind) {
                flags |= kind;
            }
        }
        flags
    }
}

fn is_same_file(first: BorrowedFd<'_>, second: BorrowedFd<'_>) -> bool {
    match (rustix::fs::fstat(first), rustix::fs::fstat(second)) {
        (Ok(first), Ok(second)) => (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino),
        _ => false,
    }
}

/// Returns the kernel's flag of a kind of namespace.
pub(crate) fn flag(kind: LinuxNamespaceType) -> CloneFlags {
    match kind {
        LinuxNamespaceType::Mount => CloneFlags::NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::NEWIPC,
        LinuxNamespaceType::User => CloneFlags::NEWUSER,
        LinuxNamespaceType::Pid => CloneFlags::NEWPID,
        LinuxNamespaceType::Network => CloneFlags::NEWNET,
        LinuxNamespaceType::Time => CloneFlags::NEWTIME,
    }
}

/// Returns the host's id for `id` of the container.
fn map_id(map: &[LinuxIdMapping], id: u32) -> Option<u32> {
    map.iter().find_map(|entry| {
        let offset = id.checked_sub(entry.container_id())?;
        (offset < entry.size()).then(|| entry.host_id().checked_add(offset))?
    })
}

/// Clones PID 1 into all namespaces but those it makes itself.
///
/// Joined namespaces are entered by the caller for the moment of the clone, as real root: a child that is already in
/// a user namespace of its own may not enter those of others. The caller then goes back; if that fails it must end.
pub(crate) fn clone_child(
    namespaces: &Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    channel: &Channel,
    childs: &Channel,
) -> Result<Cloned> {
    if let Some(user) = &namespaces.joined_user {
        return clone_into_user(namespaces, user.as_fd(), cgroup, channel, childs);
    }
    if namespaces.joined.is_empty() {
        return clone3(namespaces.clone_flags(), cgroup).at(Step::Namespace);
    }
    let mut own = Vec::with_capacity(namespaces.joined.len());
    for (kind, _) in &namespaces.joined {
        let path = own_link(*kind);
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .at_with(Step::Namespace, || format!("open {path:?}"))?;
        own.push((*kind, file));
    }
    let mut result = join(&namespaces.joined);
    let mut cloned = None;
    if result.is_ok() {
        match clone3(namespaces.clone_flags(), cgroup).at(Step::Namespace) {
            Ok(Cloned::Child) => return Ok(Cloned::Child),
            Ok(parent) => cloned = Some(parent),
            Err(error) => result = Err(error),
        }
    }
    for (kind, file) in &own {
        let back = setns(file.as_fd(), *kind).at_with(Step::Namespace, || "go back".to_owned());
        result = result.and(back);
    }
    match (result, cloned) {
        (Ok(()), Some(cloned)) => Ok(cloned),
        (Ok(()), None) => Err(CreateError::new(Step::Namespace, 0, "no child was made")),
        (Err(error), cloned) => {
            if let Some(Cloned::Parent { pidfd, .. }) = cloned {
                crate::create::kill_and_reap(pidfd.as_fd());
            }
            Err(error)
        }
    }
}

fn join(joined: &[(CloneFlags, OwnedFd)]) -> Result<()> {
    for (kind, file) in joined {
        setns(file.as_fd(), *kind).at(Step::Namespace)?;
    }
    Ok(())
}

/// Nobody comes back from another user namespace, so a process between enters it and clones the child as its sibling.
fn clone_into_user(
    namespaces: &Namespaces,
    user: BorrowedFd<'_>,
    cgroup: Option<BorrowedFd<'_>>,
    channel: &Channel,
    childs: &Channel,
) -> Result<Cloned> {
    between::cloned_sibling(None, channel, childs, || {
        join(&namespaces.joined)?;
        setns(user, CloneFlags::NEWUSER).at(Step::Namespace)?;
        clone3(namespaces.clone_flags() | CloneFlags::PARENT, cgroup).at(Step::Namespace)
    })
}

/// Returns the caller's own link file of a kind of namespace.
pub(crate) fn own_link(kind: CloneFlags) -> &'static str {
    match kind {
        CloneFlags::NEWCGROUP => "/proc/self/ns/cgroup",
        CloneFlags::NEWUTS => "/proc/self/ns/uts",
        CloneFlags::NEWIPC => "/proc/self/ns/ipc",
        CloneFlags::NEWNET => "/proc/self/ns/net",
        CloneFlags::NEWPID => "/proc/self/ns/pid",
        CloneFlags::NEWTIME => "/proc/self/ns/time",
        CloneFlags::NEWUSER => "/proc/self/ns/user",
        _ => "/proc/self/ns/mnt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(container: u32, host: u32, size: u32) -> LinuxIdMapping {
        let text = format!("{{\"containerID\":{container},\"hostID\":{host},\"size\":{size}}}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn ids_are_mapped() {
        let map = [mapping(0, 100_000, 1000), mapping(1000, 5, 1)];
        assert_eq!(map_id(&map, 0), Some(100_000));
        assert_eq!(map_id(&map, 999), Some(100_999));
        assert_eq!(map_id(&map, 1000), Some(5));
        assert_eq!(map_id(&map, 1001), None);
        assert_eq!(map_id(&[mapping(0, u32::MAX, 2)], 1), None);
    }
}
