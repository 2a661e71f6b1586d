//! What is wrong with a request, as seen at its creation: everything that needs no look at the host's files.

use std::collections::BTreeSet;

use base::error::{Kind, Kinded};

use crate::capabilities::{self, Granted};
use crate::config::{Config, HostConfig};
use crate::devices;
use crate::ids;
use crate::resources::{self, Limitable};
use crate::security::{self, Security};
use crate::sysctls;

/// A request is wrong; the text is docker's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct InvalidError {
    text: String,
}

impl InvalidError {
    /// Returns an error with this text.
    pub fn new(text: String) -> Self {
        Self { text }
    }
}

impl Kinded for InvalidError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// What a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its capabilities.
    pub capabilities: Granted,
    /// Its security options.
    pub security: Security,
    /// What the caller should know.
    pub warnings: Vec<String>,
}

/// Resource limits that `setrlimit` knows.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Checks a request whose image's defaults were merged. `available` are the daemon's capabilities, or `None` when the
/// container has a user namespace of its own.
pub fn check(
    config: &Config,
    host: &HostConfig,
    limitable: &Limitable,
    available: Option<&BTreeSet<String>>,
) -> Result<Checked, InvalidError> {
    let fail = |text: String| Err(InvalidError::new(text));
    let mut warnings = resources::check(&host.resources, limitable)?;
    let granted = capabilities::grant(host.privileged, &host.cap_add, &host.cap_drop, available)?;
    if host.privileged && !granted.missing.is_empty() {
        warnings.push(format!(
            "the container is privileged without {}: the daemon does not have them",
            granted.missing.join(", ")
        ));
    }
    let security = security::parse(&host.security_opt)?;
    let shares = |mode: &str| mode == "host" || mode.starts_with("container:") || mode.starts_with("ns:");
    let (shares_network, shares_ipc) = (shares(&host.network_mode), shares(&host.ipc_mode));
    sysctls::check(&host.sysctls, !shares_ipc, !shares_network)?;
    ids::check(host)?;
    ids::check_clocks(&host.time_offsets)?;
    for mode in [&host.network_mode, &host.pid_mode, &host.ipc_mode, &host.uts_mode] {
        if let Some(path) = mode.strip_prefix("ns:")
            && (!path.starts_with('/') || path.contains('\0'))
        {
            return fail(format!(
                "invalid namespace \"{}\": ns: wants an absolute path",
                shown(mode)
            ));
        }
    }
    for ulimit in &host.ulimits {
        if !ULIMITS.contains(&ulimit.name.as_str()) {
            return fail(format!("invalid ulimit type: {}", shown(&ulimit.name)));
        }
        if ulimit.soft < -1
            || ulimit.hard < -1
            || (ulimit.hard != -1 && (ulimit.soft == -1 || ulimit.soft > ulimit.hard))
        {
            return fail(format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            ));
        }
    }
    for rule in &host.device_cgroup_rules {
        devices::parse_rule(rule)?;
    }
    for device in &host.devices {
        if !device.permissions.is_empty() && !devices::is_access(&device.permissions) {
            return fail(format!("invalid device mode: {}", shown(&device.permissions)));
        }
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return fail(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        ));
    }
    match (host.restart.name.as_str(), host.restart.maximum_retry_count) {
        ("" | "no" | "always" | "unless-stopped" | "on-failure", 0) | ("on-failure", _) => {}
        ("" | "no" | "always" | "unless-stopped", _) => {
            return fail(
                "invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned(),
            );
        }
        (name, _) => {
            return fail(format!(
                "invalid restart policy: unknown policy '{}'",
                shown(name)
            ));
        }
    }
    if host.auto_remove && !matches!(host.restart.name.as_str(), "" | "no") {
        return fail("can't create 'AutoRemove' container with restart policy".to_owned());
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") && !host.uts_mode.starts_with("ns:") {
        return fail(format!("invalid UTS mode: {}", shown(&host.uts_mode)));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return fail(format!("invalid CgroupNS mode: {}", shown(&host.cgroupns_mode)));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host" | "private" | "auto") {
        return fail(format!("invalid USER mode: {}", shown(&host.userns_mode)));
    }
    if !matches!(host.pid_mode.as_str(), "" | "private" | "host")
        && !host.pid_mode.starts_with("container:")
        && !host.pid_mode.starts_with("ns:")
    {
        return fail(format!("invalid PID mode: {}", shown(&host.pid_mode)));
    }
    if !matches!(
        host.ipc_mode.as_str(),
        "" | "none" | "private" | "shareable" | "persistent" | "host"
    ) && !host.ipc_mode.starts_with("container:")
        && !host.ipc_mode.starts_with("ns:")
    {
        return fail(format!("invalid IPC mode: {}", shown(&host.ipc_mode)));
    }
    if (host.uts_mode == "host" || host.uts_mode.starts_with("ns:")) && !config.hostname.is_empty() {
        return fail("conflicting options: hostname and the UTS mode".to_owned());
    }
    if host.network_mode.starts_with("container:") && !config.hostname.is_empty() {
        return fail("conflicting options: hostname and the network mode".to_owned());
    }
    if config.hostname.len() > 63 || !config.hostname.chars().all(is_host_name) {
        return fail(format!("invalid hostname format: {}", shown(&config.hostname)));
    }
    if config.domainname.len() > 63 || !config.domainname.chars().all(is_host_name) {
        return fail(format!(
            "invalid domainname format: {}",
            shown(&config.domainname)
        ));
    }
    for variable in &config.env {
        // A line feed is legal in an environment; a NUL cannot be in one, and an empty name means nothing.
        if variable.is_empty() || variable.starts_with('=') || variable.contains('\0') {
            return fail(format!("invalid environment variable: {}", shown(variable)));
        }
    }
    // A user's name goes to no file of ours, but a control character in it is never meant (CVE-2022-4318).
    if config.user.chars().any(char::is_control) {
        return fail(format!("invalid user: {}", shown(&config.user)));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return fail(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            shown(&config.working_dir)
        ));
    }
    let words = config.entrypoint.iter().chain(&config.cmd).flatten();
    if words.clone().any(|word| word.contains('\0')) || config.working_dir.contains('\0') {
        return fail("invalid command: it contains a NUL".to_owned());
    }
    Ok(Checked {
        capabilities: granted,
        security,
        warnings,
    })
}

fn is_host_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}

/// Returns at most 200 characters of a foreign text, without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .take(200)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
