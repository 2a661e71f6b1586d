//! The daemon's options: dockerd's spellings on the command line and in `daemon.json`.
//!
//! An option stands in one of the two places; in both it is an error, as in Docker. What is not known is refused by
//! name in both.

mod network;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::size::parse_bytes;
use clap::{Arg, ArgAction, ArgMatches};
use engine::config::Ulimit;
use engine::container::KeptLogLimits;
use engine::{EngineConfig, NetworkConfig, UserNamespaceDefault};
use serde_json::{Map, Value};

use super::hosts::Host;
use super::logging::Logging;

/// How the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) hosts: Vec<Host>,
    pub(crate) group: Option<String>,
    pub(crate) data_root: PathBuf,
    pub(crate) exec_root: PathBuf,
    pub(crate) pid_file: PathBuf,
    pub(crate) logging: Logging,
    pub(crate) on_demand: bool,
    pub(crate) idle_timeout: Duration,
    pub(crate) shutdown_timeout: Duration,
    debug: bool,
    storage_driver: Option<String>,
    cgroup_parent: String,
    user_namespace: UserNamespaceDefault,
    seccomp_profile: Option<String>,
    log_driver: String,
    log_options: BTreeMap<String, String>,
    kept_logs: KeptLogLimits,
    default_ulimits: Vec<Ulimit>,
    default_shm_size: u64,
    default_pids_limit: i64,
    init: bool,
    no_new_privileges: bool,
    policy: Option<PathBuf>,
    insecure_registries: Vec<String>,
    registry_mirrors: Vec<String>,
    max_concurrent_downloads: usize,
    network: NetworkConfig,
    labels: Vec<String>,
    arguments: Vec<OsString>,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Box<Options>),
    /// Help or the version.
    Print(String),
}

/// The options are wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("{text}")]
    CommandLine { text: String },
    #[error("unable to configure the Docker daemon with file {}", path.display())]
    File { path: PathBuf, source: FileProblem },
    #[error("invalid value \"{value}\" for \"{name}\": {problem}")]
    Value {
        name: &'static str,
        value: String,
        problem: String,
    },
}

/// What is wrong with `daemon.json`; the texts are Docker's where it has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileProblem {
    #[error("no such file")]
    Missing,
    #[error(transparent)]
    Read(base::file::FileError),
    #[error("not a JSON object")]
    Json { source: serde_json::Error },
    #[error("the following directives don't match any configuration option: {names}")]
    Unknown { names: String },
    #[error(
        "the following directives are specified both as a flag and in the configuration file: {name}: (from flag: {flag}, from file: {file})"
    )]
    Both {
        name: &'static str,
        flag: String,
        file: String,
    },
    #[error("\"{name}\" must be {wanted}")]
    Type {
        name: &'static str,
        wanted: &'static str,
    },
}

/// Where `daemon.json` is looked for when nobody says; it need not exist.
const CONFIG_FILE: &str = "/etc/berth/daemon.json";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `--flag`, `true`.
    Switch,
    /// `--flag x`, `"x"` or a number.
    One,
    /// `--flag a --flag b`, `["a", "b"]`.
    Many,
    /// `--flag name=value`, `{"name": "value"}`.
    Pairs,
    /// `--flag base=…,size=…`, `[{"base": …, "size": …}]`.
    Pools,
    /// `--flag name=soft:hard`, `{"name": {"Name": …, "Soft": …, "Hard": …}}`.
    Ulimits,
}

/// One option of the daemon.
struct Spec {
    flag: &'static str,
    short: Option<char>,
    /// The key in `daemon.json`; empty: only on the command line.
    key: &'static str,
    form: Form,
    value: &'static str,
    help: &'static str,
}

const fn spec(
    flag: &'static str,
    key: &'static str,
    form: Form,
    value: &'static str,
    help: &'static str,
) -> Spec {
    Spec {
        flag,
        short: None,
        key,
        form,
        value,
        help,
    }
}

const fn short(short: char, spec: Spec) -> Spec {
    Spec {
        short: Some(short),
        ..spec
    }
}

static SPECS: &[Spec] = &[
    short(
        'H',
        spec(
            "host",
            "hosts",
            Form::Many,
            "list",
            "Daemon sockets to connect to (unix:///path, fd://, tcp://127.0.0.1:port)",
        ),
    ),
    spec(
        "data-root",
        "data-root",
        Form::One,
        "string",
        "Root directory of persistent state (default \"/var/lib/berth\")",
    ),
    spec(
        "exec-root",
        "exec-root",
        Form::One,
        "string",
        "Root directory for execution state files (default \"/run/berth\")",
    ),
    short(
        'p',
        spec(
            "pidfile",
            "pidfile",
            Form::One,
            "file",
            "Path to use for daemon PID file (default \"berth.pid\" in the exec root)",
        ),
    ),
    short(
        'G',
        spec(
            "group",
            "group",
            Form::One,
            "string",
            "Group for the unix socket (default \"docker\" if there is one)",
        ),
    ),
    short('D', spec("debug", "debug", Form::Switch, "", "Enable debug mode")),
    short(
        'l',
        spec(
            "log-level",
            "log-level",
            Form::One,
            "string",
            "Set the logging level (\"debug\"|\"info\"|\"warn\"|\"error\"|\"fatal\") (default \"info\")",
        ),
    ),
    spec(
        "config-file",
        "",
        Form::One,
        "file",
        "Daemon configuration file (default \"/etc/berth/daemon.json\")",
    ),
    short(
        's',
        spec(
            "storage-driver",
            "storage-driver",
            Form::One,
            "string",
            "Storage driver to use (overlay, vfs)",
        ),
    ),
    spec(
        "cgroup-parent",
        "cgroup-parent",
        Form::One,
        "string",
        "Set parent cgroup for all containers (default \"/berth\")",
    ),
    spec(
        "userns",
        "userns",
        Form::One,
        "string",
        "User namespace of containers: \"private\" (one each) or \"host\" (default \"private\")",
    ),
    spec(
        "seccomp-profile",
        "seccomp-profile",
        Form::One,
        "string",
        "Path to seccomp profile, or \"unconfined\" (default \"builtin\")",
    ),
    spec(
        "no-new-privileges",
        "no-new-privileges",
        Form::Switch,
        "",
        "Set no-new-privileges by default for new containers",
    ),
    spec(
        "init",
        "init",
        Form::Switch,
        "",
        "Run an init in the container to forward signals and reap processes",
    ),
    spec(
        "log-driver",
        "log-driver",
        Form::One,
        "string",
        "Default driver for container logs (default \"json-file\")",
    ),
    spec(
        "kept-log-opt",
        "kept-log-opts",
        Form::Pairs,
        "map",
        "How much of the logs of removed containers is kept (default max-containers=200, max-size=256m, max-hours=168)",
    ),
    spec(
        "log-opt",
        "log-opts",
        Form::Pairs,
        "map",
        "Default log driver options for containers",
    ),
    spec(
        "default-ulimit",
        "default-ulimits",
        Form::Ulimits,
        "ulimit",
        "Default ulimits for containers",
    ),
    spec(
        "default-shm-size",
        "default-shm-size",
        Form::One,
        "bytes",
        "Default shm size for containers (default 64MiB)",
    ),
    spec(
        "default-pids-limit",
        "default-pids-limit",
        Form::One,
        "int",
        "Default limit of processes of a container, -1 for none (default 2048)",
    ),
    spec(
        "policy",
        "policy",
        Form::One,
        "file",
        "Policy that says which images may be used (default: \"/etc/berth/policy.json\", if it is there)",
    ),
    spec(
        "insecure-registry",
        "insecure-registries",
        Form::Many,
        "list",
        "Registry (host[:port] or network) to speak to without checking TLS; 127.0.0.0/8 always is",
    ),
    spec(
        "registry-mirror",
        "registry-mirrors",
        Form::Many,
        "list",
        "URL of a registry to ask before Docker Hub",
    ),
    spec(
        "max-concurrent-downloads",
        "max-concurrent-downloads",
        Form::One,
        "int",
        "How many layers are fetched at a time (default 3)",
    ),
    spec(
        "label",
        "labels",
        Form::Many,
        "list",
        "Set key=value labels to the daemon",
    ),
    spec(
        "live-restore",
        "live-restore",
        Form::Switch,
        "",
        "Accepted: containers always live on without the daemon",
    ),
    spec(
        "shutdown-timeout",
        "shutdown-timeout",
        Form::One,
        "int",
        "Seconds that requests may take to end when the daemon stops (default 15)",
    ),
    spec(
        "on-demand",
        "",
        Form::Switch,
        "",
        "End when nothing is left to keep; used by commands that find no daemon",
    ),
    spec(
        "idle-timeout",
        "",
        Form::One,
        "seconds",
        "With --on-demand: how long there must be nothing to keep (default 60)",
    ),
];

/// Reads the command line and the configuration file.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Command, OptionsError> {
    let words = std::iter::once(OsString::from("berth daemon")).chain(arguments.iter().cloned());
    let matches = match command().try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return Ok(Command::Print(error.render().to_string())),
        Err(error) => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            // The first line names the culprit; the rest is advice.
            let text = text
                .split("\n\nUsage")
                .next()
                .unwrap_or(text)
                .trim_end()
                .to_owned();
            return Err(OptionsError::CommandLine { text });
        }
    };
    let file = read_file(&matches)?;
    resolve(Values { matches, file }, arguments).map(|options| Command::Run(Box::new(options)))
}

impl Options {
    /// Reads everything again, as it would be after a restart.
    pub(crate) fn reread(&self) -> Result<Self, OptionsError> {
        match parse(&self.arguments)? {
            Command::Run(options) => Ok(*options),
            Command::Print(_) => Ok(self.clone()),
        }
    }

    /// Returns the engine's part.
    pub(crate) fn engine(&self) -> anyhow::Result<EngineConfig> {
        Ok(EngineConfig {
            data_root: self.data_root.clone(),
            exec_root: self.exec_root.clone(),
            storage_driver: self.storage_driver.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            user_namespace: self.user_namespace,
            seccomp_profile: self.seccomp_profile.clone(),
            log_driver: self.log_driver.clone(),
            log_options: self.log_options.clone(),
            kept_logs: self.kept_logs,
            default_ulimits: self.default_ulimits.clone(),
            default_shm_size: self.default_shm_size,
            default_pids_limit: self.default_pids_limit,
            init: self.init,
            no_new_privileges: self.no_new_privileges,
            shim_executable: std::env::current_exe()?,
            shim_arguments: vec!["berth-shim".to_owned()],
            insecure_registries: self.insecure_registries.clone(),
            registry_mirrors: self.registry_mirrors.clone(),
            max_concurrent_downloads: self.max_concurrent_downloads,
            policy: self.policy.clone(),
            network: self.network.clone(),
            labels: self.labels.clone(),
            debug: self.debug,
        })
    }
}

/// All options.
fn specs() -> impl Iterator<Item = &'static Spec> {
    SPECS.iter().chain(network::SPECS)
}

fn command() -> clap::Command {
    let arguments = specs().map(|spec| {
        let argument = Arg::new(spec.flag).long(spec.flag).help(spec.help);
        let argument = match spec.short {
            Some(letter) => argument.short(letter),
            None => argument,
        };
        match spec.form {
            // As in Docker: `--init`, `--init=false`.
            Form::Switch => argument
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(["true", "false"])
                .hide_possible_values(true),
            Form::One => argument
                .action(ArgAction::Set)
                .value_name(spec.value)
                .overrides_with(spec.flag),
            Form::Many | Form::Pairs | Form::Pools | Form::Ulimits => {
                argument.action(ArgAction::Append).value_name(spec.value)
            }
        }
    });
    clap::Command::new("daemon")
        .bin_name("berth daemon")
        .about("A container engine: serves the Docker HTTP API")
        .version(env!("CARGO_PKG_VERSION"))
        .args(arguments)
}

/// The options as they were written, from both places.
struct Values {
    matches: ArgMatches,
    file: Map<String, Value>,
}

fn read_file(matches: &ArgMatches) -> Result<Map<String, Value>, OptionsError> {
    let named = matches.get_one::<String>("config-file");
    let path = Path::new(named.map_or(CONFIG_FILE, String::as_str));
    let problem = |source| OptionsError::File {
        path: path.to_owned(),
        source,
    };
    let content =
        match base::file::read_optional(path, 1 << 20).map_err(|error| problem(FileProblem::Read(error)))? {
            Some(content) => content,
            None if named.is_some() => return Err(problem(FileProblem::Missing)),
            None => return Ok(Map::new()),
        };
    let file = read_keys(&content).map_err(problem)?;
    for spec in specs() {
        if let (Some(value), true) = (file.get(spec.key), is_given(matches, spec)) {
            return Err(problem(FileProblem::Both {
                name: spec.key,
                flag: matches
                    .get_many::<String>(spec.flag)
                    .map(|values| values.map(String::as_str).collect::<Vec<_>>().join(","))
                    .unwrap_or_default(),
                file: value.to_string(),
            }));
        }
    }
    Ok(file)
}

fn is_given(matches: &ArgMatches, spec: &Spec) -> bool {
    matches.value_source(spec.flag) == Some(clap::parser::ValueSource::CommandLine)
}

/// Decodes a configuration file; every key must be known. An empty file has none.
fn read_keys(content: &[u8]) -> Result<Map<String, Value>, FileProblem> {
    if content.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    let file: Map<String, Value> =
        serde_json::from_slice(content).map_err(|source| FileProblem::Json { source })?;
    let is_known = |name: &str| !name.is_empty() && specs().any(|spec| spec.key == name);
    let unknown: Vec<&str> = file
        .keys()
        .map(String::as_str)
        .filter(|name| !is_known(name))
        .collect();
    if unknown.is_empty() {
        Ok(file)
    } else {
        Err(FileProblem::Unknown {
            names: unknown.join(", "),
        })
    }
}

impl Values {
    fn spec(flag: &'static str) -> &'static Spec {
        let found = specs().find(|spec| spec.flag == flag);
        found.unwrap_or_else(|| unreachable!("every flag that is asked for is in the table"))
    }

    fn type_error(name: &'static str, wanted: &'static str) -> OptionsError {
        OptionsError::File {
            path: CONFIG_FILE.into(),
            source: FileProblem::Type { name, wanted },
        }
    }

    fn switch(&self, flag: &'static str) -> Result<bool, OptionsError> {
        self.switch_or(flag, false)
    }

    /// Returns a switch with another default than off.
    fn switch_or(&self, flag: &'static str, default: bool) -> Result<bool, OptionsError> {
        let spec = Self::spec(flag);
        if let Some(value) = self.matches.get_one::<String>(flag) {
            return Ok(value == "true");
        }
        match self.file.get(spec.key) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(Self::type_error(spec.key, "true or false")),
        }
    }

    fn one(&self, flag: &'static str) -> Result<Option<String>, OptionsError> {
        let spec = Self::spec(flag);
        if let Some(value) = self.matches.get_one::<String>(flag) {
            return Ok(Some(value.clone()));
        }
        match self.file.get(spec.key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value.clone())),
            Some(Value::Number(value)) => Ok(Some(value.to_string())),
            Some(_) => Err(Self::type_error(spec.key, "a string or a number")),
        }
    }

    /// Returns what the command line says, as it was written.
    fn flags(&self, flag: &str) -> Option<impl Iterator<Item = &String>> {
        self.matches.get_many::<String>(flag)
    }

    /// Returns what the file says, as it was written.
    fn of_file(&self, flag: &'static str) -> Option<&Value> {
        self.file.get(Self::spec(flag).key)
    }

    fn many(&self, flag: &'static str) -> Result<Vec<String>, OptionsError> {
        let spec = Self::spec(flag);
        if let Some(values) = self.matches.get_many::<String>(flag) {
            return Ok(values.cloned().collect());
        }
        let wanted = || Self::type_error(spec.key, "a list of strings");
        match self.file.get(spec.key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| value.as_str().map(str::to_owned).ok_or_else(wanted))
                .collect(),
            Some(_) => Err(wanted()),
        }
    }

    fn pairs(&self, flag: &'static str) -> Result<BTreeMap<String, String>, OptionsError> {
        let spec = Self::spec(flag);
        if let Some(values) = self.matches.get_many::<String>(flag) {
            let pairs = values.map(|pair| match pair.split_once('=') {
                Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
                None => Err(OptionsError::Value {
                    name: spec.flag,
                    value: pair.clone(),
                    problem: "name=value is needed".to_owned(),
                }),
            });
            return pairs.collect();
        }
        let wanted = || Self::type_error(spec.key, "an object of strings");
        match self.file.get(spec.key) {
            None => Ok(BTreeMap::new()),
            Some(Value::Object(pairs)) => pairs
                .iter()
                .map(|(name, value)| Ok((name.clone(), value.as_str().ok_or_else(wanted)?.to_owned())))
                .collect(),
            Some(_) => Err(wanted()),
        }
    }

    fn ulimits(&self, flag: &'static str) -> Result<Vec<Ulimit>, OptionsError> {
        let spec = Self::spec(flag);
        if let Some(values) = self.matches.get_many::<String>(flag) {
            return values.map(|text| ulimit(spec.flag, text)).collect();
        }
        let wanted = || Self::type_error(spec.key, "an object of limits with Name, Soft and Hard");
        match self.file.get(spec.key) {
            None => Ok(Vec::new()),
            Some(Value::Object(limits)) => limits
                .iter()
                .map(|(name, value)| {
                    let number = |key: &str| value.get(key).and_then(Value::as_i64).ok_or_else(wanted);
                    Ok(Ulimit {
                        name: name.clone(),
                        soft: number("Soft")?,
                        hard: number("Hard")?,
                    })
                })
                .collect(),
            Some(_) => Err(wanted()),
        }
    }
}

fn resolve(values: Values, arguments: &[OsString]) -> Result<Options, OptionsError> {
    let exec_root = absolute(
        "exec-root",
        values
            .one("exec-root")?
            .unwrap_or_else(|| "/run/berth".to_owned()),
    )?;
    let data_root = absolute(
        "data-root",
        values
            .one("data-root")?
            .unwrap_or_else(|| "/var/lib/berth".to_owned()),
    )?;
    let mut hosts = Vec::new();
    for text in values.many("host")? {
        let host: Host = text
            .parse()
            .map_err(|error: super::hosts::ParseHostError| OptionsError::Value {
                name: "host",
                value: text,
                problem: error.to_string(),
            })?;
        hosts.push(host);
    }
    if hosts.is_empty() {
        hosts.push(Host::Unix(exec_root.join("berth.sock")));
    }
    let debug = values.switch("debug")?;
    let level = values.one("log-level")?.unwrap_or_else(|| "info".to_owned());
    let logging = Logging::new(&level, debug).ok_or_else(|| OptionsError::Value {
        name: "log-level",
        value: level.clone(),
        problem: "no such level".to_owned(),
    })?;
    let user_namespace = match values.one("userns")?.as_deref() {
        None | Some("private") => UserNamespaceDefault::Private,
        Some("host") => UserNamespaceDefault::Host,
        Some(other) => {
            return Err(OptionsError::Value {
                name: "userns",
                value: other.to_owned(),
                problem: "\"private\" or \"host\" is needed".to_owned(),
            });
        }
    };
    // Accepted because it cannot be turned off.
    let _always_on = values.switch("live-restore")?;
    Ok(Options {
        hosts,
        group: values.one("group")?,
        pid_file: match values.one("pidfile")? {
            Some(path) => absolute("pidfile", path)?,
            None => exec_root.join("berth.pid"),
        },
        exec_root,
        data_root,
        logging,
        on_demand: values.switch("on-demand")?,
        idle_timeout: seconds("idle-timeout", &values, 60)?,
        shutdown_timeout: seconds("shutdown-timeout", &values, 15)?,
        debug,
        storage_driver: values.one("storage-driver")?,
        cgroup_parent: values
            .one("cgroup-parent")?
            .unwrap_or_else(|| "/berth".to_owned()),
        user_namespace,
        seccomp_profile: values
            .one("seccomp-profile")?
            .filter(|profile| profile != "builtin"),
        log_driver: values
            .one("log-driver")?
            .unwrap_or_else(|| "json-file".to_owned()),
        log_options: values.pairs("log-opt")?,
        kept_logs: kept_logs(&values.pairs("kept-log-opt")?)?,
        default_ulimits: values.ulimits("default-ulimit")?,
        default_shm_size: match values.one("default-shm-size")? {
            None => 64 << 20,
            Some(text) => parse_bytes(&text).map_err(|error| OptionsError::Value {
                name: "default-shm-size",
                value: text.clone(),
                problem: error.to_string(),
            })?,
        },
        default_pids_limit: number("default-pids-limit", &values)?.unwrap_or(2048),
        init: values.switch("init")?,
        no_new_privileges: values.switch("no-new-privileges")?,
        insecure_registries: values.many("insecure-registry")?,
        registry_mirrors: values.many("registry-mirror")?,
        max_concurrent_downloads: downloads(&values)?,
        policy: values
            .one("policy")?
            .map(|path| absolute("policy", path))
            .transpose()?,
        network: network::resolve(&values)?,
        labels: values.many("label")?,
        arguments: arguments.to_vec(),
    })
}

fn absolute(name: &'static str, path: String) -> Result<PathBuf, OptionsError> {
    if path.starts_with('/') {
        return Ok(path.into());
    }
    match std::path::absolute(&path) {
        Ok(path) => Ok(path),
        Err(error) => Err(OptionsError::Value {
            name,
            value: path,
            problem: error.to_string(),
        }),
    }
}

fn number(name: &'static str, values: &Values) -> Result<Option<i64>, OptionsError> {
    let Some(text) = values.one(name)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(OptionsError::Value {
            name,
            value: text,
            problem: "a number is needed".to_owned(),
        }),
    }
}

/// Reads how many layers are fetched at a time; 0 is docker's default, as there.
fn downloads(values: &Values) -> Result<usize, OptionsError> {
    const NAME: &str = "max-concurrent-downloads";
    match number(NAME, values)?.unwrap_or(0) {
        0 => Ok(3),
        number => usize::try_from(number).map_err(|_negative| OptionsError::Value {
            name: NAME,
            value: number.to_string(),
            problem: format!("invalid max concurrent downloads: {number}"),
        }),
    }
}

/// Reads how much of the logs of removed containers is kept: `max-containers`, `max-size` (bytes, or with a unit) and
/// `max-hours`.
fn kept_logs(pairs: &BTreeMap<String, String>) -> Result<KeptLogLimits, OptionsError> {
    let mut limits = KeptLogLimits::DEFAULT;
    for (name, value) in pairs {
        let wrong = |problem: String| OptionsError::Value {
            name: "kept-log-opt",
            value: format!("{name}={value}"),
            problem,
        };
        let number = |error: std::num::ParseIntError| wrong(error.to_string());
        match name.as_str() {
            "max-containers" => limits.containers = value.parse().map_err(number)?,
            "max-size" => limits.bytes = parse_bytes(value).map_err(|error| wrong(error.to_string()))?,
            "max-hours" => {
                let hours: u32 = value.parse().map_err(number)?;
                limits.age = Duration::from_secs(u64::from(hours) * 3600);
            }
            _ => {
                return Err(wrong(
                    "max-containers, max-size or max-hours is needed".to_owned(),
                ));
            }
        }
    }
    Ok(limits)
}

fn seconds(name: &'static str, values: &Values, default: u64) -> Result<Duration, OptionsError> {
    let Some(number) = number(name, values)? else {
        return Ok(Duration::from_secs(default));
    };
    match u64::try_from(number) {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        // Docker's "for ever".
        Err(_) if number == -1 => Ok(Duration::MAX),
        Err(_) => Err(OptionsError::Value {
            name,
            value: number.to_string(),
            problem: "a number of seconds is needed".to_owned(),
        }),
    }
}

/// Reads `name=soft[:hard]`.
fn ulimit(name: &'static str, text: &str) -> Result<Ulimit, OptionsError> {
    let limits = || {
        let (name, limits) = text.split_once('=')?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        Some(Ulimit {
            name: name.to_owned(),
            soft: soft.parse().ok()?,
            hard: hard.parse().ok()?,
        })
    };
    limits().ok_or_else(|| OptionsError::Value {
        name,
        value: text.to_owned(),
        problem: "name=soft[:hard] is needed".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match parse(&arguments) {
            Ok(Command::Run(options)) => Ok(*options),
            Ok(Command::Print(text)) => Err(text),
            Err(error) => Err(base::error::chain(&error).to_string()),
        }
    }

    #[test]
    fn reads_dockerds_spellings() {
        let options = options(
            "-H unix:///a.sock -H tcp://127.0.0.1:1 --data-root /d --exec-root=/e --pidfile /p -D -G x --init \
             --log-opt max-size=1m --default-ulimit nofile=1:2 --default-shm-size 1m --userns host --init=false \
             --shutdown-timeout 3 --live-restore --label a=b",
        );
        // A switch given twice is a mistake of the caller.
        assert!(options.is_err());
        let options = self::options(
            "-H unix:///a.sock -H tcp://127.0.0.1:1 --data-root /d --exec-root=/e --pidfile /p -D -G x --init \
             --log-opt max-size=1m --default-ulimit nofile=1:2 --default-shm-size 1m --userns host \
             --shutdown-timeout 3 --live-restore --label a=b",
        )
        .unwrap();
        assert_eq!(
            options.hosts,
            [Host::Unix("/a.sock".into()), Host::Tcp("127.0.0.1:1".to_owned())]
        );
        assert_eq!(
            options.default_ulimits,
            [Ulimit {
                name: "nofile".to_owned(),
                soft: 1,
                hard: 2
            }]
        );
        assert_eq!(options.default_shm_size, 1 << 20);
        assert_eq!(options.user_namespace, UserNamespaceDefault::Host);
        assert_eq!(options.log_options["max-size"], "1m");
        assert!(options.init && options.debug && !options.on_demand);
        assert_eq!(options.shutdown_timeout, Duration::from_secs(3));
    }

    #[test]
    fn the_socket_follows_the_exec_root() {
        let options = options("--exec-root /e").unwrap();
        assert_eq!(options.hosts, [Host::Unix("/e/berth.sock".into())]);
        assert_eq!(options.pid_file, Path::new("/e/berth.pid"));
    }

    #[test]
    fn unknown_options_are_refused_by_name() {
        for (line, name) in [
            (
                "--swarm-default-advertise-addr x",
                "--swarm-default-advertise-addr",
            ),
            ("--tlsverify", "--tlsverify"),
            ("--userns maybe", "maybe"),
            ("-H tcp://", "tcp://"),
            ("--log-level loud", "loud"),
            ("stray", "stray"),
        ] {
            let error = options(line).unwrap_err();
            assert!(error.contains(name), "{line}: {error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let error =
            read_keys(br#"{"debug": true, "node-generic-resources": [], "on-demand": true}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the following directives don't match any configuration option: node-generic-resources, on-demand"
        );
        assert!(read_keys(b"[]").is_err());
        assert!(read_keys(b" \n").unwrap().is_empty());
    }

    #[test]
    fn the_file_and_the_flags_do_not_meet() {
        let path = std::env::temp_dir().join(format!("berth-options-{}", std::process::id()));
        let content = br#"{"debug": true, "hosts": ["unix:///x.sock"], "userns": "host", "shutdown-timeout": 5,
            "default-ulimits": {"nproc": {"Name": "nproc", "Soft": 1, "Hard": 2}}, "log-opts": {"max-file": "2"}}"#;
        base::file::write_atomic(&path, content, 0o600, base::file::Durability::Crash).unwrap();
        let file = path.display();
        let read = options(&format!("--config-file {file} --data-root /d")).unwrap();
        assert_eq!(read.hosts, [Host::Unix("/x.sock".into())]);
        assert_eq!(read.shutdown_timeout, Duration::from_secs(5));
        assert_eq!(read.default_ulimits[0].hard, 2);
        assert_eq!(read.log_options["max-file"], "2");
        assert!(read.debug);
        let error = options(&format!("--config-file {file} --userns host")).unwrap_err();
        assert!(
            error.contains("userns: (from flag: host, from file: \"host\")"),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(
            options(&format!("--config-file {file}"))
                .unwrap_err()
                .contains("no such file")
        );
    }
}
