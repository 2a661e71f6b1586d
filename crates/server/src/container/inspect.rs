//! `GET /containers/{id}/json`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use api_types::config::ContainerConfig;
use api_types::inspect::{ContainerInspect, GraphDriver, State};
use engine::container::{Details, Status, View};

use crate::call::Call;
use crate::reply::{self, Reply};
use crate::status::ApiError;
use crate::translate::{self, signed, summary};

pub(crate) async fn inspect(call: Call) -> Result<Reply, ApiError> {
    let size = call.query.flag("size");
    let details = engine::container::inspect(call.engine(), call.name(), size).await?;
    Ok(reply::ok(&document(&call, &details)))
}

fn document(call: &Call, details: &Details) -> ContainerInspect {
    let view = &details.view;
    let execs: Vec<String> = details.exec_ids.iter().map(ToString::to_string).collect();
    let ids = details.ids.as_ref();
    let maps = |maps: fn(&engine::Ids) -> &Vec<engine::config::IdMap>| {
        ids.map(|ids| translate::host_config::maps_to(maps(ids)))
            .unwrap_or_default()
    };
    ContainerInspect {
        id: view.id.to_string(),
        created: view.created.to_string(),
        path: details.path.clone(),
        args: details.args.clone(),
        state: state(view),
        image: view.image_id.clone(),
        resolv_conf_path: details.resolv_conf_path.clone(),
        hostname_path: details.hostname_path.clone(),
        hosts_path: details.hosts_path.clone(),
        log_path: details.log_path.clone(),
        name: format!("/{}", view.name),
        restart_count: view.restart_count.into(),
        driver: details.driver.clone(),
        platform: details.platform.clone(),
        mount_label: String::new(),
        process_label: String::new(),
        app_armor_profile: String::new(),
        exec_ids: translate::list(&execs),
        host_config: translate::host_config::to_api(
            &view.host,
            engine::network::mode_of(call.engine(), view),
        ),
        graph_driver: GraphDriver {
            data: Some(details.driver_data.clone()).filter(|data| !data.is_empty()),
            name: details.driver.clone(),
        },
        size_rw: details.size_rw.map(signed),
        size_root_fs: details.size_root_fs.map(signed),
        mounts: summary::mounts(&details.mounts),
        config: ContainerConfig {
            hostname: details.hostname.clone(),
            ..translate::config::to_api(&view.config)
        },
        network_settings: translate::network::settings(call.engine(), view, call.version),
        namespaces: namespaces(view),
        uid_map: maps(|ids| &ids.users),
        gid_map: maps(|ids| &ids.groups),
    }
}

fn state(view: &View) -> State {
    let status = view.status;
    State {
        status: status.as_str().to_owned(),
        running: status.is_running(),
        paused: status == Status::Paused,
        restarting: status == Status::Restarting,
        oom_killed: view.exit.oom_killed,
        dead: status == Status::Dead,
        pid: if status.has_process() { view.pid.into() } else { 0 },
        exit_code: view.exit.code,
        error: view.exit.error.clone(),
        started_at: view.started_at.to_string(),
        finished_at: view.finished_at.to_string(),
        health: None,
    }
}

/// Returns the inode numbers of a running container's namespaces.
fn namespaces(view: &View) -> BTreeMap<String, u64> {
    if !view.status.has_process() {
        return BTreeMap::new();
    }
    let names = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let inodes = names.into_iter().filter_map(|name| {
        let file = std::fs::metadata(format!("/proc/{}/ns/{name}", view.pid)).ok()?;
        Some((name.to_owned(), file.ino()))
    });
    inodes.collect()
}
