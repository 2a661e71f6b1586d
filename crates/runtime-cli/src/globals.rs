//! Options that stand before the command: runc's, and those of crun that podman uses.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, value_parser};

/// Where state is kept unless `--root` says otherwise.
const DEFAULT_ROOT: &str = "/run/berth/oci";

/// The parsed global options.
#[derive(Clone, Debug)]
pub(crate) struct Globals {
    /// Where state is kept.
    pub(crate) root: PathBuf,
    /// Where errors are logged besides stderr.
    pub(crate) log: Option<PathBuf>,
    /// The form of the log.
    pub(crate) log_format: LogFormat,
    /// How `cgroupsPath` is read.
    pub(crate) cgroups: Cgroups,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// `time="…" level=error msg="…"`
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// How `linux.cgroupsPath` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// As a path.
    Path,
    /// As `slice:prefix:name`, which becomes the path that systemd would give it. systemd itself is not asked.
    Systemd,
    /// Not at all: the container stays in its caller's cgroup.
    Disabled,
}

/// Returns the options.
pub(crate) fn arguments() -> Vec<Arg> {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    vec![
        option("root", "DIR", "root directory for storage of container state")
            .value_parser(value_parser!(PathBuf))
            .default_value(DEFAULT_ROOT),
        option(
            "log",
            "FILE",
            "file to write errors and warnings to, besides stderr",
        )
        .value_parser(value_parser!(PathBuf)),
        option("log-format", "FORMAT", "form of the log")
            .value_parser(["text", "json"])
            .default_value("text"),
        option(
            "log-level",
            "LEVEL",
            "accepted for crun's sake; everything is logged",
        ),
        flag("debug", "accepted for runc's sake; everything is logged"),
        flag(
            "systemd-cgroup",
            "read cgroupsPath as slice:prefix:name and use the path it stands for",
        ),
        option(
            "cgroup-manager",
            "MANAGER",
            "crun's way to say how cgroupsPath is read",
        )
        .value_parser(["cgroupfs", "systemd", "disabled"]),
        option(
            "rootless",
            "WHEN",
            "ignore cgroup permission errors (only false and auto are supported)",
        )
        .value_parser(["false", "auto"]),
    ]
}

impl Globals {
    /// Reads the options.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Self {
        let manager = matches.get_one::<String>("cgroup-manager").map(String::as_str);
        let cgroups = match manager {
            Some("disabled") => Cgroups::Disabled,
            Some("systemd") => Cgroups::Systemd,
            Some(_) => Cgroups::Path,
            None if matches.get_flag("systemd-cgroup") => Cgroups::Systemd,
            None => Cgroups::Path,
        };
        let is_json = matches
            .get_one::<String>("log-format")
            .is_some_and(|format| format == "json");
        Self {
            root: matches
                .get_one::<PathBuf>("root")
                .cloned()
                .unwrap_or_else(|| PathBuf::from(DEFAULT_ROOT)),
            log: matches.get_one::<PathBuf>("log").cloned(),
            log_format: if is_json { LogFormat::Json } else { LogFormat::Text },
            cgroups,
        }
    }
}
