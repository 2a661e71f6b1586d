//! Which capabilities a container gets.
//!
//! Names as in capabilities(7); docker takes them with and without `CAP_`, in any case.

use std::collections::BTreeSet;

use crate::check::InvalidError;

/// Every capability of Linux 6.18, in the kernel's order.
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// docker's 14.
const DEFAULT: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// A container's capabilities.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Their names.
    pub names: BTreeSet<&'static str>,
    /// Those that a wish for all would have included but that the daemon has not.
    pub missing: Vec<&'static str>,
}

/// Returns what docker's rules give. `available` are the daemon's own, or `None` in a user namespace of the
/// container's own, where all of them exist.
pub fn grant(
    privileged: bool,
    add: &[String],
    drop: &[String],
    available: Option<&BTreeSet<String>>,
) -> Result<Granted, InvalidError> {
    let (added, add_all) = normalize(add, "CapAdd")?;
    let (dropped, drop_all) = normalize(drop, "CapDrop")?;
    let has = |name: &&str| available.is_none_or(|available| available.contains(*name));
    let mut names: BTreeSet<&'static str> = if privileged {
        ALL.into()
    } else if add_all {
        ALL.into_iter().filter(|name| !dropped.contains(name)).collect()
    } else if drop_all {
        added.clone()
    } else {
        let kept = DEFAULT.into_iter().filter(|name| !dropped.contains(name));
        kept.chain(added.iter().copied()).collect()
    };
    let absent: Vec<&'static str> = names.iter().copied().filter(|name| !has(name)).collect();
    if let Some(name) = absent.iter().find(|name| !privileged && added.contains(*name)) {
        return Err(InvalidError::new(format!(
            "capability {name} cannot be added in the host's user namespace: the daemon does not have it"
        )));
    }
    for name in &absent {
        names.remove(name);
    }
    Ok(Granted {
        names,
        missing: absent,
    })
}

/// Returns the known names in `list`, and whether `ALL` is in it.
fn normalize(list: &[String], field: &str) -> Result<(BTreeSet<&'static str>, bool), InvalidError> {
    let mut names = BTreeSet::new();
    let mut all = false;
    for item in list {
        let upper = item.trim().to_ascii_uppercase();
        if upper == "ALL" {
            all = true;
            continue;
        }
        let full = if upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        };
        let known = ALL.into_iter().find(|name| *name == full);
        names.insert(known.ok_or_else(|| {
            InvalidError::new(format!(
                "invalid {field}: unknown capability: \"{}\"",
                crate::check::shown(&full)
            ))
        })?);
    }
    Ok((names, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(add: &[&str], drop: &[&str]) -> usize {
        let strings = |list: &[&str]| list.iter().map(|&item| item.to_owned()).collect::<Vec<_>>();
        grant(false, &strings(add), &strings(drop), None)
            .unwrap()
            .names
            .len()
    }

    #[test]
    fn dockers_rules() {
        assert_eq!(names(&[], &[]), 14);
        assert_eq!(names(&["net_admin"], &["CAP_CHOWN", "KILL"]), 13);
        assert_eq!(names(&["ALL"], &["SYS_ADMIN"]), 40);
        assert_eq!(names(&["CAP_CHOWN"], &["all"]), 1);
        assert_eq!(names(&["CHOWN"], &["CHOWN"]), 14);
        assert_eq!(names(&[], &["ALL"]), 0);
        assert!(grant(false, &["FOO".to_owned()], &[], None).is_err());
    }

    #[test]
    fn what_the_daemon_lacks_is_named_or_refused() {
        let available: BTreeSet<String> = ALL[..24].iter().map(|&name| name.to_owned()).collect();
        let granted = grant(true, &[], &[], Some(&available)).unwrap();
        assert_eq!((granted.names.len(), granted.missing.len()), (24, 17));
        assert!(grant(false, &["SYS_RESOURCE".to_owned()], &[], Some(&available)).is_err());
    }
}
