//! Which namespaces a container gets, decided at creation and resolved to paths at each start.

use std::sync::Arc;

use oci_spec::runtime::LinuxNamespaceType;
use shim_api::task::JoinedProcess;
use spec::{Ids, Namespace, Namespaces};

use super::record::Container;
use super::view::Status;
use crate::Engine;
use crate::config::{Config, HostConfig};
use crate::daemon::UserNamespaceDefault;
use crate::registry::FIRST_ID;

/// The user namespace of a container to be.
#[derive(Clone, Debug)]
pub(crate) enum User {
    /// Its own, with a range of ids that is given out for it.
    Own,
    /// Its own, with the ids that were asked for.
    Mapped,
    /// The host's.
    Host,
    /// That of a container whose other namespaces it joins.
    Of(Arc<Container>),
}

/// A request cannot be kept; the text goes to the client.
pub(crate) type Refused = String;

/// Checks the modes and decides about the user namespace.
pub(crate) fn decide(engine: &Engine, host: &HostConfig) -> Result<User, Refused> {
    let mut joined: Option<Arc<Container>> = None;
    for (mode, what) in [
        (&host.network_mode, "network"),
        (&host.pid_mode, "PID"),
        (&host.ipc_mode, "IPC"),
    ] {
        let Some(name) = mode.strip_prefix("container:") else {
            continue;
        };
        let target = engine.registry.find(name).map_err(|error| error.to_string())?;
        if what == "IPC" {
            let donor = target.record();
            if !matches!(donor.host.ipc_mode.as_str(), "shareable" | "host") {
                return Err(format!(
                    "can't join IPC of container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                    target.id
                ));
            }
        }
        let ids = |container: &Container| container.record().ids();
        if joined.as_ref().is_some_and(|other| ids(other) != ids(&target)) {
            return Err(
                "the containers whose namespaces are joined have different user namespaces".to_owned(),
            );
        }
        joined = Some(target);
    }
    // A foreign namespace of processes or of IPC objects is nothing without rights in the user namespace that owns it;
    // a foreign network or host name is.
    let is_foreign = |mode: &str| mode == "host" || mode.starts_with("ns:");
    let shares_host = host.network_mode == "host"
        || is_foreign(&host.pid_mode)
        || is_foreign(&host.ipc_mode)
        || host.uts_mode == "host"
        || host.cgroupns_mode == "host";
    let private_wanted = matches!(host.userns_mode.as_str(), "private" | "auto");
    if private_wanted && (shares_host || host.privileged) {
        return Err(
            "a user namespace of the container's own cannot be combined with --privileged or a namespace of the host"
                .to_owned(),
        );
    }
    let default_host = engine.config.user_namespace == UserNamespaceDefault::Host;
    check_kept(host, joined.is_some())?;
    if let Some(ids) = Ids::requested(host) {
        if host.userns_mode == "host" || host.privileged || shares_host || joined.is_some() {
            return Err(
                "--uidmap and --gidmap cannot be combined with --privileged, --userns=host or a namespace of the host or of another container"
                    .to_owned(),
            );
        }
        if ids.last_host_id() >= FIRST_ID {
            return Err(format!(
                "--uidmap and --gidmap can name host ids below {FIRST_ID}: those from there on are given out for containers without maps"
            ));
        }
        return Ok(User::Mapped);
    }
    let wants_host =
        host.userns_mode == "host" || host.privileged || shares_host || (default_host && !private_wanted);
    match joined {
        Some(target) if wants_host && target.record().ids().is_some() && !default_host => Err(
            "a container that shares namespaces of the host cannot join one with a user namespace of its own"
                .to_owned(),
        ),
        Some(target) if target.record().ids().is_some() => Ok(User::Of(target)),
        Some(_) => Ok(User::Host),
        None if wants_host => Ok(User::Host),
        None => Ok(User::Own),
    }
}

/// Checks `--keep-ns` and `--ipc=persistent`.
fn check_kept(host: &HostConfig, joins: bool) -> Result<(), Refused> {
    let flag = match (host.keep_namespaces, host.ipc_mode.as_str()) {
        (true, _) => "--keep-ns",
        (false, "persistent") => "--ipc=persistent",
        (false, _) => return Ok(()),
    };
    if host.auto_remove {
        return Err(format!(
            "conflicting options: cannot specify both {flag} and --rm"
        ));
    }
    if joins {
        return Err(format!(
            "{flag} cannot be combined with a namespace of another container"
        ));
    }
    let has_own = [&host.uts_mode, &host.ipc_mode, &host.network_mode]
        .into_iter()
        .any(|mode| mode != "host" && !mode.starts_with("ns:"));
    match has_own {
        true => Ok(()),
        false => Err(format!(
            "{flag} has nothing to keep: every namespace is the host's or another's"
        )),
    }
}

/// Returns which of a container's namespaces outlive its PID 1: the user namespace first, which owns the others.
pub(crate) fn kept(host: &HostConfig, namespaces: &Namespaces) -> Vec<LinuxNamespaceType> {
    let keeps_ipc = host.keep_namespaces || host.ipc_mode == "persistent";
    let all = [
        (LinuxNamespaceType::User, keeps_ipc, &namespaces.user),
        (LinuxNamespaceType::Uts, host.keep_namespaces, &namespaces.uts),
        (LinuxNamespaceType::Ipc, keeps_ipc, &namespaces.ipc),
        (
            LinuxNamespaceType::Network,
            host.keep_namespaces,
            &namespaces.network,
        ),
    ];
    all.into_iter()
        .filter(|(_, wanted, namespace)| *wanted && **namespace == Namespace::Own)
        .map(|(kind, ..)| kind)
        .collect()
}

/// Returns the namespaces for a start, and the processes that they are those of; the containers that are joined must run.
pub(crate) fn resolve(
    engine: &Engine,
    host: &HostConfig,
    ids: Option<&Ids>,
) -> Result<(Namespaces, Vec<JoinedProcess>), Refused> {
    let mut joined: Vec<JoinedProcess> = Vec::new();
    let mut user = if ids.is_some() {
        Namespace::Own
    } else {
        Namespace::Host
    };
    let mut join = |mode: &str, file: &str| -> Result<Namespace, Refused> {
        if let Some(path) = mode.strip_prefix("ns:") {
            return Ok(Namespace::At(path.to_owned()));
        }
        match mode {
            "host" => Ok(Namespace::Host),
            mode => match mode.strip_prefix("container:") {
                None => Ok(Namespace::Own),
                Some(name) => {
                    let target = engine.registry.find(name).map_err(|error| error.to_string())?;
                    let view = target.view();
                    let start_time = || {
                        let directory = sys::process::open_directory(view.pid).ok()?;
                        sys::process::start_time(directory)
                    };
                    let running = view.pid != 0 && view.status.has_process();
                    let Some(start_time) = running.then(start_time).flatten() else {
                        let doing = if view.status == Status::Restarting {
                            "restarting"
                        } else {
                            "non running"
                        };
                        return Err(format!(
                            "cannot join {} of a {doing} container: {}",
                            match file {
                                "net" => "network",
                                "pid" => "PID",
                                "ipc" => "IPC",
                                _ => "namespace",
                            },
                            target.id
                        ));
                    };
                    if target.record().ids().as_ref() != ids {
                        return Err(format!("container {} has another user namespace", target.id));
                    }
                    if ids.is_some() {
                        user = Namespace::At(format!("/proc/{}/ns/user", view.pid));
                    }
                    let process = JoinedProcess {
                        pid: view.pid,
                        start_time,
                    };
                    if !joined.contains(&process) {
                        joined.push(process);
                    }
                    Ok(Namespace::At(format!("/proc/{}/ns/{file}", view.pid)))
                }
            },
        }
    };
    let network = join(&host.network_mode, "net")?;
    let pid = join(&host.pid_mode, "pid")?;
    let ipc = join(&host.ipc_mode, "ipc")?;
    let uts = join(&host.uts_mode, "uts")?;
    let cgroup = join(&host.cgroupns_mode, "cgroup")?;
    let namespaces = Namespaces {
        user,
        pid,
        ipc,
        uts,
        network,
        cgroup,
    };
    Ok((namespaces, joined))
}

/// Returns the host name inside.
pub(crate) fn hostname(engine: &Engine, id: &str, config: &Config, host: &HostConfig) -> String {
    if !config.hostname.is_empty() {
        return config.hostname.clone();
    }
    if host.uts_mode == "host" || host.network_mode == "host" {
        return engine.host.facts.name.clone();
    }
    if let Some(name) = host.network_mode.strip_prefix("container:")
        && let Ok(target) = engine.registry.find(name)
        && !Arc::ptr_eq(
            &target,
            &engine.registry.get(id).unwrap_or_else(|| Arc::clone(&target)),
        )
    {
        let record = target.record();
        // One level only: the target of a target shows its own name.
        if !record.config.hostname.is_empty() {
            return record.config.hostname.clone();
        }
        return target.id.short().to_owned();
    }
    id.chars().take(12).collect()
}
