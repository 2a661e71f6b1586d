//! Puts the request together.

use std::collections::BTreeMap;

use api_types::config::{ContainerConfig, Healthcheck, Words};
use api_types::container::CreateRequest;
use api_types::host_config::{HostConfig, LogConfig, NetBudget};

use crate::check::parse_cpus;
use crate::create::mount::{self, Volume};
use crate::create::resources::{self, pairs, restart_policy};
use crate::create::{files, network, ports, security};
use crate::failure::Failure;
use crate::parse::Arguments;
use crate::terminal;

/// A create call, ready to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The name; empty lets the daemon choose.
    pub name: String,
    /// `os/arch`; empty for the host's.
    pub platform: String,
    /// The body.
    pub body: CreateRequest,
}

impl Request {
    /// Translates the flags; reads the files that they name, and nothing else.
    pub(crate) fn build(arguments: &Arguments) -> Result<Self, Failure> {
        check_pull(arguments)?;
        let (image, command) = image_and_command(arguments)?;
        let volumes = arguments.list("volume");
        let volumes: Vec<Volume> = volumes
            .into_iter()
            .map(mount::parse_volume)
            .collect::<Result<_, _>>()?;
        let published = ports::parse_publish(&arguments.list("publish")).map_err(ours)?;
        let networks = network::networks(arguments)?;
        let config = config(arguments, image, command, &volumes, &published)?;
        let host_config = HostConfig {
            network_mode: networks.mode,
            port_bindings: published,
            ..host_config(arguments, &volumes)?
        };
        Ok(Self {
            name: arguments.text("name").to_owned(),
            platform: platform(arguments.text("platform"))?,
            body: CreateRequest {
                config,
                host_config,
                networking_config: networks.config,
            },
        })
    }

    /// Leaves all streams of the container to its log.
    pub(crate) fn detach(&mut self) {
        let config = &mut self.body.config;
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    }
}

fn check_pull(arguments: &Arguments) -> Result<(), Failure> {
    match arguments.text("pull") {
        "always" | "missing" | "never" => Ok(()),
        other => Err(Failure::invalid(format!(
            "berth: invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
        ))),
    }
}

/// With `--rootfs` there is no image, and the first positional argument is the command.
fn image_and_command(arguments: &Arguments) -> Result<(String, &[String]), Failure> {
    if arguments.is_set("rootfs") {
        return Ok((String::new(), &arguments.positionals));
    }
    match arguments.positionals.split_first() {
        Some((image, command)) => Ok((image.clone(), command)),
        None => Err(Failure::invalid("berth: an image or --rootfs is needed")),
    }
}

fn platform(text: &str) -> Result<String, Failure> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let host = format!("linux/{architecture}");
    let known = [host.as_str(), architecture, std::env::consts::ARCH, "linux"];
    match text {
        "" => Ok(String::new()),
        text if known.contains(&text) || text == format!("linux/{}", std::env::consts::ARCH) => Ok(host),
        text => Err(Failure::invalid(format!(
            "--platform {text} is not supported: this host runs {host} only"
        ))),
    }
}

fn config(
    arguments: &Arguments,
    image: String,
    command: &[String],
    volumes: &[Volume],
    published: &ports::Published,
) -> Result<ContainerConfig, Failure> {
    let interactive = arguments.switch("interactive");
    let attach: Vec<String> = arguments
        .list("attach")
        .iter()
        .map(|stream| stream.to_ascii_lowercase())
        .collect();
    let attached = |stream: &str, otherwise: bool| {
        if attach.is_empty() {
            otherwise
        } else {
            attach.iter().any(|given| given == stream)
        }
    };
    let attach_stdin = attached("stdin", interactive);
    let exposed = ports::parse_expose(&arguments.list("expose")).map_err(ours)?;
    let anonymous = volumes.iter().filter_map(|volume| match volume {
        Volume::Anonymous(path) => Some((path.clone(), serde_json::Map::new())),
        Volume::Bind(_) => None,
    });
    Ok(ContainerConfig {
        hostname: arguments.text("hostname").to_owned(),
        domainname: arguments.text("domainname").to_owned(),
        user: arguments.text("user").to_owned(),
        attach_stdin,
        attach_stdout: attached("stdout", true),
        attach_stderr: attached("stderr", true),
        exposed_ports: exposed
            .into_iter()
            .chain(published.keys().cloned())
            .map(|port| (port, serde_json::Map::new()))
            .collect(),
        tty: arguments.switch("tty"),
        open_stdin: interactive,
        stdin_once: interactive && attach_stdin,
        env: environment(arguments)?,
        cmd: if command.is_empty() {
            None
        } else {
            Some(Words(command.to_vec()))
        },
        healthcheck: arguments.switch("no-healthcheck").then(|| Healthcheck {
            test: Some(Words(vec!["NONE".to_owned()])),
            ..Healthcheck::default()
        }),
        image,
        volumes: Some(anonymous.collect()),
        working_dir: arguments.text("workdir").to_owned(),
        entrypoint: arguments
            .is_set("entrypoint")
            .then(|| Words(vec![arguments.text("entrypoint").to_owned()])),
        labels: labels(arguments)?,
        stop_signal: arguments.text("stop-signal").to_owned(),
        stop_timeout: arguments.number_if_set("stop-timeout"),
        ..ContainerConfig::default()
    })
}

/// Files first, so that flags win; a bare name takes our own value and, if there is none, removes the image's.
fn environment(arguments: &Arguments) -> Result<Option<Vec<String>>, Failure> {
    let mut variables = Vec::new();
    for path in arguments.list("env-file") {
        variables.extend(files::environment_file(path)?);
    }
    for variable in arguments.list("env") {
        if variable.contains('=') {
            variables.push(variable.to_owned());
        } else {
            variables.push(files::from_environment(variable).unwrap_or_else(|| variable.to_owned()));
        }
    }
    Ok(if variables.is_empty() {
        None
    } else {
        Some(variables)
    })
}

fn labels(arguments: &Arguments) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for path in arguments.list("label-file") {
        labels.extend(files::label_file(path)?);
    }
    labels.extend(pairs(&arguments.list("label")));
    Ok(labels)
}

fn host_config(arguments: &Arguments, volumes: &[Volume]) -> Result<HostConfig, Failure> {
    let restart_policy = restart_policy(arguments.text("restart"))?;
    let auto_remove = arguments.switch("rm");
    if auto_remove && !["", "no"].contains(&restart_policy.name.as_str()) {
        return Err(Failure::invalid(
            "berth: conflicting options: cannot specify both --restart and --rm",
        ));
    }
    let security = security::parse(&arguments.list("security-opt"))?;
    let binds: Vec<String> = volumes
        .iter()
        .filter_map(|volume| match volume {
            Volume::Bind(bind) => Some(bind.clone()),
            Volume::Anonymous(_) => None,
        })
        .collect();
    let paths = security.system_paths_unconfined.then(Vec::new);
    let all = |name: &str| some_if_any(arguments.list(name));
    let (rows, columns) = if arguments.switch("tty") {
        terminal::size()
    } else {
        (0, 0)
    };
    let host = HostConfig {
        binds: if binds.is_empty() { None } else { Some(binds) },
        container_id_file: arguments.text("cidfile").to_owned(),
        log_config: log_config(arguments)?,
        restart_policy,
        auto_remove,
        volume_driver: arguments.text("volume-driver").to_owned(),
        volumes_from: all("volumes-from"),
        console_size: [rows, columns],
        annotations: pairs(&arguments.list("annotation")),
        cap_add: security::capabilities(&arguments.list("cap-add")),
        cap_drop: security::capabilities(&arguments.list("cap-drop")),
        cgroupns_mode: mode(arguments, "cgroupns", "CGROUP", &["host", "private"])?,
        dns: Some(parsed(arguments, "dns", network::parse_dns)?),
        dns_options: Some(all("dns-option").unwrap_or_default()),
        dns_search: Some(parsed(arguments, "dns-search", network::parse_dns_search)?),
        extra_hosts: Some(parsed(arguments, "add-host", network::parse_add_host)?)
            .filter(|hosts| !hosts.is_empty()),
        group_add: all("group-add"),
        ipc_mode: arguments.text("ipc").to_owned(),
        links: all("link"),
        oom_score_adj: arguments.number("oom-score-adj"),
        pid_mode: mode(arguments, "pid", "PID", &["host", "container:", "ns:"])?,
        privileged: arguments.switch("privileged"),
        publish_all_ports: arguments.switch("publish-all"),
        readonly_rootfs: arguments.switch("read-only"),
        security_opt: security.options,
        tmpfs: tmpfs(arguments),
        uts_mode: mode(arguments, "uts", "UTS", &["host", "ns:"])?,
        userns_mode: mode(arguments, "userns", "USER", &["host"])?,
        shm_size: bytes(arguments.text("shm-size"))?,
        sysctls: pairs(&arguments.list("sysctl")),
        runtime: arguments.text("runtime").to_owned(),
        isolation: arguments.text("isolation").to_owned(),
        mounts: parsed(arguments, "mount", mount::parse)?,
        masked_paths: paths.clone(),
        readonly_paths: paths,
        init: arguments.is_set("init").then(|| arguments.switch("init")),
        berth_rootfs: rootfs(arguments)?,
        berth_time_offsets: parsed(arguments, "time-offset", resources::parse_time_offset)?
            .into_iter()
            .collect(),
        berth_uid_maps: parsed(arguments, "uidmap", resources::parse_id_map)?,
        berth_gid_maps: parsed(arguments, "gidmap", resources::parse_id_map)?,
        berth_keep_namespaces: arguments.switch("keep-ns"),
        berth_net_rate_in: net_rate(arguments, "net-rate-in")?.max(0),
        berth_net_rate_out: net_rate(arguments, "net-rate-out")?.max(0),
        berth_net_budget_in: net_budget(arguments, "net-budget-in")?,
        berth_net_budget_out: net_budget(arguments, "net-budget-out")?,
        ..HostConfig::default()
    };
    with_resources(arguments, host)
}

/// Adds what limits the container.
fn with_resources(arguments: &Arguments, host: HostConfig) -> Result<HostConfig, Failure> {
    let swappiness = arguments.number_if_set("memory-swappiness").unwrap_or(-1);
    if !(-1..=100).contains(&swappiness) {
        return Err(Failure::invalid(format!(
            "berth: invalid value: {swappiness}. Valid memory swappiness range is 0-100"
        )));
    }
    let mut ulimits = parsed(arguments, "ulimit", resources::parse_ulimit)?;
    ulimits.sort_by(|left, right| left.name.cmp(&right.name));
    let devices = arguments.list("device").into_iter().map(resources::parse_device);
    Ok(HostConfig {
        cpu_shares: arguments.number("cpu-shares"),
        memory: bytes(arguments.text("memory"))?,
        nano_cpus: match arguments.text("cpus") {
            "" => 0,
            text => parse_cpus(text).map_err(Failure::invalid)?,
        },
        cgroup_parent: arguments.text("cgroup-parent").to_owned(),
        blkio_weight: u16::try_from(arguments.number("blkio-weight")).unwrap_or_default(),
        blkio_weight_device: Some(parsed(
            arguments,
            "blkio-weight-device",
            resources::parse_weight_device,
        )?),
        blkio_device_read_bps: Some(parsed(arguments, "device-read-bps", resources::parse_rate_bytes)?),
        blkio_device_write_bps: Some(parsed(
            arguments,
            "device-write-bps",
            resources::parse_rate_bytes,
        )?),
        blkio_device_read_iops: Some(parsed(
            arguments,
            "device-read-iops",
            resources::parse_rate_operations,
        )?),
        blkio_device_write_iops: Some(parsed(
            arguments,
            "device-write-iops",
            resources::parse_rate_operations,
        )?),
        cpu_period: arguments.number("cpu-period"),
        cpu_quota: arguments.number("cpu-quota"),
        cpu_realtime_period: arguments.number("cpu-rt-period"),
        cpu_realtime_runtime: arguments.number("cpu-rt-runtime"),
        cpuset_cpus: arguments.text("cpuset-cpus").to_owned(),
        cpuset_mems: arguments.text("cpuset-mems").to_owned(),
        devices: Some(devices.collect::<Result<_, _>>()?),
        device_cgroup_rules: some_if_any(arguments.list("device-cgroup-rule")),
        memory_reservation: bytes(arguments.text("memory-reservation"))?,
        memory_swap: match arguments.text("memory-swap") {
            "-1" => -1,
            text => bytes(text)?,
        },
        memory_swappiness: Some(swappiness),
        oom_kill_disable: Some(arguments.switch("oom-kill-disable")),
        pids_limit: Some(arguments.number("pids-limit")),
        ulimits: Some(ulimits),
        ..host
    })
}

fn parsed<T>(
    arguments: &Arguments,
    name: &str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    let values = arguments.list(name).into_iter().map(parse);
    values.collect::<Result<_, _>>().map_err(Failure::invalid)
}

/// Puts the program's name before what is wrong, as docker does.
fn ours(problem: String) -> Failure {
    Failure::invalid(format!("berth: {problem}"))
}

fn some_if_any(values: Vec<&str>) -> Option<Vec<String>> {
    if values.is_empty() {
        None
    } else {
        Some(values.into_iter().map(str::to_owned).collect())
    }
}

fn bytes(text: &str) -> Result<i64, Failure> {
    if text.is_empty() {
        return Ok(0);
    }
    let bytes = base::size::parse_bytes(text).map_err(|error| Failure::invalid(error.to_string()))?;
    i64::try_from(bytes)
        .map_err(|_reason: std::num::TryFromIntError| Failure::invalid(format!("invalid size: '{text}'")))
}

/// Returns bits per second; 0 if the flag was not given, -1 for no limit.
pub(crate) fn net_rate(arguments: &Arguments, flag: &str) -> Result<i64, Failure> {
    match arguments.text(flag) {
        "" => Ok(0),
        text => resources::parse_net_rate(text).map_err(Failure::invalid),
    }
}

/// Returns bytes and seconds; no bytes if the flag was not given, -1 for no limit.
pub(crate) fn net_budget(arguments: &Arguments, flag: &str) -> Result<NetBudget, Failure> {
    match arguments.text(flag) {
        "" => Ok(NetBudget::default()),
        text => resources::parse_net_budget(text)
            .map(|(bytes, seconds)| NetBudget { bytes, seconds })
            .map_err(Failure::invalid),
    }
}

/// Checks the value of a flag that names a namespace; a wish that ends in a colon needs a name after it.
fn mode(arguments: &Arguments, flag: &str, kind: &str, known: &[&str]) -> Result<String, Failure> {
    let value = arguments.text(flag);
    let is_known = value.is_empty()
        || known.iter().any(|known| match known.strip_suffix(':') {
            Some(_) => value.len() > known.len() && value.starts_with(known),
            None => value == *known,
        });
    if is_known {
        Ok(value.to_owned())
    } else {
        Err(Failure::invalid(format!("berth: --{flag}: invalid {kind} mode")))
    }
}

fn log_config(arguments: &Arguments) -> Result<LogConfig, Failure> {
    let kind = arguments.text("log-driver").to_owned();
    let config = pairs(&arguments.list("log-opt"));
    if kind == "none" && !config.is_empty() {
        return Err(Failure::invalid("berth: invalid logging opts for driver none"));
    }
    Ok(LogConfig { kind, config })
}

fn tmpfs(arguments: &Arguments) -> BTreeMap<String, String> {
    let mounts = arguments.list("tmpfs").into_iter();
    let split = mounts.map(|mount| mount.split_once(':').unwrap_or((mount, "")));
    split
        .map(|(path, options)| (path.to_owned(), options.to_owned()))
        .collect()
}

/// Makes the directory of `--rootfs` absolute, for the daemon is in another directory.
fn rootfs(arguments: &Arguments) -> Result<String, Failure> {
    let text = arguments.text("rootfs");
    if text.is_empty() {
        if arguments.is_set("rootfs") {
            return Err(Failure::invalid("berth: --rootfs: a directory is needed"));
        }
        return Ok(String::new());
    }
    let (directory, overlay) = match text.strip_suffix(":O") {
        Some(directory) => (directory, ":O"),
        None => (text, ""),
    };
    let absolute = std::path::absolute(directory).map_err(|error| Failure::io("--rootfs", &error))?;
    match absolute.to_str() {
        Some(absolute) => Ok(format!("{absolute}{overlay}")),
        None => Err(Failure::invalid(
            "berth: --rootfs: the directory's name is not UTF-8",
        )),
    }
}
