//! Info and version: facts of the host and the engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use cgroup::{Controller, Version};

use crate::Engine;
use crate::container::Status;
use crate::daemon::UserNamespaceDefault;
use crate::host::Host;

/// Facts of the host; they do not change while it runs.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// `uname -r`.
    pub kernel_version: String,
    /// `PRETTY_NAME` of os-release.
    pub operating_system: String,
    /// `VERSION_ID` of os-release.
    pub os_version: String,
    /// `uname -m`.
    pub machine: String,
    /// The architecture in Go's words (`amd64`).
    pub architecture: String,
    /// The host's name.
    pub name: String,
    /// CPUs that are online.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// Facts of the engine.
#[derive(Clone, Debug, Default)]
pub struct Info {
    /// A stable id of this data root.
    pub id: String,
    /// All containers.
    pub containers: usize,
    /// Those that run.
    pub running: usize,
    /// Those that are paused.
    pub paused: usize,
    /// Those that are neither.
    pub stopped: usize,
    /// Images.
    pub images: usize,
    /// The storage driver.
    pub driver: String,
    /// Its facts, as rows of two.
    pub driver_status: Vec<(String, String)>,
    /// The data root.
    pub data_root: String,
    /// Facts of the host.
    pub host: HostFacts,
    /// `1` or `2`; hybrid counts as `1`.
    pub cgroup_version: String,
    /// The version of the hierarchy that carries each controller: `v1` or `v2`.
    pub cgroup_controllers: BTreeMap<String, String>,
    /// `cgroupfs`.
    pub cgroup_driver: String,
    /// `name=seccomp,profile=builtin`, `name=userns`, `name=cgroupns`.
    pub security_options: Vec<String>,
    /// What this host cannot do (`WARNING: No swap limit support`).
    pub warnings: Vec<String>,
    /// Whether memory can be limited.
    pub memory_limit: bool,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether CPU quotas work.
    pub cpu_quota: bool,
    /// Whether CPU weights work.
    pub cpu_shares: bool,
    /// Whether CPU sets work.
    pub cpu_set: bool,
    /// Whether the number of processes can be limited.
    pub pids_limit: bool,
    /// Whether the OOM killer can be turned off.
    pub oom_kill_disable: bool,
    /// Whether IPv4 forwarding is on.
    pub ipv4_forwarding: bool,
    /// The default log driver.
    pub log_driver: String,
    /// The daemon's labels.
    pub labels: Vec<String>,
    /// Whether this is a debugging daemon.
    pub debug: bool,
    /// Subscribers of events.
    pub event_listeners: usize,
    /// Whether containers get a user namespace of their own by default.
    pub user_namespaces: bool,
    /// Where the init is.
    pub init_binary: String,
}

/// Returns facts of the engine and the host.
pub async fn info(engine: &Arc<Engine>) -> Info {
    let (config, host) = (&engine.config, &engine.host);
    let statuses: Vec<Status> = engine
        .registry
        .all()
        .iter()
        .map(|container| container.view().status)
        .collect();
    let count = |wanted: &[Status]| statuses.iter().filter(|status| wanted.contains(status)).count();
    let running = count(&[Status::Running, Status::Restarting]);
    let paused = count(&[Status::Paused]);
    let user_namespaces = config.user_namespace == UserNamespaceDefault::Private;
    let profile = config.seccomp_profile.as_deref().unwrap_or("builtin");
    let mut security_options = vec![format!("name=seccomp,profile={profile}")];
    if user_namespaces {
        security_options.push("name=userns".to_owned());
    }
    security_options.push("name=cgroupns".to_owned());
    if config.no_new_privileges {
        security_options.push("name=no-new-privileges".to_owned());
    }
    let has = |controller| host.has(controller);
    let mut warnings = Vec::new();
    for (there, text) in [
        (has(Controller::Memory), "WARNING: No memory limit support"),
        (host.limitable.swap, "WARNING: No swap limit support"),
        (has(Controller::Cpu), "WARNING: No cpu cfs quota support"),
        (has(Controller::Cpuset), "WARNING: No cpuset support"),
        (has(Controller::Pids), "WARNING: No pids limit support"),
    ] {
        if !there {
            warnings.push(text.to_owned());
        }
    }
    if has_core_pipe() {
        // A pipe runs a program of the host, as root, for each crash in a container.
        warnings.push(
            "WARNING: core dumps of containers are piped to a program of the host (kernel.core_pattern)"
                .to_owned(),
        );
    }
    if !ipv4_forwarding() {
        warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
    }
    Info {
        id: engine.id.clone(),
        containers: statuses.len(),
        running,
        paused,
        stopped: statuses.len() - running - paused,
        images: engine.images.list().len(),
        driver: engine.storage.kind().docker_name().to_owned(),
        driver_status: vec![(
            "Directory".to_owned(),
            engine.storage.directory().display().to_string(),
        )],
        data_root: config.data_root.display().to_string(),
        host: host.facts.clone(),
        cgroup_version: host.cgroup_version().to_owned(),
        cgroup_controllers: cgroup_controllers(host),
        cgroup_driver: "cgroupfs".to_owned(),
        security_options,
        warnings,
        memory_limit: has(Controller::Memory),
        swap_limit: host.limitable.swap,
        cpu_quota: has(Controller::Cpu),
        cpu_shares: has(Controller::Cpu),
        cpu_set: has(Controller::Cpuset),
        pids_limit: has(Controller::Pids),
        oom_kill_disable: host.cgroup_version() == "1",
        ipv4_forwarding: ipv4_forwarding(),
        log_driver: config.log_driver.clone(),
        labels: config.labels.clone(),
        debug: config.debug,
        event_listeners: engine.events.listeners(),
        user_namespaces,
        init_binary: "builtin".to_owned(),
    }
}

/// Returns facts of the host, for the version.
pub fn host_facts(engine: &Arc<Engine>) -> HostFacts {
    engine.host.facts.clone()
}

fn cgroup_controllers(host: &Host) -> BTreeMap<String, String> {
    let carried = host.cgroups.hierarchies().iter().flat_map(|hierarchy| {
        let version = match hierarchy.version() {
            Version::V1 => "v1",
            Version::V2 => "v2",
        };
        let names = hierarchy.controllers().iter();
        names.map(move |controller| (controller.name().to_owned(), version.to_owned()))
    });
    carried.collect()
}

fn has_core_pipe() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/core_pattern").is_ok_and(|pattern| pattern.starts_with('|'))
}

fn ipv4_forwarding() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "1")
}
