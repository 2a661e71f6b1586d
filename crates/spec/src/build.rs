//! The OCI runtime document of a container.
//!
//! Written as JSON and read back through `oci-spec`'s types: the document is then what any reader of the file would
//! see, and a field that the types do not know is found by the tests.

use std::collections::{BTreeMap, BTreeSet};

use base::error::{Kind, Kinded};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::check::{self, Checked, InvalidError};
use crate::config::{Config, HostConfig, Ulimit};
use crate::devices::{self, Device};
use crate::ids::{self, Ids};
use crate::merge;
use crate::mounts::{self, DefaultMounts, Mount, Shm};
use crate::paths;
use crate::resources::{self, Limitable};

/// Where a container gets one of its namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespace {
    /// A new one.
    #[default]
    Own,
    /// The host's.
    Host,
    /// The one at this path (`/proc/PID/ns/…`).
    At(String),
}

/// Where a container gets its namespaces; mount and time are always its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// User and group ids.
    pub user: Namespace,
    /// Processes.
    pub pid: Namespace,
    /// System V IPC and message queues.
    pub ipc: Namespace,
    /// Host name.
    pub uts: Namespace,
    /// Network.
    pub network: Namespace,
    /// Control groups.
    pub cgroup: Namespace,
}

/// What the engine knows of the host and the container.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The container's id.
    pub id: &'a str,
    /// The host name inside, resolved.
    pub hostname: &'a str,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its ids, when its user namespace is not the host's.
    pub ids: Option<Ids>,
    /// The absolute path of its cgroup.
    pub cgroup: &'a str,
    /// Binds, volumes, tmpfs and Berth's own files, in any order.
    pub mounts: &'a [Mount],
    /// Devices that it gets beyond the usual ones.
    pub devices: &'a [Device],
    /// The numbers of every block device that a limit names.
    pub block_devices: &'a BTreeMap<String, (u32, u32)>,
    /// The daemon's capabilities.
    pub capabilities: &'a BTreeSet<String>,
    /// What the host can limit.
    pub limitable: &'a Limitable,
    /// CPUs whose thermal counters exist.
    pub thermal_cpus: &'a [u32],
    /// Whether `no_new_privs` is set unless the container says otherwise.
    pub no_new_privileges: bool,
    /// The most processes unless the container says otherwise.
    pub pids_limit: i64,
    /// Limits of processes unless the container says otherwise.
    pub ulimits: &'a [Ulimit],
    /// Bytes of /dev/shm unless the container says otherwise.
    pub shm_size: u64,
    /// Whether the host has a /dev/shm, which a container in the host's IPC namespace shares.
    pub host_shm: bool,
}

/// The document cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The request is wrong.
    #[error(transparent)]
    Invalid(#[from] InvalidError),
    /// There is nothing to execute.
    #[error("no command specified")]
    NoCommand,
    /// The document is not what the types of OCI take.
    #[error("encode the runtime document")]
    Encode(#[source] serde_json::Error),
}

impl Kinded for BuildError {
    fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) | Self::NoCommand => Kind::Invalid,
            Self::Encode(_) => Kind::Internal,
        }
    }
}

/// Returns the runtime document of a container whose image's defaults were merged. `root.path` is a placeholder: the
/// task has a recipe instead.
pub fn build(config: &Config, host: &HostConfig, facts: &Facts<'_>) -> Result<Spec, BuildError> {
    let available = (facts.namespaces.user == Namespace::Host).then_some(facts.capabilities);
    let checked = check::check(config, host, facts.limitable, available)?;
    let arguments = merge::command_line(config);
    if arguments.is_empty() {
        return Err(BuildError::NoCommand);
    }
    let own_uts = facts.namespaces.uts == Namespace::Own;
    let mut document = json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": host.read_only_rootfs},
        "mounts": all_mounts(host, facts, &checked),
        "process": process(config, host, facts, &checked, arguments),
        "linux": linux(host, facts, &checked)?,
    });
    if own_uts {
        document["hostname"] = facts.hostname.into();
        if !config.domainname.is_empty() {
            document["domainname"] = config.domainname.clone().into();
        }
    }
    if !host.annotations.is_empty() {
        document["annotations"] = json!(host.annotations);
    }
    serde_json::from_value(document).map_err(BuildError::Encode)
}

fn process(
    config: &Config,
    host: &HostConfig,
    facts: &Facts<'_>,
    checked: &Checked,
    arguments: Vec<String>,
) -> Value {
    let capabilities: Vec<&str> = checked.capabilities.names.iter().copied().collect();
    let cwd = if config.working_dir.is_empty() {
        "/"
    } else {
        &config.working_dir
    };
    let mut process = json!({
        "terminal": config.tty,
        "user": {"uid": 0, "gid": 0},
        "args": arguments,
        "env": merge::environment(config, facts.hostname, &[]),
        "cwd": cwd,
        // Inheritable and ambient stay empty (CVE-2022-24769); the runtime empties the effective set of a user
        // other than root.
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
            "inheritable": [],
            "ambient": [],
        },
        "noNewPrivileges": checked.security.no_new_privileges.unwrap_or(facts.no_new_privileges),
        "oomScoreAdj": host.oom_score_adj,
    });
    let rlimits = rlimits(&host.ulimits, facts.ulimits);
    if !rlimits.is_empty() {
        process["rlimits"] = rlimits.into();
    }
    process
}

fn rlimits(own: &[Ulimit], defaults: &[Ulimit]) -> Vec<Value> {
    let unlimited = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    let kept = defaults
        .iter()
        .filter(|default| own.iter().all(|own| own.name != default.name));
    own.iter()
        .chain(kept)
        .map(|limit| {
            json!({
                "type": format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
                "soft": unlimited(limit.soft),
                "hard": unlimited(limit.hard),
            })
        })
        .collect()
}

fn all_mounts(host: &HostConfig, facts: &Facts<'_>, checked: &Checked) -> Vec<Value> {
    let namespaces = &facts.namespaces;
    let size = host.shm_size.filter(|&size| size > 0).unwrap_or(facts.shm_size);
    let shm = match (&namespaces.ipc, host.ipc_mode.as_str()) {
        (_, "none") => Shm::Absent,
        (Namespace::Host, _) if facts.host_shm => Shm::Host,
        (Namespace::At(path), _) if let Some(process) = path.strip_suffix("/ns/ipc") => Shm::Of(process),
        (_, _) => Shm::Own(size),
    };
    let mut all = mounts::defaults(DefaultMounts {
        writable_sys: host.privileged,
        writable_cgroup: host.privileged || checked.security.writable_cgroups,
        bind_sys: namespaces.user != Namespace::Host && namespaces.network == Namespace::Host,
        shm,
    });
    // Terminals belong to the group tty, unless that is nobody's in the container.
    if facts
        .ids
        .as_ref()
        .is_some_and(|ids| !ids.has_group(mounts::TTY_GROUP))
    {
        for options in all.iter_mut().filter_map(|mount| mount["options"].as_array_mut()) {
            options.retain(|option| option != mounts::TTY_OPTION);
        }
    }
    // A mount that was asked for takes the place of a default one at the same path (`-v /x:/dev/shm`).
    all.retain(|default| {
        let place = default["destination"].as_str().unwrap_or_default();
        facts.mounts.iter().all(|mount| mount.target() != place)
    });
    // Parents before children, so that none hides another.
    let mut wanted: Vec<&Mount> = facts.mounts.iter().collect();
    wanted.sort_by_key(|mount| {
        let target = mount.target();
        (
            target.split('/').filter(|part| !part.is_empty()).count(),
            target.to_owned(),
        )
    });
    all.extend(wanted.into_iter().map(Mount::to_oci));
    all
}

fn linux(host: &HostConfig, facts: &Facts<'_>, checked: &Checked) -> Result<Value, BuildError> {
    let mut limits = resources::to_oci(
        &host.resources,
        facts.pids_limit,
        facts.limitable.swap,
        facts.block_devices,
    )?;
    let mut rules = if host.privileged {
        vec![devices::allow_all()]
    } else {
        let mut rules = devices::default_rules();
        rules.extend(facts.devices.iter().map(Device::rule));
        rules
    };
    for rule in &host.device_cgroup_rules {
        rules.push(devices::parse_rule(rule)?);
    }
    limits.insert("devices".to_owned(), rules.into());
    let mut linux = json!({
        "cgroupsPath": facts.cgroup,
        "namespaces": namespaces(&facts.namespaces),
        "resources": limits,
        "devices": facts.devices.iter().map(Device::node).collect::<Vec<_>>(),
    });
    // Of a joined user namespace too: the runtime cannot read its map from outside.
    if let (Some(ids), Namespace::Own | Namespace::At(_)) = (&facts.ids, &facts.namespaces.user) {
        (linux["uidMappings"], linux["gidMappings"]) = ids.to_oci();
    }
    if !host.time_offsets.is_empty() {
        linux["timeOffsets"] = ids::clocks_to_oci(&host.time_offsets);
    }
    if !host.sysctls.is_empty() {
        linux["sysctl"] = json!(host.sysctls);
    }
    let open = host.privileged || checked.security.unconfined_system_paths;
    let (masked, read_only) = system_paths(host, facts, open);
    linux["maskedPaths"] = masked.into();
    linux["readonlyPaths"] = read_only.into();
    Ok(linux)
}

fn system_paths(host: &HostConfig, facts: &Facts<'_>, open: bool) -> (Vec<String>, Vec<String>) {
    let masked = || {
        let throttles = facts.thermal_cpus.iter().map(|&cpu| paths::thermal_throttle(cpu));
        paths::MASKED
            .into_iter()
            .map(str::to_owned)
            .chain(throttles)
            .collect()
    };
    let read_only = || paths::READ_ONLY.into_iter().map(str::to_owned).collect();
    match open {
        true => (Vec::new(), Vec::new()),
        false => (
            host.masked_paths.clone().unwrap_or_else(masked),
            host.readonly_paths.clone().unwrap_or_else(read_only),
        ),
    }
}

fn namespaces(namespaces: &Namespaces) -> Vec<Value> {
    let mut all = vec![json!({"type": "mount"}), json!({"type": "time"})];
    for (kind, namespace) in [
        ("user", &namespaces.user),
        ("pid", &namespaces.pid),
        ("ipc", &namespaces.ipc),
        ("uts", &namespaces.uts),
        ("network", &namespaces.network),
        ("cgroup", &namespaces.cgroup),
    ] {
        match namespace {
            Namespace::Own => all.push(json!({"type": kind})),
            Namespace::Host => {}
            Namespace::At(path) => all.push(json!({"type": kind, "path": path})),
        }
    }
    all
}

#[cfg(test)]
mod tests;
