//! Binds, volumes and tmpfs of a request, resolved.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use volume::{Backing, Create};

use super::inspect::MountPoint;
use super::record::MountRecord;
use crate::Engine;
use crate::config::{Config, HostConfig, MountRequest};
use crate::system::EventKind;

/// A request for mounts is wrong or cannot be kept; the text goes to the client.
pub(crate) type Refused = String;

/// The mounts of a container to be, by destination.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The mounts.
    pub(crate) mounts: Vec<MountRecord>,
    /// Volumes that were made for it; removed again if its creation fails.
    pub(crate) made: Vec<String>,
}

/// Resolves every kind of mount. Volumes are made as needed.
pub(crate) fn plan(
    engine: &Arc<Engine>,
    config: &Config,
    host: &HostConfig,
) -> Result<Plan, (Plan, Refused)> {
    let mut plan = Plan::default();
    match fill(engine, config, host, &mut plan) {
        Ok(()) => Ok(plan),
        Err(text) => Err((plan, text)),
    }
}

fn fill(engine: &Arc<Engine>, config: &Config, host: &HostConfig, plan: &mut Plan) -> Result<(), Refused> {
    if !matches!(host.volume_driver.as_str(), "" | "local") {
        return Err(format!(
            "error looking up volume plugin {0}: plugin \"{0}\" not found",
            shown(&host.volume_driver)
        ));
    }
    for bind in &host.binds {
        let request = parse_bind(bind)?;
        add(engine, plan, &request, Origin::Bind)?;
    }
    for request in &host.mounts {
        add(engine, plan, request, Origin::Mount)?;
    }
    for (target, options) in &host.tmpfs {
        let request = MountRequest {
            kind: "tmpfs".to_owned(),
            target: target.clone(),
            tmpfs_options: options
                .split(',')
                .filter(|o| !o.is_empty())
                .map(|o| vec![o.to_owned()])
                .collect(),
            ..MountRequest::default()
        };
        add(engine, plan, &request, Origin::Mount)?;
    }
    for from in &host.volumes_from {
        let (name, mode) = from.split_once(':').unwrap_or((from, "rw"));
        if !matches!(mode, "ro" | "rw" | "z" | "Z" | "") {
            return Err(format!("invalid volumes-from mode: {}", shown(from)));
        }
        let donor = engine.registry.find(name).map_err(|error| error.to_string())?;
        for mount in &donor.record().mounts {
            if !has(plan, &mount.point.destination) && mount.point.kind != "tmpfs" {
                let mut mount = mount.clone();
                mount.anonymous = false;
                mount.point.rw &= mode != "ro";
                plan.mounts.push(mount);
            }
        }
    }
    for target in &config.volumes {
        let target = clean(target)?;
        if !has(plan, &target) {
            let request = MountRequest {
                kind: "volume".to_owned(),
                target,
                ..MountRequest::default()
            };
            add(engine, plan, &request, Origin::Mount)?;
        }
    }
    Ok(())
}

/// Where a request comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// `-v`, which makes a missing directory of the host.
    Bind,
    /// `--mount`, which does not.
    Mount,
}

fn has(plan: &Plan, destination: &str) -> bool {
    plan.mounts
        .iter()
        .any(|mount| mount.point.destination == destination)
}

fn add(engine: &Arc<Engine>, plan: &mut Plan, request: &MountRequest, origin: Origin) -> Result<(), Refused> {
    let destination = clean(&request.target)?;
    if destination == "/" {
        return Err("invalid mount config: invalid specification: destination can't be '/'".to_owned());
    }
    if has(plan, &destination) {
        return Err(format!("Duplicate mount point: {}", shown(&destination)));
    }
    let mount = match request.kind.as_str() {
        "bind" => bind(request, destination, origin)?,
        "volume" => volume(engine, plan, request, destination)?,
        "tmpfs" => tmpfs(request, destination)?,
        kind => {
            return Err(format!(
                "mount type \"{}\" is not supported by this version of Berth",
                shown(kind)
            ));
        }
    };
    plan.mounts.push(mount);
    Ok(())
}

fn bind(request: &MountRequest, destination: String, origin: Origin) -> Result<MountRecord, Refused> {
    let source = request.source.as_str();
    if !source.starts_with('/') {
        return Err(format!(
            "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
            shown(source)
        ));
    }
    if !matches!(
        request.propagation.as_str(),
        "" | "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared"
    ) {
        return Err(format!(
            "invalid propagation mode: {}",
            shown(&request.propagation)
        ));
    }
    if !Path::new(source).exists() {
        if origin == Origin::Mount && !request.create_mountpoint {
            return Err(format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                shown(source)
            ));
        }
        crate::files::make_directory(Path::new(source), 0o755)
            .map_err(|error| base::error::chain(&error).to_string())?;
    }
    Ok(MountRecord {
        point: MountPoint {
            kind: "bind".to_owned(),
            source: source.to_owned(),
            destination,
            mode: request.consistency.clone(),
            rw: !request.read_only,
            propagation: match request.propagation.as_str() {
                "" => "rprivate".to_owned(),
                given => given.to_owned(),
            },
            ..MountPoint::default()
        },
        anonymous: false,
        copy: false,
        subpath: String::new(),
        non_recursive: request.non_recursive,
        read_only_recursive: request.read_only && !request.read_only_non_recursive && origin == Origin::Mount,
        options: Vec::new(),
    })
}

fn volume(
    engine: &Arc<Engine>,
    plan: &mut Plan,
    request: &MountRequest,
    destination: String,
) -> Result<MountRecord, Refused> {
    if !request.propagation.is_empty() {
        return Err("invalid mount config for type \"volume\": propagation is for binds only".to_owned());
    }
    let anonymous = request.source.is_empty();
    let existed = !anonymous && engine.volumes.get(&request.source).is_ok();
    let volume = engine
        .volumes
        .create(Create {
            name: (!anonymous).then(|| request.source.clone()),
            driver: request.driver.clone(),
            options: request.driver_options.clone(),
            labels: request.labels.clone(),
            anonymous,
        })
        .map_err(|error| base::error::chain(&error).to_string())?;
    if !existed {
        plan.made.push(volume.name.clone());
        let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        engine
            .events
            .tell(EventKind::Volume, "create", &volume.name, attributes);
    }
    let backing = engine
        .volumes
        .backing(&volume)
        .map_err(|error| base::error::chain(&error).to_string())?;
    let (source, read_only, options) = match backing {
        Backing::Directory(path) => (path.display().to_string(), false, Vec::new()),
        Backing::Bind { path, read_only } => (path.display().to_string(), read_only, Vec::new()),
        Backing::Tmpfs { options } => (String::new(), false, options),
    };
    let subpath = request.subpath.clone();
    if !subpath.is_empty() {
        let inside = subpath.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !inside || source.is_empty() {
            return Err(format!("invalid volume-subpath: {}", shown(&subpath)));
        }
    }
    Ok(MountRecord {
        point: MountPoint {
            kind: "volume".to_owned(),
            name: volume.name,
            source,
            destination,
            driver: "local".to_owned(),
            mode: request.consistency.clone(),
            rw: !request.read_only && !read_only,
            propagation: String::new(),
        },
        anonymous,
        copy: !request.no_copy,
        subpath,
        non_recursive: false,
        read_only_recursive: false,
        options,
    })
}

fn tmpfs(request: &MountRequest, destination: String) -> Result<MountRecord, Refused> {
    if !request.source.is_empty() {
        return Err("invalid mount config for type \"tmpfs\": field Source must not be specified".to_owned());
    }
    let mut options: Vec<String> = request.tmpfs_options.iter().map(|pair| pair.join("=")).collect();
    for option in &options {
        let key = option.split('=').next().unwrap_or_default();
        // Everything that mount(8) takes for tmpfs and for every file system; nothing that leaves the mount.
        let known = [
            "exec",
            "noexec",
            "suid",
            "nosuid",
            "dev",
            "nodev",
            "ro",
            "rw",
            "size",
            "mode",
            "uid",
            "gid",
            "nr_inodes",
            "nr_blocks",
            "atime",
            "noatime",
            "diratime",
            "nodiratime",
            "relatime",
            "norelatime",
            "strictatime",
            "nostrictatime",
            "sync",
            "async",
            "dirsync",
            "mpol",
            "defaults",
            "huge",
            "noswap",
        ];
        if !known.contains(&key) {
            return Err(format!("invalid tmpfs option [\"{}\"]", shown(option)));
        }
    }
    options.retain(|option| option != "defaults");
    if let Some(size) = request.tmpfs_size.filter(|&size| size > 0) {
        options.push(format!("size={size}"));
    }
    if let Some(mode) = request.tmpfs_mode.filter(|&mode| mode > 0) {
        options.push(format!("mode={mode:o}"));
    }
    Ok(MountRecord {
        point: MountPoint {
            kind: "tmpfs".to_owned(),
            destination,
            rw: !request.read_only && !options.iter().any(|option| option == "ro"),
            ..MountPoint::default()
        },
        anonymous: false,
        copy: false,
        subpath: String::new(),
        non_recursive: false,
        read_only_recursive: false,
        options,
    })
}

/// Reads `source:target[:options]`.
fn parse_bind(text: &str) -> Result<MountRequest, Refused> {
    let invalid = || format!("invalid volume specification: '{}'", shown(text));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return Err(invalid()),
    };
    if (source.is_empty() && parts.len() > 1) || target.is_empty() {
        return Err(invalid());
    }
    let is_path = source.starts_with('/');
    let mut request = MountRequest {
        kind: if is_path { "bind" } else { "volume" }.to_owned(),
        source: source.trim_end_matches('/').to_owned(),
        target: target.to_owned(),
        consistency: options.to_owned(),
        ..MountRequest::default()
    };
    if is_path && request.source.is_empty() {
        request.source = "/".to_owned();
    }
    let mut access = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let again = || Err(format!("invalid mode: {}", shown(options)));
        match option {
            "ro" | "rw" if access.is_some() => return again(),
            "ro" | "rw" => {
                access = Some(option);
                request.read_only = option == "ro";
            }
            "nocopy" if !is_path => request.no_copy = true,
            "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared" if is_path => {
                if !request.propagation.is_empty() {
                    return again();
                }
                request.propagation = option.to_owned();
            }
            // SELinux labels and Docker Desktop's consistency mean nothing here, as in docker without them.
            "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            _ => return again(),
        }
    }
    Ok(request)
}

/// Returns the path without doubled slashes, `.` and `..`, as Go's `path.Clean` does.
fn clean(path: &str) -> Result<String, Refused> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err(format!(
            "invalid mount config: invalid mount path: '{}' mount path must be absolute",
            shown(path)
        ));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

fn shown(text: &str) -> String {
    text.chars().take(200).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_binds() {
        let request = parse_bind("/a/:/b:ro,rslave").unwrap();
        assert_eq!(
            (
                request.kind.as_str(),
                request.source.as_str(),
                request.target.as_str()
            ),
            ("bind", "/a", "/b")
        );
        assert!(request.read_only && request.propagation == "rslave");
        let request = parse_bind("data:/b:nocopy").unwrap();
        assert!(request.kind == "volume" && request.no_copy);
        assert_eq!(parse_bind("/b").unwrap().target, "/b");
        assert_eq!(parse_bind("/:/host:ro").unwrap().source, "/");
        for text in [
            "",
            ":/b",
            "a:",
            "a:/b:ro,rw",
            "a:/b:what",
            "a:/b:ro:x",
            "/a:/b:nocopy",
            "a:/b:rslave",
        ] {
            assert!(parse_bind(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cleans_paths() {
        for (path, cleaned) in [
            ("/a//b/./c/..", "/a/b"),
            ("/", "/"),
            ("/../..", "/"),
            ("/a/", "/a"),
        ] {
            assert_eq!(clean(path).unwrap(), cleaned);
        }
        assert!(clean("a").is_err());
    }
}
