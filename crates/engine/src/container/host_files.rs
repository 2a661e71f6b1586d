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

/// Writes the files that are missing; what a container wrote into them stays over restarts.
///
/// In a directory that was `made` for this start they are written in place, which is half the work of replacing: one
/// whose start was cut off has no task document and counts as made.
pub(crate) fn write(directory: &Path, made: bool, hostname: &str, record: &Record) -> Result<(), FileError> {
    let host_network = record.host.network_mode == "host";
    let missing = |name: &str| made || !directory.join(name).exists();
    let ids = record.ids().map(|ids| ids.root());
    let put = |name: &str, text: &str| {
        let path = directory.join(name);
        let file = if made {
            put_new(&path, text)?
        } else {
            write_atomic(&path, text.as_bytes(), 0o644, Durability::Crash)?;
            File::open(&path).map_err(|source| FileError::new("open", &path, source))?
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
    if missing("hosts") {
        put("hosts", &hosts(hostname, record, host_network))?;
    }
    if missing("resolv.conf") {
        put("resolv.conf", &resolv_conf(record))?;
    }
    Ok(())
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

fn hosts(hostname: &str, record: &Record, host_network: bool) -> String {
    let mut text = if host_network {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        let mut text = String::from(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
        // Without a network the name still has to mean this machine.
        writeln!(text, "127.0.0.1\t{hostname}").ok();
        text
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for extra in &record.host.extra_hosts {
        if let Some((name, address)) = extra.split_once([':', '=']) {
            writeln!(text, "{}\t{name}", address.trim_matches(['[', ']'])).ok();
        }
    }
    text
}

fn resolv_conf(record: &Record) -> String {
    let host = &record.host;
    let own = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if host.dns.is_empty() && host.dns_search.is_empty() && host.dns_options.is_empty() {
        return own;
    }
    let of_host = |key: &str| -> Vec<String> {
        let lines = own.lines().filter_map(|line| line.trim().strip_prefix(key));
        lines
            .flat_map(|rest| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    };
    let or_host = |given: &[String], key: &str| {
        if given.is_empty() {
            of_host(key)
        } else {
            given.to_vec()
        }
    };
    let mut text = String::new();
    for server in or_host(&host.dns, "nameserver") {
        writeln!(text, "nameserver {server}").ok();
    }
    let search: Vec<String> = or_host(&host.dns_search, "search")
        .into_iter()
        .filter(|word| word != ".")
        .collect();
    if !search.is_empty() {
        writeln!(text, "search {}", search.join(" ")).ok();
    }
    let options = or_host(&host.dns_options, "options");
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
                && address.parse::<std::net::IpAddr>().is_ok()
        });
        if !good {
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
