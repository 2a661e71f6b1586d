//! Which kernel parameters a container may set: those that belong to its own namespaces.

use std::collections::BTreeMap;

use crate::check::{InvalidError, shown};

const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Checks names and values. `own_ipc` and `own_network` say whether the container has these namespaces to itself.
pub fn check(
    sysctls: &BTreeMap<String, String>,
    own_ipc: bool,
    own_network: bool,
) -> Result<(), InvalidError> {
    for (name, value) in sysctls {
        // A slash or an empty part could leave the tree that the first part names; a line feed in a value could
        // smuggle a second setting (CVE-2022-0811).
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let good = name.chars().all(plain) && name.split('.').all(|part| !part.is_empty() && part.len() < 64);
        if !good || value.contains(|c: char| c.is_control() && c != '\t') {
            return Err(InvalidError::new(format!(
                "invalid sysctl '{}={}'",
                shown(name),
                shown(value)
            )));
        }
        if name.starts_with("net.") {
            if !own_network {
                return Err(InvalidError::new(format!(
                    "sysctl '{name}' not allowed in host network namespace"
                )));
            }
        } else if IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
            if !own_ipc {
                return Err(InvalidError::new(format!(
                    "sysctl '{name}' not allowed in host ipc namespace"
                )));
            }
        } else {
            return Err(InvalidError::new(format!("sysctl '{name}' is not allowed")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaced_names_and_plain_values() {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        for (name, value, own_ipc, own_network, good) in [
            ("kernel.shmmax", "1", true, true, true),
            ("kernel.shmmax", "1", false, true, false),
            ("fs.mqueue.msg_max", "1", true, true, true),
            ("net.ipv4.ip_forward", "1", true, true, true),
            ("net.ipv4.ip_forward", "1", true, false, false),
            ("net.ipv4.tcp_rmem", "1\t2\t3", true, true, true),
            ("kernel.core_pattern", "|/x", true, true, false),
            ("net./../kernel.core_pattern", "x", true, true, false),
            ("net..kernel", "x", true, true, false),
            ("kernel.shmmax", "1\nkernel.core_pattern=x", true, true, false),
        ] {
            assert_eq!(
                check(&one(name, value), own_ipc, own_network).is_ok(),
                good,
                "{name}"
            );
        }
    }
}
