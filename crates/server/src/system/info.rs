//! `GET /info`.

use std::collections::BTreeMap;

use api_types::system::{Commit, Plugins, RegistryConfig, Runtime, SwarmInfo, SystemInfo};
use base::clock::Timestamp;

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::signed;

pub(crate) async fn info(call: Call) -> Result<Reply, ApiError> {
    let info = engine::system::info(call.engine()).await;
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let runtime = Runtime {
        path: "berth oci".to_owned(),
        status: None,
    };
    Ok(reply::ok(&SystemInfo {
        id: info.id,
        containers: count(info.containers),
        containers_running: count(info.running),
        containers_paused: count(info.paused),
        containers_stopped: count(info.stopped),
        images: count(info.images),
        driver: info.driver,
        driver_status: info.driver_status,
        plugins: Plugins {
            volume: vec!["local".to_owned()],
            network: ["bridge", "host", "null"].map(str::to_owned).into(),
            authorization: None,
            log: ["json-file", "local", "none"].map(str::to_owned).into(),
        },
        memory_limit: info.memory_limit,
        swap_limit: info.swap_limit,
        cpu_cfs_period: info.cpu_quota,
        cpu_cfs_quota: info.cpu_quota,
        cpu_shares: info.cpu_shares,
        cpu_set: info.cpu_set,
        pids_limit: info.pids_limit,
        ipv4_forwarding: info.ipv4_forwarding,
        debug: info.debug,
        n_fd: open_fds(),
        oom_kill_disable: info.oom_kill_disable,
        n_goroutines: 0,
        system_time: Timestamp::now().to_string(),
        logging_driver: info.log_driver,
        cgroup_driver: info.cgroup_driver,
        cgroup_version: info.cgroup_version,
        n_events_listener: count(info.event_listeners),
        kernel_version: info.host.kernel_version,
        operating_system: info.host.operating_system,
        os_version: info.host.os_version,
        os_type: "linux".to_owned(),
        architecture: info.host.machine,
        index_server_address: String::new(),
        registry_config: RegistryConfig::default(),
        n_cpu: info.host.cpus.into(),
        mem_total: signed(info.host.memory),
        generic_resources: None,
        docker_root_dir: info.data_root,
        http_proxy: String::new(),
        https_proxy: String::new(),
        no_proxy: String::new(),
        name: info.host.name,
        labels: info.labels,
        experimental_build: false,
        server_version: call.shared.facts.version.clone(),
        runtimes: BTreeMap::from([("berth".to_owned(), runtime)]),
        default_runtime: "berth".to_owned(),
        swarm: SwarmInfo {
            local_node_state: "inactive".to_owned(),
            ..SwarmInfo::default()
        },
        live_restore_enabled: true,
        isolation: String::new(),
        init_binary: info.init_binary,
        containerd_commit: Commit::default(),
        runc_commit: Commit::default(),
        init_commit: Commit::default(),
        security_options: info.security_options,
        cdi_spec_dirs: Vec::new(),
        warnings: Some(info.warnings),
        cgroup_controllers: info.cgroup_controllers,
    }))
}

fn open_fds() -> i64 {
    std::fs::read_dir("/proc/self/fd")
        .map_or(-1, |entries| i64::try_from(entries.count()).unwrap_or(i64::MAX))
}
