//! `update`: changes limits.

use std::io::Read;
use std::path::PathBuf;

use cgroup::Limits;
use clap::{Arg, ArgMatches, value_parser};
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use crate::command::{id, id_argument};
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::log::{self, Level};
use crate::status::{Container, Status};

/// The greatest document that is read, in bytes.
const MAX_DOCUMENT: u64 = 1 << 20;

/// The options that are numbers, and where they are in the document.
const NUMBERS: [(&str, &str, &str); 10] = [
    ("blkio-weight", "blockIO", "weight"),
    ("cpu-period", "cpu", "period"),
    ("cpu-quota", "cpu", "quota"),
    ("cpu-burst", "cpu", "burst"),
    ("cpu-share", "cpu", "shares"),
    ("cpu-rt-period", "cpu", "realtimePeriod"),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime"),
    ("cpu-idle", "cpu", "idle"),
    ("pids-limit", "pids", "limit"),
    ("kernel-memory", "memory", "kernel"),
];
/// The options that are sizes, with a suffix or −1.
const SIZES: [(&str, &str, &str); 3] = [
    ("memory", "memory", "limit"),
    ("memory-reservation", "memory", "reservation"),
    ("memory-swap", "memory", "swap"),
];
/// The options that are texts.
const TEXTS: [(&str, &str, &str); 2] = [("cpuset-cpus", "cpu", "cpus"), ("cpuset-mems", "cpu", "mems")];

pub(super) fn arguments() -> Vec<Arg> {
    let option = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("VALUE")
            .allow_hyphen_values(true)
    };
    let mut arguments: Vec<Arg> = NUMBERS
        .iter()
        .map(|(name, ..)| option(name).value_parser(value_parser!(i64)))
        .collect();
    arguments.extend(SIZES.iter().chain(&TEXTS).map(|(name, ..)| option(name)));
    arguments.push(
        Arg::new("resources")
            .long("resources")
            .short('r')
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(
                "file with linux.resources of the specification, - for stdin; other options are then ignored",
            ),
    );
    arguments.push(id_argument());
    arguments
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let container = Container::load(globals, id(matches))?;
    if container.status()? == Status::Stopped {
        return Err(CommandError::new("container not running"));
    }
    let resources = match matches.get_one::<PathBuf>("resources") {
        Some(path) => read(path)?,
        None => from_options(matches)?,
    };
    let limits = Limits::from(&resources);
    for warning in &limits.warnings {
        log::write(globals, Level::Warning, warning);
    }
    container.need_cgroup("update")?.apply(&limits).plain()?;
    Ok(0)
}

fn read(path: &std::path::Path) -> Result<LinuxResources, CommandError> {
    let document = if path.as_os_str() == "-" {
        let mut document = Vec::new();
        std::io::stdin()
            .take(MAX_DOCUMENT)
            .read_to_end(&mut document)
            .context(|| "read stdin".to_owned())?;
        document
    } else {
        base::file::read_optional(path, MAX_DOCUMENT)
            .plain()?
            .ok_or_else(|| CommandError::new(format!("\"{}\" does not exist", path.display())))?
    };
    serde_json::from_slice(&document).context(|| format!("read \"{}\"", path.display()))
}

fn from_options(matches: &ArgMatches) -> Result<LinuxResources, CommandError> {
    let mut document = Map::new();
    let mut put = |section: &str, member: &str, value: Value| {
        let section = document
            .entry(section)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(section) = section {
            section.insert(member.to_owned(), value);
        }
    };
    for (name, section, member) in NUMBERS {
        if let Some(number) = matches.get_one::<i64>(name) {
            put(section, member, Value::from(*number));
        }
    }
    for (name, section, member) in SIZES {
        if let Some(text) = matches.get_one::<String>(name) {
            let size = match text.as_str() {
                "-1" => -1,
                text => i64::try_from(base::size::parse_bytes(text).context(|| format!("read --{name}"))?)
                    .context(|| format!("read --{name}"))?,
            };
            put(section, member, Value::from(size));
        }
    }
    for (name, section, member) in TEXTS {
        if let Some(text) = matches.get_one::<String>(name) {
            put(section, member, Value::from(text.as_str()));
        }
    }
    serde_json::from_value(Value::Object(document)).context(|| "read the options".to_owned())
}
