//! Inspect: everything that is known of a container.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::id::ExecId;

use oci::rootfs::Rootfs;

use super::record::Container;
use super::view::{LookupError, View};
use super::{exec, host_files, namespaces};
use crate::Engine;

/// A mount as docker shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    pub kind: String,
    /// The volume's name, or empty.
    pub name: String,
    /// The path on the host.
    pub source: String,
    /// The path inside.
    pub destination: String,
    /// The volume's driver, or empty.
    pub driver: String,
    /// The options as given (`ro`, `z`).
    pub mode: String,
    /// Whether it is writable.
    pub rw: bool,
    /// The propagation, or empty.
    pub propagation: String,
}

/// Everything that is known of a container.
#[derive(Clone, Debug)]
pub struct Details {
    /// The container.
    pub view: Arc<View>,
    /// The host name inside.
    pub hostname: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// The host path of its `/etc/resolv.conf`.
    pub resolv_conf_path: String,
    /// The host path of its `/etc/hostname`.
    pub hostname_path: String,
    /// The host path of its `/etc/hosts`.
    pub hosts_path: String,
    /// The host path of its log, or empty.
    pub log_path: String,
    /// The storage driver's name.
    pub driver: String,
    /// The storage driver's facts (`UpperDir`, `LowerDir`, …).
    pub driver_data: BTreeMap<String, String>,
    /// Its platform's operating system.
    pub platform: String,
    /// Its mounts.
    pub mounts: Vec<MountPoint>,
    /// Execs that run.
    pub exec_ids: Vec<ExecId>,
    /// Bytes in the writable layer, if asked for.
    pub size_rw: Option<u64>,
    /// Bytes of the whole root file system, if asked for.
    pub size_root_fs: Option<u64>,
    /// Its ids; `None` in the host's user namespace.
    pub ids: Option<spec::Ids>,
}

/// Returns everything that is known of a container; `size` counts its bytes, which takes a walk.
pub async fn inspect(engine: &Arc<Engine>, name: &str, size: bool) -> Result<Details, LookupError> {
    let container = engine.registry.find(name)?;
    let view = container.view();
    let record = container.record();
    let mut command = spec::command_line(&view.config).into_iter();
    let own = engine.layout.run(&container.id);
    let files = host_files::directory(engine, &own, &record);
    let path = |name: &str| files.join(name).display().to_string();
    let log_path = match record.log_driver.as_str() {
        "none" => String::new(),
        driver => engine.layout.log(&container.id, driver).display().to_string(),
    };
    let (size_rw, size_root_fs) = if size {
        sizes(engine, &container).await
    } else {
        (None, None)
    };
    Ok(Details {
        hostname: namespaces::hostname(engine, container.id.as_str(), &view.config, &view.host),
        path: command.next().unwrap_or_default(),
        args: command.collect(),
        resolv_conf_path: path("resolv.conf"),
        hostname_path: path("hostname"),
        hosts_path: path("hosts"),
        log_path,
        driver: engine.storage.kind().docker_name().to_owned(),
        driver_data: driver_data(engine, &container),
        platform: "linux".to_owned(),
        mounts: record.mounts.iter().map(|mount| mount.point.clone()).collect(),
        exec_ids: exec::running(engine, &container),
        size_rw,
        size_root_fs,
        ids: record.ids(),
        view,
    })
}

fn driver_data(engine: &Engine, container: &Container) -> BTreeMap<String, String> {
    let text = |path: &std::path::Path| path.display().to_string();
    match engine.storage.rootfs(&container.id) {
        Ok(Rootfs::Overlay {
            lowers, upper, work, ..
        }) => {
            let lowers: Vec<String> = lowers.iter().map(|lower| text(lower)).collect();
            BTreeMap::from([
                ("LowerDir".to_owned(), lowers.join(":")),
                ("UpperDir".to_owned(), text(&upper)),
                ("WorkDir".to_owned(), text(&work)),
            ])
        }
        Ok(Rootfs::Directory { path, .. }) => BTreeMap::from([("Dir".to_owned(), text(&path))]),
        // A plain directory as root has no snapshot.
        Err(_) => BTreeMap::new(),
    }
}

/// Counts the bytes of the writable layer and of the whole root file system.
pub(crate) async fn sizes(engine: &Arc<Engine>, container: &Arc<Container>) -> (Option<u64>, Option<u64>) {
    let (engine, container) = (Arc::clone(engine), Arc::clone(container));
    let count = move || {
        let own = engine.storage.usage(&container.id).ok()?.bytes;
        let record = container.record();
        let below = engine
            .images
            .resolve(&record.image_id)
            .map_or(0, |image| image.size);
        Some((own, own + below))
    };
    match tokio::task::spawn_blocking(count).await {
        Ok(Some((own, all))) => (Some(own), Some(all)),
        Ok(None) | Err(_) => (None, None),
    }
}
