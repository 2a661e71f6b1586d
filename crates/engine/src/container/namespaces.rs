//! Which namespaces a container gets, decided at creation and resolved to paths at each start.

use std::sync::Arc;

use spec::{Namespace, Namespaces};

use super::record::Container;
use super::view::Status;
use crate::Engine;
use crate::config::{Config, HostConfig};
use crate::daemon::UserNamespaceDefault;

/// The user namespace of a container to be.
#[derive(Clone, Debug)]
pub(crate) enum User {
    /// Its own.
    Own,
    /// The host's.
    Host,
    /// That of a container whose other namespaces it joins.
    Of(Arc<Container>),
}

/// A request cannot be kept; the text goes to the client.
pub(crate) type Refused = String;

/// Checks the modes and decides about the user namespace; warnings go to `warnings`.
pub(crate) fn decide(
    engine: &Engine,
    config: &Config,
    host: &HostConfig,
    warnings: &mut Vec<String>,
) -> Result<User, Refused> {
    match host.network_mode.as_str() {
        "" | "default" if config.network_disabled => {}
        "" | "default" => warnings.push(
            "the container has no network but loopback: bridge networks are not part of this version of Berth".to_owned(),
        ),
        "none" | "host" => {}
        mode if mode.starts_with("container:") => {}
        mode => {
            return Err(format!(
                "network \"{}\" cannot be joined: networks other than none, host and container:ID are not part of this version of Berth",
                mode.chars().take(80).filter(|c| !c.is_control()).collect::<String>()
            ));
        }
    }
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
            warnings
                .push("/dev/shm is not shared with the container whose IPC namespace is joined".to_owned());
        }
        let base = |container: &Container| container.record().user_base;
        if joined.as_ref().is_some_and(|other| base(other) != base(&target)) {
            return Err(
                "the containers whose namespaces are joined have different user namespaces".to_owned(),
            );
        }
        joined = Some(target);
    }
    let shares_host = host.network_mode == "host"
        || host.pid_mode == "host"
        || host.ipc_mode == "host"
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
    let wants_host =
        host.userns_mode == "host" || host.privileged || shares_host || (default_host && !private_wanted);
    match joined {
        Some(target) if wants_host && target.record().user_base.is_some() && !default_host => Err(
            "a container that shares namespaces of the host cannot join one with a user namespace of its own"
                .to_owned(),
        ),
        Some(target) if target.record().user_base.is_some() => Ok(User::Of(target)),
        Some(_) => Ok(User::Host),
        None if wants_host => Ok(User::Host),
        None => Ok(User::Own),
    }
}

/// Returns the namespaces for a start; the containers that are joined must run.
pub(crate) fn resolve(
    engine: &Engine,
    host: &HostConfig,
    user_base: Option<u32>,
) -> Result<Namespaces, Refused> {
    let mut user = if user_base.is_some() {
        Namespace::Own
    } else {
        Namespace::Host
    };
    let mut join = |mode: &str, file: &str| -> Result<Namespace, Refused> {
        match mode {
            "host" => Ok(Namespace::Host),
            mode => match mode.strip_prefix("container:") {
                None => Ok(Namespace::Own),
                Some(name) => {
                    let target = engine.registry.find(name).map_err(|error| error.to_string())?;
                    let view = target.view();
                    if view.pid == 0 || !view.status.has_process() {
                        let doing = if view.status == Status::Restarting {
                            "restarting"
                        } else {
                            "non running"
                        };
                        return Err(format!(
                            "cannot join namespace of a {doing} container: {}",
                            target.id
                        ));
                    }
                    if target.record().user_base != user_base {
                        return Err(format!("container {} has another user namespace", target.id));
                    }
                    if user_base.is_some() {
                        user = Namespace::At(format!("/proc/{}/ns/user", view.pid));
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
    Ok(Namespaces {
        user,
        pid,
        ipc,
        uts,
        network,
        cgroup,
    })
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
