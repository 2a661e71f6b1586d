//! `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf` of a container: files of the engine, bound into it, writable if its
//! root is.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base::file::{Durability, FileError, create_new, write_atomic};
use spec::mounts::Mount;

use super::record::Record;
use crate::Engine;

/// The three files, and what they are called inside.
const FILES: [(&str, &str); 3] = [
    ("hostname", "/etc/hostname"),
    ("hosts", "/etc/hosts"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// Returns the directory that holds a container's files: that of the container whose network it joins, if so.
pub(crate) fn directory(engine: &Engine, own: &Path, record: &Record) -> PathBuf {
    let joined = record.host.network_mode.strip_prefix("container:");
    match joined.and_then(|name| engine.registry.find(name).ok()) {
        Some(target) => engine.layout.run(&target.id),
        None => own.to_owned(),
    }
}

/// Writes the files that are missing; what a container wrote into them stays over restarts, but for the lines that say where
/// it is, which are those of this start.
///
pub(crate) fn write(
    directory: &Path,
    age: Age,
    hostname: &str,
    record: &Record,
    place: &Place,
) -> Result<(), FileError> {
    let host_network = record.host.network_mode == "host";
    let missing = |name: &str| age == Age::New || !directory.join(name).exists();
    let ids = record.ids().map(|ids| ids.root());
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        let file = match age {
            Age::New => put_new(&path, text)?,
            Age::InUse if path.exists() => return overwrite(&path, text),
            Age::Kept | Age::InUse => {
                write_atomic(&path, text.as_bytes(), 0o644, Durability::Crash)?;
                File::open(&path).map_err(|source| FileError::new("open", &path, source))?
            }
        };
        // The container's root owns them, so that they need no idmapped mount.
        match &ids {
            Some((user, group)) => std::os::unix::fs::fchown(&file, Some(*user), Some(*group))
                .map_err(|source| FileError::new("change the owner of", &path, source)),
            None => Ok(()),
        }
    };
    if missing("hostname") {
        put("hostname", &format!("{hostname}\n"))?;
    }
    let file = directory.join("hosts");
    if missing("hosts") {
        put("hosts", &hosts(hostname, record, host_network, place))?;
    } else if let Some(old) = read(&file)? {
        let new = moved(&old, hostname, record, place);
        if new != old {
            put("hosts", &new)?;
        }
    }
    let file = directory.join("resolv.conf");
    let wanted = resolv_conf(record, place);
    if missing("resolv.conf") {
        put("resolv.conf", &wanted)?;
    } else if let Some(old) = read(&file)? {
        // Only what was written here is replaced, not what somebody put there.
        let other = Place {
            resolver: !place.resolver,
            ..place.clone()
        };
        if old != wanted && old == resolv_conf(record, &other) {
            put("resolv.conf", &wanted)?;
        }
    }
    Ok(())
}

/// How long the files have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// They are made for this start, in place, which is half the work of replacing: one whose start was cut off has no task
    /// document and counts as new.
    New,
    /// They are of an earlier run, and replaced whole.
    Kept,
    /// They are bound into a container that runs: only what is written into them is seen there.
    InUse,
}

/// Where a container is, for the files that tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its addresses, those of the network first by which it reaches the world.
    pub(crate) addresses: Vec<std::net::IpAddr>,
    /// What `host-gateway` stands for.
    pub(crate) host_gateway: Option<std::net::IpAddr>,
    /// Other containers that it knows by names of its own: an address and names.
    pub(crate) links: Vec<(std::net::IpAddr, String)>,
    /// Whether Berth answers its questions for names at 127.0.0.11.
    pub(crate) resolver: bool,
    /// The daemon's nameservers, options and search domains.
    pub(crate) dns: Dns,
}

/// What the resolver of a container is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dns {
    /// Nameservers.
    pub(crate) servers: Vec<String>,
    /// Options.
    pub(crate) options: Vec<String>,
    /// Search domains.
    pub(crate) search: Vec<String>,
}

/// Reads a file that the container may have written: what is too large, or no text, is left as it is.
fn read(path: &Path) -> Result<Option<String>, FileError> {
    let bytes = base::file::read_optional(path, 1 << 20);
    Ok(bytes
        .ok()
        .flatten()
        .and_then(|bytes| String::from_utf8(bytes).ok()))
}

/// Replaces the lines that say what the container's own addresses are.
fn moved(old: &str, hostname: &str, record: &Record, place: &Place) -> String {
    let own = own_lines(hostname, record, place);
    let is_own = |line: &str| {
        let mut words = line.split('\t');
        let (Some(_address), Some(names), None) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        names == names_of(hostname, record) && !own.lines().any(|own| own == line)
    };
    if old.lines().all(|line| !is_own(line)) && own.lines().all(|own| old.lines().any(|line| line == own)) {
        return old.to_owned();
    }
    let kept = old
        .lines()
        .filter(|line| !is_own(line) && !own.lines().any(|own| own == *line));
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    text.push_str(&own);
    text
}

/// Returns the host name as /etc/hosts has it: with its domain first.
fn names_of(hostname: &str, record: &Record) -> String {
    let domain = record.config.domainname.as_str();
    match hostname.split_once('.') {
        Some((first, _)) => format!("{hostname} {first}"),
        None if !domain.is_empty() => format!("{hostname}.{domain} {hostname}"),
        None => hostname.to_owned(),
    }
}

fn own_lines(hostname: &str, record: &Record, place: &Place) -> String {
    let names = names_of(hostname, record);
    let mut text = String::new();
    for address in &place.addresses {
        writeln!(text, "{address}\t{names}").ok();
    }
    if place.addresses.is_empty() {
        // Without a network the name still has to mean this machine.
        writeln!(text, "127.0.0.1\t{names}").ok();
    }
    text
}

/// Writes into a file that is bound into a container, which cannot put anything else in its place.
fn overwrite(path: &Path, text: &str) -> Result<(), FileError> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(path)
        .map_err(|source| FileError::new("open", path, source))?;
    file.write_all(text.as_bytes())
        .map_err(|source| FileError::new("write", path, source))
}

/// Writes a file that nobody else knows of yet.
fn put_new(path: &Path, text: &str) -> Result<File, FileError> {
    let mut created = create_new(path, 0o644);
    if created
        .as_ref()
        .is_err_and(|error| error.io().kind() == std::io::ErrorKind::AlreadyExists)
    {
        // Of a start that was cut off.
        crate::files::remove_file(path)?;
        created = create_new(path, 0o644);
    }
    let mut file = created?;
    file.write_all(text.as_bytes())
        .map_err(|source| FileError::new("write", path, source))?;
    Ok(file)
}

/// Returns the binds, except for files over which the container has a mount of its own.
pub(crate) fn mounts(directory: &Path, record: &Record) -> Vec<Mount> {
    FILES
        .into_iter()
        .filter(|(_, target)| {
            record
                .mounts
                .iter()
                .all(|mount| mount.point.destination != *target)
        })
        .map(|(name, target)| Mount::Bind {
            source: directory.join(name).display().to_string(),
            target: target.to_owned(),
            // As docker has it: else a root that is read-only would still take bytes, and without a limit (DS-05).
            read_only: record.host.read_only_rootfs,
            recursive: false,
            read_only_recursive: false,
            propagation: "rprivate".to_owned(),
            plain_ids: record.has_own_users(),
        })
        .collect()
}

fn hosts(hostname: &str, record: &Record, host_network: bool, place: &Place) -> String {
    let mut text = if host_network {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        String::from(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        )
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for extra in &record.host.extra_hosts {
        let Some((name, address)) = extra.split_once([':', '=']) else {
            continue;
        };
        match (address, place.host_gateway) {
            (HOST_GATEWAY, Some(gateway)) => writeln!(text, "{gateway}\t{name}").ok(),
            (HOST_GATEWAY, None) => continue,
            (address, _) => writeln!(text, "{}\t{name}", address.trim_matches(['[', ']'])).ok(),
        };
    }
    for (address, names) in &place.links {
        writeln!(text, "{address}\t{names}").ok();
    }
    if !host_network {
        text.push_str(&own_lines(hostname, record, place));
    }
    text
}

/// The address of `--add-host` that stands for the machine as the container reaches it.
const HOST_GATEWAY: &str = "host-gateway";

fn resolv_conf(record: &Record, place: &Place) -> String {
    let host = &record.host;
    let own = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let of_host = |key: &str| -> Vec<String> {
        let lines = own.lines().filter_map(|line| line.trim().strip_prefix(key));
        lines
            .flat_map(|rest| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let first = |given: &[String], daemons: &[String], key: &str| match (given.is_empty(), daemons.is_empty())
    {
        (false, _) => given.to_vec(),
        (true, false) => daemons.to_vec(),
        (true, true) => of_host(key),
    };
    let dns = &place.dns;
    let plain = [
        &host.dns,
        &host.dns_search,
        &host.dns_options,
        &dns.servers,
        &dns.search,
        &dns.options,
    ];
    if !place.resolver && plain.iter().all(|list| list.is_empty()) {
        return own;
    }
    let mut text = String::new();
    if place.resolver {
        text.push_str("nameserver 127.0.0.11\n");
    } else {
        for server in first(&host.dns, &dns.servers, "nameserver") {
            writeln!(text, "nameserver {server}").ok();
        }
    }
    let search: Vec<String> = first(&host.dns_search, &dns.search, "search")
        .into_iter()
        .filter(|word| word != ".")
        .collect();
    if !search.is_empty() {
        writeln!(text, "search {}", search.join(" ")).ok();
    }
    let mut options = first(&host.dns_options, &dns.options, "options");
    if place.resolver && !options.iter().any(|option| option.starts_with("ndots:")) {
        // As docker has it: a name without a dot may be another container's, and is asked for as it is first.
        options.push("ndots:0".to_owned());
    }
    if !options.is_empty() {
        writeln!(text, "options {}", options.join(" ")).ok();
    }
    text
}

/// Checks `--add-host` and `--dns`; the error is docker's text.
pub(crate) fn check(host: &crate::config::HostConfig) -> Result<(), String> {
    for extra in &host.extra_hosts {
        let good = extra.split_once([':', '=']).is_some_and(|(name, address)| {
            let address = address.trim_matches(['[', ']']);
            !name.is_empty()
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
                && (address == HOST_GATEWAY || address.parse::<std::net::IpAddr>().is_ok())
        });
        if !good {
            let named = extra
                .split_once([':', '='])
                .filter(|(name, address)| !name.is_empty() && !address.is_empty());
            if let Some((_, address)) = named {
                return Err(format!(
                    "invalid IP address in add-host: \"{}\"",
                    address.escape_default()
                ));
            }
            return Err(format!("bad format for add-host: \"{}\"", extra.escape_default()));
        }
    }
    for server in &host.dns {
        if server.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("{} is not an ip address", server.escape_default()));
        }
    }
    let word =
        |word: &String| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c.is_control());
    if !host.dns_search.iter().chain(&host.dns_options).all(word) {
        return Err("invalid DNS search domain or option".to_owned());
    }
    Ok(())
}
