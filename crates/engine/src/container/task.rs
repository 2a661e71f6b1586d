//! The task document of one start: what the record says, with the facts of this moment.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use base::error::{Kinded, chain};
use oci::rootfs::Rootfs;
use shim_api::task::{KeptNamespaces, LogConfig, RestartPolicy, Task};
use spec::mounts::Mount;
use spec::security::Seccomp;
use spec::{Device, DeviceType, Facts};

use super::record::{Container, Record};
use super::start::StartError;
use super::{host_files, namespaces};
use crate::Engine;
use crate::config::{Config, DeviceRequest, RestartRequest};

/// Gathers the facts and builds the document.
pub(crate) fn build(engine: &Engine, container: &Container) -> Result<Task, StartError> {
    let record = container.record();
    let linked = with_links(engine, container, &record)?;
    let (config, host) = (linked.as_ref().unwrap_or(&record.config), &*record.host);
    let id = container.id.as_str();
    let hostname = namespaces::hostname(engine, id, config, host);
    let ids = record.ids();
    let (namespaces, joined) =
        namespaces::resolve(engine, host, ids.as_ref()).map_err(|text| StartError::State { text })?;
    let kept = namespaces::kept(host, &namespaces);
    let directory = engine.layout.run(&container.id);
    let files = host_files::directory(engine, &directory, &record);
    let mut mounts: Vec<Mount> = host_files::mounts(&files, &record);
    for mount in &record.mounts {
        mounts.push(resolve_mount(mount)?);
    }
    let mut devices = Vec::new();
    for request in &host.devices {
        devices.extend(resolve_device(request)?);
    }
    if host.privileged {
        all_devices(Path::new("/dev"), 0, &mut devices);
    }
    let block_devices = block_devices(&record)?;
    let checked = spec::check(
        config,
        host,
        &engine.host.limitable,
        ids.is_none().then_some(&engine.host.capabilities),
    )
    .map_err(|error| StartError::Invalid {
        text: error.to_string(),
    })?;
    let facts = Facts {
        id,
        hostname: &hostname,
        namespaces,
        ids,
        cgroup: &engine.cgroup_path(&host.cgroup_parent, id),
        mounts: &mounts,
        devices: &devices,
        block_devices: &block_devices,
        capabilities: &engine.host.capabilities,
        limitable: &engine.host.limitable,
        thermal_cpus: &engine.host.thermal_cpus,
        no_new_privileges: engine.config.no_new_privileges,
        pids_limit: engine.config.default_pids_limit,
        ulimits: &engine.config.default_ulimits,
        shm_size: engine.config.default_shm_size,
        host_shm: host.ipc_mode == "host" && Path::new("/dev/shm").is_dir(),
    };
    let mut spec = spec::build(config, host, &facts).map_err(|error| StartError::Invalid {
        text: chain(&error).to_string(),
    })?;
    let capabilities: Vec<String> = checked
        .capabilities
        .names
        .iter()
        .map(|&name| name.to_owned())
        .collect();
    let filter = if host.privileged {
        None
    } else {
        let unconfined = engine.config.seccomp_profile.as_deref() == Some("unconfined");
        match &checked.security.seccomp {
            Seccomp::Unconfined => None,
            Seccomp::Default if unconfined => None,
            Seccomp::Default => Some(engine.filters.default_filter(&capabilities)),
            Seccomp::Builtin => Some(engine.filters.filter(None, &capabilities)),
            Seccomp::Profile(document) => Some(engine.filters.filter(Some(document), &capabilities)),
        }
        .transpose()
        .map_err(|error| StartError::Step {
            doing: "make the seccomp filter",
            kind: error.kind(),
            source: Box::new(error),
        })?
    };
    let flags = filter
        .as_ref()
        .map(|filter| filter.flags.names())
        .unwrap_or_default();
    if !flags.is_empty()
        && let Some(linux) = spec.linux_mut()
    {
        let flags = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags});
        let carrier =
            serde_json::from_value(flags).map_err(|error| StartError::step("encode the task", error))?;
        linux.set_seccomp(Some(carrier));
    }
    let rootfs = match &host.rootfs {
        Some(rootfs) if !rootfs.overlay => Rootfs::Directory {
            path: rootfs.path.clone(),
            idmap: record.has_own_users(),
        },
        _ => engine
            .storage
            .rootfs(&container.id)
            .map_err(|error| StartError::step("find the container's file system", error))?,
    };
    Ok(Task {
        id: id.to_owned(),
        spec,
        rootfs,
        user: Some(config.user.clone()),
        groups: host.group_add.clone(),
        seccomp_filter: filter.map(|filter| filter.path),
        joined,
        keep: (!kept.is_empty()).then(|| KeptNamespaces {
            directory: engine.layout.pins(&container.id),
            kinds: kept,
        }),
        network: crate::network::sandbox(engine, container),
        init: host.init.unwrap_or(engine.config.init),
        stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        log: log_config(engine, container, &record),
        restart: restart_policy(&host.restart),
        auto_remove: host.auto_remove,
        socket: engine.layout.shim(&container.id),
        exit_record: engine.layout.exit_record(&container.id, host.auto_remove),
        document: engine.layout.task(&container.id),
    })
}

/// Returns the configuration with what `--link` adds to the environment, if it adds anything. What was given stays.
fn with_links(engine: &Engine, container: &Container, record: &Record) -> Result<Option<Config>, StartError> {
    let added = crate::network::links_environment(engine, container)?;
    if added.is_empty() {
        return Ok(None);
    }
    let mut config = (*record.config).clone();
    let name = |entry: &String| {
        entry
            .split_once('=')
            .map_or(entry.clone(), |(name, _)| name.to_owned())
    };
    let given: Vec<String> = config.env.iter().map(name).collect();
    config
        .env
        .extend(added.into_iter().filter(|entry| !given.contains(&name(entry))));
    Ok(Some(config))
}

/// Returns the shim's policy.
pub(crate) fn restart_policy(request: &RestartRequest) -> RestartPolicy {
    match request.name.as_str() {
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => RestartPolicy::OnFailure {
            maximum: request.maximum_retry_count,
        },
        _ => RestartPolicy::No,
    }
}

/// A directory inside a volume is a path that a container may have written: it is opened inside the volume, and only
/// a directory that is reached without a link out of it is used.
pub(super) fn resolve_mount(mount: &super::record::MountRecord) -> Result<Mount, StartError> {
    let mut plain = mount.mount();
    if let (false, Mount::Bind { source, .. }) = (mount.subpath.is_empty(), &mut plain) {
        let root =
            sys::path::Root::open(&*source).map_err(|error| StartError::step("open a volume", error))?;
        let mut path = PathBuf::from(&*source);
        let mut inside = PathBuf::new();
        for part in mount.subpath.split('/') {
            inside.push(part);
            path.push(part);
            let metadata = root
                .metadata(&inside)
                .map_err(|error| StartError::step("find the subpath of a volume", error))?;
            if rustix::fs::FileType::from_raw_mode(metadata.st_mode) != rustix::fs::FileType::Directory {
                return Err(StartError::Invalid {
                    text: format!(
                        "volume subpath \"{}\" is not a directory",
                        mount.subpath.escape_default()
                    ),
                });
            }
        }
        *source = path.display().to_string();
    }
    Ok(plain)
}

/// How deep a directory of devices is read.
const DEPTH: usize = 4;

fn resolve_device(request: &DeviceRequest) -> Result<Vec<Device>, StartError> {
    let host = Path::new(&request.path_on_host);
    let target = if request.path_in_container.is_empty() {
        &request.path_on_host
    } else {
        &request.path_in_container
    };
    let access = if request.permissions.is_empty() {
        "rwm"
    } else {
        &request.permissions
    };
    let fail = || StartError::Invalid {
        text: format!(
            "error gathering device information while adding custom device \"{}\": not a device node",
            request.path_on_host.escape_default()
        ),
    };
    if !host.is_absolute() {
        return Err(fail());
    }
    if let Some(device) = device(host, target, access) {
        return Ok(vec![device]);
    }
    let mut found = Vec::new();
    if host.is_dir() {
        all_devices(host, 0, &mut found);
        for device in &mut found {
            let inside = device
                .path
                .strip_prefix(&request.path_on_host)
                .unwrap_or(&device.path)
                .to_owned();
            device.path = format!("{target}{inside}");
            access.clone_into(&mut device.access);
        }
    }
    if found.is_empty() { Err(fail()) } else { Ok(found) }
}

fn device(path: &Path, target: &str, access: &str) -> Option<Device> {
    let metadata = std::fs::metadata(path).ok()?;
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => DeviceType::Character,
        kind if kind.is_block_device() => DeviceType::Block,
        _ => return None,
    };
    Some(Device {
        path: target.to_owned(),
        kind,
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        access: access.to_owned(),
    })
}

/// Directories of /dev that are mounts of their own inside, and nodes that the runtime makes itself.
const NOT_FROM_HOST: [&str; 5] = ["pts", "shm", "fd", "mqueue", "console"];

fn all_devices(directory: &Path, depth: usize, found: &mut Vec<Device>) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let skipped = name
            .to_str()
            .is_none_or(|name| NOT_FROM_HOST.contains(&name) || name.starts_with('.'));
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        if skipped || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() && depth < DEPTH {
            all_devices(&path, depth + 1, found);
        } else if let Some(device) = device(&path, &path.to_string_lossy(), "rwm") {
            let standard = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];
            if directory != Path::new("/dev") || !standard.iter().any(|known| name == *known) {
                found.push(device);
            }
        }
    }
}

fn block_devices(record: &Record) -> Result<BTreeMap<String, (u32, u32)>, StartError> {
    let mut numbers = BTreeMap::new();
    for path in spec::resources::limited_devices(&record.host.resources) {
        let device = device(Path::new(path), path, "rwm").ok_or_else(|| StartError::Invalid {
            text: format!("\"{}\" is not a device", path.escape_default()),
        })?;
        numbers.insert(path.to_owned(), (device.major, device.minor));
    }
    Ok(numbers)
}

/// Options whose values are patterns that this version does not evaluate.
pub(crate) fn check_log_options(options: &BTreeMap<String, String>) -> Result<(), String> {
    for name in ["labels-regex", "env-regex"] {
        if options.contains_key(name) {
            return Err(format!(
                "log-opt {name} is not supported by this version of Berth"
            ));
        }
    }
    if let Some(tag) = options.get("tag")
        && render_tag(tag, "", "", "", "").contains("{{")
    {
        return Err(format!(
            "log-opt tag=\"{}\" is not supported by this version of Berth",
            tag.escape_default()
        ));
    }
    Ok(())
}

fn render_tag(tag: &str, id: &str, name: &str, image: &str, image_id: &str) -> String {
    let short = id.get(..12).unwrap_or(id);
    tag.replace("{{.ID}}", short)
        .replace("{{.FullID}}", id)
        .replace("{{.Name}}", name)
        .replace("{{.ImageName}}", image)
        .replace("{{.ImageID}}", image_id.get(7..19).unwrap_or(image_id))
        .replace("{{.ImageFullID}}", image_id)
        .replace("{{.DaemonName}}", "berth")
}

fn log_config(engine: &Engine, container: &Container, record: &Record) -> LogConfig {
    let mut attributes = BTreeMap::new();
    let list = |name: &str| {
        let names = record
            .log_options
            .get(name)
            .map(String::as_str)
            .unwrap_or_default();
        names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    for label in list("labels") {
        if let Some(value) = record.config.labels.get(&label) {
            attributes.insert(label, value.clone());
        }
    }
    for wanted in list("env") {
        for variable in &record.config.env {
            if let Some((name, value)) = variable.split_once('=')
                && name == wanted
            {
                attributes.insert(wanted.clone(), value.to_owned());
            }
        }
    }
    if let Some(tag) = record.log_options.get("tag") {
        let name = container.view().name.clone();
        let text = render_tag(
            tag,
            container.id.as_str(),
            &name,
            &record.config.image,
            &record.image_id,
        );
        attributes.insert("tag".to_owned(), text);
    }
    LogConfig {
        driver: record.log_driver.clone(),
        path: engine.layout.log(&container.id, &record.log_driver),
        options: record.log_options.clone(),
        attributes,
    }
}
