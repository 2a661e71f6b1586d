//! `features`: what this runtime can do (`features.md` of the runtime specification).

use clap::{Arg, ArgMatches};
use serde_json::json;

use crate::command::print;
use crate::error::{CommandError, Context};
use crate::globals::Globals;

/// The newest version of the specification that documents are written for.
pub(super) const NEWEST_VERSION: &str = "1.2.1";

pub(super) fn arguments() -> Vec<Arg> {
    Vec::new()
}

pub(super) fn run(_globals: &Globals, _matches: &ArgMatches) -> Result<u8, CommandError> {
    let document = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": NEWEST_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
            "cgroup": {"v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false},
            "seccomp": {
                "enabled": true,
                "actions": [
                    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS",
                    "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
                ],
                "operators": [
                    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
                    "SCMP_CMP_NE",
                ],
                "archs": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
            },
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": true}},
        },
    });
    let text = serde_json::to_string_pretty(&document).plain()?;
    print(&format!("{text}\n"))?;
    Ok(0)
}
