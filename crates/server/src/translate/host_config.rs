//! `HostConfig` ↔ [`engine::config::HostConfig`]: every one of Docker's properties is translated or refused by name.

use std::collections::BTreeMap;

use api_types::host_config as api;
use api_types::mount as api_mount;
use api_types::network::PortBinding;
use engine::config::{
    DeviceLimit, DeviceRequest, HostConfig, IdMap, LogRequest, MountRequest, NetBudget, PortRequest,
    Protocol, Resources, RestartRequest, RootfsRequest, Ulimit,
};

use super::{list, signed};
use crate::status::ApiError;

/// Translates the host configuration of a new container.
pub(crate) fn from_api(api: api::HostConfig) -> Result<HostConfig, ApiError> {
    refuse_unsupported(&api)?;
    let resources = resources_from(&api);
    let ports = ports(&api)?;
    Ok(HostConfig {
        binds: api.binds.unwrap_or_default(),
        mounts: api.mounts.into_iter().map(mount_from).collect::<Result<_, _>>()?,
        tmpfs: api.tmpfs,
        volumes_from: api.volumes_from.unwrap_or_default(),
        volume_driver: api.volume_driver,
        rootfs: rootfs_from(&api.berth_rootfs)?,
        read_only_rootfs: api.readonly_rootfs,
        storage_opt: api.storage_opt,
        network_mode: api.network_mode,
        ports,
        endpoints: std::collections::BTreeMap::new(),
        publish_all_ports: api.publish_all_ports,
        net_rate_in: rate(api.berth_net_rate_in)?.unwrap_or(0),
        net_rate_out: rate(api.berth_net_rate_out)?.unwrap_or(0),
        net_budget_in: budget(api.berth_net_budget_in)?.flatten(),
        net_budget_out: budget(api.berth_net_budget_out)?.flatten(),
        dns: api.dns.unwrap_or_default(),
        dns_options: api.dns_options.unwrap_or_default(),
        dns_search: api.dns_search.unwrap_or_default(),
        extra_hosts: api.extra_hosts.unwrap_or_default(),
        links: api.links.unwrap_or_default(),
        pid_mode: api.pid_mode,
        ipc_mode: api.ipc_mode,
        uts_mode: api.uts_mode,
        userns_mode: api.userns_mode,
        uid_maps: api.berth_uid_maps.into_iter().map(map_from).collect(),
        gid_maps: api.berth_gid_maps.into_iter().map(map_from).collect(),
        time_offsets: api.berth_time_offsets,
        keep_namespaces: api.berth_keep_namespaces,
        cgroupns_mode: api.cgroupns_mode,
        cgroup_parent: api.cgroup_parent,
        privileged: api.privileged,
        cap_add: api.cap_add.unwrap_or_default(),
        cap_drop: api.cap_drop.unwrap_or_default(),
        group_add: api.group_add.unwrap_or_default(),
        security_opt: api.security_opt.unwrap_or_default(),
        masked_paths: api.masked_paths,
        readonly_paths: api.readonly_paths,
        sysctls: api.sysctls,
        annotations: api.annotations,
        runtime: api.runtime,
        oom_score_adj: i32::try_from(api.oom_score_adj).map_err(
            |_out_of_range: std::num::TryFromIntError| {
                ApiError::invalid("invalid value for oom score adj: range is [-1000, 1000]")
            },
        )?,
        init: api.init,
        devices: api
            .devices
            .unwrap_or_default()
            .into_iter()
            .map(device_from)
            .collect(),
        device_cgroup_rules: api.device_cgroup_rules.unwrap_or_default(),
        device_requests: api
            .device_requests
            .unwrap_or_default()
            .iter()
            .map(device_request_text)
            .collect(),
        resources,
        ulimits: api
            .ulimits
            .unwrap_or_default()
            .into_iter()
            .map(ulimit_from)
            .collect(),
        shm_size: match u64::try_from(api.shm_size) {
            Ok(0) => None,
            Ok(bytes) => Some(bytes),
            Err(_) => return Err(ApiError::invalid("SHM size can not be less than 0")),
        },
        log: LogRequest {
            driver: api.log_config.kind,
            options: api.log_config.config,
        },
        restart: restart_from(api.restart_policy)?,
        auto_remove: api.auto_remove,
        container_id_file: api.container_id_file,
        console_size: (api.console_size != [0, 0]).then_some((api.console_size[0], api.console_size[1])),
    })
}

/// Refuses the properties that the engine has no word for.
fn refuse_unsupported(api: &api::HostConfig) -> Result<(), ApiError> {
    let windows = [
        (api.cpu_count != 0, "CpuCount (--cpu-count)"),
        (api.cpu_percent != 0, "CpuPercent (--cpu-percent)"),
        (api.io_maximum_iops != 0, "IOMaximumIOps (--io-maxiops)"),
        (
            api.io_maximum_bandwidth != 0,
            "IOMaximumBandwidth (--io-maxbandwidth)",
        ),
    ];
    if let Some((_, name)) = windows.into_iter().find(|(set, _)| *set) {
        return Err(ApiError::invalid(format!("{name} is only supported on Windows")));
    }
    if !matches!(api.isolation.as_str(), "" | "default") {
        return Err(ApiError::invalid(format!(
            "invalid isolation \"{}\" on linux",
            api.isolation
        )));
    }
    let unsupported = [
        (!api.cgroup.is_empty(), "HostConfig.Cgroup"),
        (api.kernel_memory_tcp != 0, "KernelMemoryTCP"),
    ];
    match unsupported.into_iter().find(|(set, _)| *set) {
        Some((_, name)) => Err(ApiError::unsupported(name)),
        None => Ok(()),
    }
}

fn map_from(map: api::IdMap) -> IdMap {
    IdMap {
        container: map.container_id,
        host: map.host_id,
        size: map.size,
    }
}

fn rootfs_from(text: &str) -> Result<Option<RootfsRequest>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let (path, overlay) = match text.strip_suffix(":O") {
        Some(path) => (path, true),
        None => (text, false),
    };
    if !path.starts_with('/') {
        return Err(ApiError::invalid(format!(
            "invalid rootfs \"{path}\": the path must be absolute"
        )));
    }
    Ok(Some(RootfsRequest {
        path: path.into(),
        overlay,
    }))
}

fn ports(api: &api::HostConfig) -> Result<Vec<PortRequest>, ApiError> {
    let mut requests = Vec::new();
    for (container, bindings) in &api.port_bindings {
        let (port, protocol) = container.split_once('/').unwrap_or((container, "tcp"));
        let (Ok(port), Ok(protocol)) = (port.parse(), protocol.parse::<Protocol>()) else {
            return Err(match port.parse::<u16>() {
                Ok(_) => ApiError::invalid(format!("invalid proto: {}", protocol.escape_default())),
                Err(_) => wrong_port(port),
            });
        };
        // docker's client sends null for a port without a binding, which asks for any.
        let any = [api_types::network::PortBinding::default()];
        let bindings = bindings.as_deref().filter(|list| !list.is_empty());
        for binding in bindings.unwrap_or(&any) {
            let request = PortRequest {
                port,
                count: 1,
                protocol,
                host_ip: host_ip(&binding.host_ip)?,
                host_ports: host_ports(&binding.host_port)?,
            };
            request.add_to(&mut requests);
        }
    }
    Ok(requests)
}

fn host_ip(text: &str) -> Result<Option<std::net::IpAddr>, ApiError> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_bad| ApiError::invalid(format!("invalid IP address: {}", text.escape_default()))),
    }
}

fn host_ports(text: &str) -> Result<Option<(u16, u16)>, ApiError> {
    if matches!(text, "" | "0") {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first > 0 && first <= last => Ok(Some((first, last))),
        _ => Err(wrong_port(text)),
    }
}

fn wrong_port(text: &str) -> ApiError {
    ApiError::invalid(format!(
        "invalid port specification: \"{}\"",
        text.escape_default()
    ))
}

fn mount_from(mount: api_mount::Mount) -> Result<MountRequest, ApiError> {
    let api_mount::Mount {
        kind,
        source,
        target,
        read_only,
        consistency,
        bind_options,
        volume_options,
        image_options,
        tmpfs_options,
        cluster_options,
    } = mount;
    if cluster_options.is_some() {
        return Err(ApiError::unsupported("mount option ClusterOptions"));
    }
    if image_options.is_some_and(|options| !options.subpath.is_empty()) {
        return Err(ApiError::unsupported("mount option image-subpath"));
    }
    for (set, wanted, field) in [
        (bind_options.is_some(), "bind", "BindOptions"),
        (volume_options.is_some(), "volume", "VolumeOptions"),
        (tmpfs_options.is_some(), "tmpfs", "TmpfsOptions"),
    ] {
        if set && kind != wanted {
            return Err(ApiError::invalid(format!(
                "invalid mount config for type \"{kind}\": field {field} must not be specified"
            )));
        }
    }
    let bind = bind_options.unwrap_or_default();
    let volume = volume_options.unwrap_or_default();
    let driver = volume.driver_config.unwrap_or_default();
    let tmpfs = tmpfs_options.unwrap_or_default();
    Ok(MountRequest {
        kind,
        source,
        target,
        read_only,
        consistency,
        propagation: bind.propagation,
        non_recursive: bind.non_recursive,
        create_mountpoint: bind.create_mountpoint,
        read_only_non_recursive: bind.read_only_non_recursive,
        read_only_force_recursive: bind.read_only_force_recursive,
        no_copy: volume.no_copy,
        labels: volume.labels,
        driver: driver.name,
        driver_options: driver.options,
        subpath: volume.subpath,
        tmpfs_size: match u64::try_from(tmpfs.size_bytes) {
            Ok(0) => None,
            Ok(bytes) => Some(bytes),
            Err(_) => {
                return Err(ApiError::invalid(
                    "invalid mount config for type \"tmpfs\": size must not be negative",
                ));
            }
        },
        tmpfs_mode: Some(tmpfs.mode).filter(|mode| *mode != 0),
        tmpfs_options: tmpfs.options,
    })
}

fn device_from(device: api::DeviceMapping) -> DeviceRequest {
    DeviceRequest {
        path_on_host: device.path_on_host,
        path_in_container: device.path_in_container,
        permissions: device.cgroup_permissions,
    }
}

fn device_request_text(request: &api::DeviceRequest) -> String {
    let words = request
        .device_ids
        .iter()
        .flatten()
        .chain(request.capabilities.iter().flatten().flatten());
    let words: Vec<&str> = words.map(String::as_str).collect();
    format!(
        "{}:{}",
        if request.driver.is_empty() {
            "gpu"
        } else {
            &request.driver
        },
        words.join(",")
    )
}

fn ulimit_from(ulimit: api::Ulimit) -> Ulimit {
    Ulimit {
        name: ulimit.name,
        soft: ulimit.soft,
        hard: ulimit.hard,
    }
}

fn restart_from(policy: api::RestartPolicy) -> Result<RestartRequest, ApiError> {
    let maximum_retry_count =
        u32::try_from(policy.maximum_retry_count).map_err(|_out_of_range: std::num::TryFromIntError| {
            ApiError::invalid("invalid restart policy: maximum retry count cannot be negative")
        })?;
    Ok(RestartRequest {
        name: policy.name,
        maximum_retry_count,
    })
}

fn resources_from(api: &api::HostConfig) -> Resources {
    Resources {
        cpu_shares: api.cpu_shares,
        nano_cpus: api.nano_cpus,
        cpu_period: api.cpu_period,
        cpu_quota: api.cpu_quota,
        cpu_realtime_period: api.cpu_realtime_period,
        cpu_realtime_runtime: api.cpu_realtime_runtime,
        cpuset_cpus: api.cpuset_cpus.clone(),
        cpuset_mems: api.cpuset_mems.clone(),
        memory: api.memory,
        memory_reservation: api.memory_reservation,
        memory_swap: api.memory_swap,
        memory_swappiness: api.memory_swappiness,
        kernel_memory: api.kernel_memory,
        oom_kill_disable: api.oom_kill_disable,
        // Docker: "0 or null for the default".
        pids_limit: api.pids_limit.filter(|limit| *limit != 0),
        blkio_weight: api.blkio_weight,
        blkio_weight_device: weights_from(&api.blkio_weight_device),
        blkio_device_read_bps: limits_from(&api.blkio_device_read_bps),
        blkio_device_write_bps: limits_from(&api.blkio_device_write_bps),
        blkio_device_read_iops: limits_from(&api.blkio_device_read_iops),
        blkio_device_write_iops: limits_from(&api.blkio_device_write_iops),
    }
}

fn weights_from(devices: &Option<Vec<api::WeightDevice>>) -> Vec<DeviceLimit> {
    let devices = devices.iter().flatten();
    devices
        .map(|device| DeviceLimit {
            path: device.path.clone(),
            value: device.weight.into(),
        })
        .collect()
}

fn limits_from(devices: &Option<Vec<api::ThrottleDevice>>) -> Vec<DeviceLimit> {
    let devices = devices.iter().flatten();
    devices
        .map(|device| DeviceLimit {
            path: device.path.clone(),
            value: device.rate,
        })
        .collect()
}

/// Translates ports back.
fn port_bindings(ports: &[PortRequest]) -> BTreeMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: BTreeMap<String, Option<Vec<PortBinding>>> = BTreeMap::new();
    for request in ports.iter().flat_map(|request| request.each()) {
        let key = format!("{}/{}", request.port, request.protocol.as_str());
        bindings
            .entry(key)
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: request
                    .host_ip
                    .map(|address| address.to_string())
                    .unwrap_or_default(),
                host_port: match request.host_ports {
                    None => String::new(),
                    Some((first, last)) if first == last => first.to_string(),
                    Some((first, last)) => format!("{first}-{last}"),
                },
            });
    }
    bindings
}

/// Returns a rate in bits per second; -1 is without limit, 0 says nothing.
fn rate(sent: i64) -> Result<Option<u64>, ApiError> {
    match sent {
        0 => Ok(None),
        -1 => Ok(Some(0)),
        sent => match u64::try_from(sent) {
            Ok(rate) if rate >= 8_000 => Ok(Some(rate)),
            _ => Err(ApiError::invalid(format!(
                "invalid rate {sent}: at least 8000 bits per second are needed, or -1"
            ))),
        },
    }
}

/// Reads how many bytes may pass in a time: 0 is not said, -1 is without limit, which is `Some(None)`.
fn budget(sent: api::NetBudget) -> Result<Option<Option<NetBudget>>, ApiError> {
    let invalid = || {
        ApiError::invalid(format!(
            "invalid budget of {} bytes in {} seconds: both must be positive, seconds may be 0, or bytes -1",
            sent.bytes, sent.seconds
        ))
    };
    match (u64::try_from(sent.bytes), u64::try_from(sent.seconds)) {
        (Ok(0), Ok(0)) => Ok(None),
        (Err(_), Ok(0)) if sent.bytes == -1 => Ok(Some(None)),
        (Ok(bytes), Ok(seconds)) if bytes > 0 && seconds <= LONGEST_BUDGET => {
            Ok(Some(Some(NetBudget { bytes, seconds })))
        }
        _ => Err(invalid()),
    }
}

/// The longest time of a budget in seconds: ten years.
const LONGEST_BUDGET: u64 = 10 * 366 * 24 * 3600;

/// Translates back.
fn budget_to(budget: Option<NetBudget>) -> api::NetBudget {
    let small = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    budget.map_or_else(api::NetBudget::default, |budget| api::NetBudget {
        bytes: small(budget.bytes),
        seconds: small(budget.seconds),
    })
}

/// Translates an update.
pub(crate) fn update_from_api(api: api::UpdateRequest) -> Result<engine::container::UpdateRequest, ApiError> {
    let unsupported = [
        (!api.cgroup_parent.is_empty(), "CgroupParent in an update"),
        (
            api.devices.as_ref().is_some_and(|list| !list.is_empty()),
            "Devices in an update",
        ),
        (
            api.device_cgroup_rules
                .as_ref()
                .is_some_and(|list| !list.is_empty()),
            "DeviceCgroupRules in an update",
        ),
        (
            api.device_requests.as_ref().is_some_and(|list| !list.is_empty()),
            "DeviceRequests in an update",
        ),
        (
            api.ulimits.as_ref().is_some_and(|list| !list.is_empty()),
            "Ulimits in an update",
        ),
    ];
    if let Some((_, name)) = unsupported.into_iter().find(|(set, _)| *set) {
        return Err(ApiError::unsupported(name));
    }
    let restart = match restart_from(api.restart_policy)? {
        unchanged if unchanged.name.is_empty() => None,
        policy => Some(policy),
    };
    let resources = Resources {
        cpu_shares: api.cpu_shares,
        nano_cpus: api.nano_cpus,
        cpu_period: api.cpu_period,
        cpu_quota: api.cpu_quota,
        cpu_realtime_period: api.cpu_realtime_period,
        cpu_realtime_runtime: api.cpu_realtime_runtime,
        cpuset_cpus: api.cpuset_cpus,
        cpuset_mems: api.cpuset_mems,
        memory: api.memory,
        memory_reservation: api.memory_reservation,
        memory_swap: api.memory_swap,
        memory_swappiness: api.memory_swappiness,
        kernel_memory: api.kernel_memory,
        oom_kill_disable: api.oom_kill_disable,
        pids_limit: api.pids_limit,
        blkio_weight: api.blkio_weight,
        blkio_weight_device: weights_from(&api.blkio_weight_device),
        blkio_device_read_bps: limits_from(&api.blkio_device_read_bps),
        blkio_device_write_bps: limits_from(&api.blkio_device_write_bps),
        blkio_device_read_iops: limits_from(&api.blkio_device_read_iops),
        blkio_device_write_iops: limits_from(&api.blkio_device_write_iops),
    };
    let shm_size = match u64::try_from(api.shm_size) {
        Ok(0) => None,
        Ok(size) => Some(size),
        Err(_negative) => return Err(ApiError::invalid("SHM size can not be less than 0")),
    };
    Ok(engine::container::UpdateRequest {
        resources,
        restart,
        shm_size,
        net_rate_in: rate(api.berth_net_rate_in)?,
        net_rate_out: rate(api.berth_net_rate_out)?,
        net_budget_in: budget(api.berth_net_budget_in)?,
        net_budget_out: budget(api.berth_net_budget_out)?,
    })
}

/// Translates back, for inspect.
pub(crate) fn to_api(host: &HostConfig, network_mode: &str) -> api::HostConfig {
    let resources = &host.resources;
    api::HostConfig {
        binds: list(&host.binds),
        container_id_file: host.container_id_file.clone(),
        log_config: api::LogConfig {
            kind: host.log.driver.clone(),
            config: host.log.options.clone(),
        },
        network_mode: network_mode.to_owned(),
        port_bindings: port_bindings(&host.ports),
        restart_policy: api::RestartPolicy {
            name: if host.restart.name.is_empty() {
                "no".to_owned()
            } else {
                host.restart.name.clone()
            },
            maximum_retry_count: host.restart.maximum_retry_count.into(),
        },
        auto_remove: host.auto_remove,
        volume_driver: host.volume_driver.clone(),
        volumes_from: list(&host.volumes_from),
        console_size: host
            .console_size
            .map_or([0, 0], |(rows, columns)| [rows, columns]),
        annotations: host.annotations.clone(),
        cap_add: list(&host.cap_add),
        cap_drop: list(&host.cap_drop),
        cgroupns_mode: or(&host.cgroupns_mode, "private"),
        dns: Some(host.dns.clone()),
        dns_options: Some(host.dns_options.clone()),
        dns_search: Some(host.dns_search.clone()),
        extra_hosts: list(&host.extra_hosts),
        group_add: list(&host.group_add),
        ipc_mode: or(&host.ipc_mode, "private"),
        cgroup: String::new(),
        links: list(&host.links),
        oom_score_adj: host.oom_score_adj.into(),
        pid_mode: host.pid_mode.clone(),
        privileged: host.privileged,
        publish_all_ports: host.publish_all_ports,
        readonly_rootfs: host.read_only_rootfs,
        security_opt: list(&host.security_opt),
        storage_opt: host.storage_opt.clone(),
        tmpfs: host.tmpfs.clone(),
        uts_mode: host.uts_mode.clone(),
        userns_mode: host.userns_mode.clone(),
        shm_size: signed(host.shm_size.unwrap_or(64 << 20)),
        sysctls: host.sysctls.clone(),
        runtime: or(&host.runtime, "berth"),
        isolation: String::new(),
        cpu_shares: resources.cpu_shares,
        memory: resources.memory,
        nano_cpus: resources.nano_cpus,
        cgroup_parent: host.cgroup_parent.clone(),
        blkio_weight: resources.blkio_weight,
        blkio_weight_device: Some(
            resources
                .blkio_weight_device
                .iter()
                .map(|device| api::WeightDevice {
                    path: device.path.clone(),
                    weight: u16::try_from(device.value).unwrap_or(u16::MAX),
                })
                .collect(),
        ),
        blkio_device_read_bps: Some(limits_to(&resources.blkio_device_read_bps)),
        blkio_device_write_bps: Some(limits_to(&resources.blkio_device_write_bps)),
        blkio_device_read_iops: Some(limits_to(&resources.blkio_device_read_iops)),
        blkio_device_write_iops: Some(limits_to(&resources.blkio_device_write_iops)),
        cpu_period: resources.cpu_period,
        cpu_quota: resources.cpu_quota,
        cpu_realtime_period: resources.cpu_realtime_period,
        cpu_realtime_runtime: resources.cpu_realtime_runtime,
        cpuset_cpus: resources.cpuset_cpus.clone(),
        cpuset_mems: resources.cpuset_mems.clone(),
        devices: Some(
            host.devices
                .iter()
                .map(|device| api::DeviceMapping {
                    path_on_host: device.path_on_host.clone(),
                    path_in_container: device.path_in_container.clone(),
                    cgroup_permissions: device.permissions.clone(),
                })
                .collect(),
        ),
        device_cgroup_rules: list(&host.device_cgroup_rules),
        device_requests: None,
        kernel_memory: resources.kernel_memory,
        kernel_memory_tcp: 0,
        memory_reservation: resources.memory_reservation,
        memory_swap: resources.memory_swap,
        memory_swappiness: resources.memory_swappiness,
        oom_kill_disable: Some(resources.oom_kill_disable.unwrap_or(false)),
        pids_limit: resources.pids_limit,
        ulimits: Some(
            host.ulimits
                .iter()
                .map(|ulimit| api::Ulimit {
                    name: ulimit.name.clone(),
                    hard: ulimit.hard,
                    soft: ulimit.soft,
                })
                .collect(),
        ),
        cpu_count: 0,
        cpu_percent: 0,
        io_maximum_iops: 0,
        io_maximum_bandwidth: 0,
        mounts: host.mounts.iter().map(mount_to).collect(),
        masked_paths: host.masked_paths.clone(),
        readonly_paths: host.readonly_paths.clone(),
        init: host.init,
        berth_rootfs: host.rootfs.as_ref().map_or_else(String::new, |rootfs| {
            format!(
                "{}{}",
                rootfs.path.display(),
                if rootfs.overlay { ":O" } else { "" }
            )
        }),
        berth_time_offsets: host.time_offsets.clone(),
        berth_uid_maps: maps_to(&host.uid_maps),
        berth_gid_maps: maps_to(&host.gid_maps),
        berth_net_rate_in: i64::try_from(host.net_rate_in).unwrap_or(i64::MAX),
        berth_net_rate_out: i64::try_from(host.net_rate_out).unwrap_or(i64::MAX),
        berth_net_budget_in: budget_to(host.net_budget_in),
        berth_net_budget_out: budget_to(host.net_budget_out),
        berth_keep_namespaces: host.keep_namespaces,
    }
}

/// Translates ranges of ids back.
pub(crate) fn maps_to(maps: &[IdMap]) -> Vec<api::IdMap> {
    let map = |map: &IdMap| api::IdMap {
        container_id: map.container,
        host_id: map.host,
        size: map.size,
    };
    maps.iter().map(map).collect()
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}

fn limits_to(limits: &[DeviceLimit]) -> Vec<api::ThrottleDevice> {
    limits
        .iter()
        .map(|limit| api::ThrottleDevice {
            path: limit.path.clone(),
            rate: limit.value,
        })
        .collect()
}

fn mount_to(mount: &MountRequest) -> api_mount::Mount {
    let bind = api_mount::BindOptions {
        propagation: mount.propagation.clone(),
        non_recursive: mount.non_recursive,
        create_mountpoint: mount.create_mountpoint,
        read_only_non_recursive: mount.read_only_non_recursive,
        read_only_force_recursive: mount.read_only_force_recursive,
    };
    let driver = api_mount::VolumeDriver {
        name: mount.driver.clone(),
        options: mount.driver_options.clone(),
    };
    let volume = api_mount::VolumeOptions {
        no_copy: mount.no_copy,
        labels: mount.labels.clone(),
        subpath: mount.subpath.clone(),
        driver_config: Some(driver).filter(|driver| *driver != api_mount::VolumeDriver::default()),
    };
    let tmpfs = api_mount::TmpfsOptions {
        size_bytes: signed(mount.tmpfs_size.unwrap_or(0)),
        mode: mount.tmpfs_mode.unwrap_or(0),
        options: mount.tmpfs_options.clone(),
    };
    api_mount::Mount {
        kind: mount.kind.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: Some(bind).filter(|options| *options != api_mount::BindOptions::default()),
        volume_options: Some(volume).filter(|options| *options != api_mount::VolumeOptions::default()),
        image_options: None,
        tmpfs_options: Some(tmpfs).filter(|options| *options != api_mount::TmpfsOptions::default()),
        cluster_options: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_comes_back() {
        let document = serde_json::json!({
            "Binds": ["/a:/b:ro"],
            "NetworkMode": "none",
            "Memory": 67108864,
            "NanoCpus": 500000000,
            "PidsLimit": 20,
            "CapAdd": ["NET_ADMIN"],
            "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
            "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
            "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 511}}],
            "BlkioDeviceReadBps": [{"Path": "/dev/vda", "Rate": 1048576}],
            "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}],
            "BerthRootfs": "/srv:O",
            "BerthTimeOffsets": {"boottime": -1},
            "BerthUidMaps": [{"ContainerId": 0, "HostId": 100000, "Size": 1000}],
            "BerthGidMaps": [{"ContainerId": 0, "HostId": 100000, "Size": 1000}],
            "BerthKeepNamespaces": true,
        });
        let sent: api::HostConfig = serde_json::from_value(document.clone()).unwrap();
        let back = serde_json::to_value(to_api(&from_api(sent).unwrap(), "none")).unwrap();
        for (name, value) in document.as_object().unwrap() {
            assert_eq!(&back[name], value, "{name}");
        }
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (name, value) in [
            ("CpuCount", serde_json::json!(1)),
            ("IOMaximumIOps", serde_json::json!(1)),
            ("Isolation", serde_json::json!("hyperv")),
            ("Cgroup", serde_json::json!("x")),
            ("KernelMemoryTCP", serde_json::json!(1)),
        ] {
            let sent: api::HostConfig = serde_json::from_value(serde_json::json!({ name: value })).unwrap();
            let error = from_api(sent).unwrap_err();
            let message = error.message.to_lowercase();
            assert!(message.contains(&name.to_lowercase()), "{name}: {message}");
            assert!(matches!(error.status.as_u16(), 400 | 501), "{name}");
        }
    }

    #[test]
    fn port_bindings_become_requests() {
        let sent: api::HostConfig = serde_json::from_value(serde_json::json!({
            "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}], "81/udp": null},
        }))
        .unwrap();
        let ports = from_api(sent).unwrap().ports;
        assert_eq!((ports[0].port, ports[0].host_ports), (80, Some((8080, 8080))));
        assert_eq!((ports[1].protocol, ports[1].host_ports), (Protocol::Udp, None));
    }
}
