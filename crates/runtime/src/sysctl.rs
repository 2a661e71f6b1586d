//! Kernel parameters of the container's own namespaces, written through a `/proc` that nobody can replace.

use std::os::fd::BorrowedFd;

use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use sys::clone::CloneFlags;

use crate::error::{AtStep, CreateError, Result, Step};
use crate::namespace::Namespaces;

/// One parameter: its file below `/proc/sys` and its value.
#[derive(Debug)]
pub(crate) struct Sysctl {
    file: String,
    value: String,
}

/// The parameters of the IPC namespace below `kernel`; those below `fs.mqueue` belong to it too.
const IPC: [&str; 11] = [
    "msgmax",
    "msgmnb",
    "msgmni",
    "msg_next_id",
    "sem",
    "sem_next_id",
    "shmall",
    "shmmax",
    "shmmni",
    "shm_next_id",
    "shm_rmid_forced",
];

/// Checks every parameter of the document: a name of a namespace that is the container's own, nothing else.
pub(crate) fn plan(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<Sysctl>> {
    let linux = spec.linux().as_ref();
    let Some(listed) = linux.and_then(|linux| linux.sysctl().as_ref()) else {
        return Ok(Vec::new());
    };
    listed
        .iter()
        .map(|(name, value)| plan_one(name, value, |kind| namespaces.is_own(kind)))
        .collect()
}

fn plan_one(name: &str, value: &str, is_own: impl Fn(CloneFlags) -> bool) -> Result<Sysctl> {
    let refuse = |why: &str| {
        Err(CreateError::new(
            Step::Sysctl,
            libc::EINVAL,
            format!("sysctl {name:?}: {why}"),
        ))
    };
    // The first separator decides, as for sysctl(8): after a slash, a dot is part of a name.
    let separator = name.find(['.', '/']).and_then(|at| name[at..].chars().next());
    let file = match separator {
        Some('.') => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '@');
    if !file.chars().all(is_plain) || file.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return refuse("not the name of a kernel parameter");
    }
    if value.contains(['\n', '\0']) {
        return refuse("the value has more than one line");
    }
    let namespace = if file.starts_with("net/") {
        CloneFlags::NEWNET
    } else if file.starts_with("fs/mqueue/")
        || file
            .strip_prefix("kernel/")
            .is_some_and(|rest| IPC.contains(&rest))
    {
        CloneFlags::NEWIPC
    } else if matches!(file.as_str(), "kernel/domainname" | "kernel/hostname") {
        CloneFlags::NEWUTS
    } else {
        return refuse("it is not separate for each container");
    };
    if !is_own(namespace) {
        return refuse("the container shares that namespace with the host or others");
    }
    Ok(Sysctl {
        file,
        value: value.to_owned(),
    })
}

/// Returns whether one of the parameters is about network interfaces, which must be there when it is set.
pub(crate) fn name_interfaces(sysctls: &[Sysctl]) -> bool {
    sysctls
        .iter()
        .any(|sysctl| sysctl.file.starts_with("net/") && sysctl.file.matches('/').count() > 2)
}

/// Writes the parameters; `proc` is the root of a proc file system of the container's namespaces.
pub(crate) fn write(sysctls: &[Sysctl], proc: BorrowedFd<'_>) -> Result<()> {
    for sysctl in sysctls {
        // These two files belong to the host's root, the calls to the namespace's.
        match sysctl.file.as_str() {
            "kernel/hostname" => {
                rustix::system::sethostname(sysctl.value.as_bytes()).at(Step::Sysctl)?;
                continue;
            }
            "kernel/domainname" => {
                rustix::system::setdomainname(sysctl.value.as_bytes()).at(Step::Sysctl)?;
                continue;
            }
            _ => {}
        }
        let path = format!("sys/{}", sysctl.file);
        let context = || format!("sysctl {}={}", sysctl.file, sysctl.value);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = sys::path::openat2(proc, path.as_ref(), OFlags::WRONLY, Mode::empty(), resolve)
            .at_with(Step::Sysctl, context)?;
        let value = sysctl.value.as_bytes();
        let written =
            rustix::io::retry_on_intr(|| rustix::io::write(&file, value)).at_with(Step::Sysctl, context)?;
        if written != value.len() {
            return Err(CreateError::new(Step::Sysctl, libc::EIO, context()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, value: &str) -> Option<String> {
        plan_one(name, value, |_| true).ok().map(|sysctl| sysctl.file)
    }

    #[test]
    fn only_namespaced_ones_are_taken() {
        assert_eq!(
            file("net.ipv4.ip_forward", "1").as_deref(),
            Some("net/ipv4/ip_forward")
        );
        assert_eq!(
            file("net/ipv4/ip_forward", "1").as_deref(),
            Some("net/ipv4/ip_forward")
        );
        assert_eq!(
            file("net.ipv4.conf.eth0/1.rp_filter", "1").as_deref(),
            Some("net/ipv4/conf/eth0.1/rp_filter")
        );
        assert_eq!(
            file("kernel.shm_rmid_forced", "1").as_deref(),
            Some("kernel/shm_rmid_forced")
        );
        for (name, value) in [
            ("kernel.core_pattern", "|/x"),
            ("kernel/core_pattern", "|/x"),
            ("kernel.shm_rmid_forced+kernel.core_pattern", "1"),
            ("net.../kernel/core_pattern", "1"),
            ("net/../kernel/core_pattern", "1"),
            ("net..ipv4", "1"),
            ("net.ipv4.ip_forward=1", "1"),
            ("net.ipv4.ip_forward", "1\n2"),
            ("vm.swappiness", "1"),
            ("", ""),
        ] {
            assert_eq!(file(name, value), None, "{name}");
        }
    }

    #[test]
    fn shared_namespaces_are_left_alone() {
        let own = |kind| kind != CloneFlags::NEWNET;
        assert!(plan_one("net.core.somaxconn", "1", own).is_err());
        assert!(plan_one("fs.mqueue.msg_max", "1", own).is_ok());
    }
}
