//! The flags of networks: `--network` in both forms, and the older flags, which are about the first network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api_types::network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};

use crate::failure::Failure;
use crate::parse::Arguments;

/// What the flags of networks ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Networks {
    /// `HostConfig.NetworkMode`.
    pub mode: String,
    /// `NetworkingConfig`.
    pub config: NetworkingConfig,
}

/// One value of `--network`.
#[derive(Clone, Debug, Default, PartialEq)]
struct Attachment {
    network: String,
    aliases: Vec<String>,
    links: Vec<String>,
    ipv4: String,
    ipv6: String,
    link_local: Vec<String>,
    mac: String,
    driver_opts: BTreeMap<String, String>,
    gateway_priority: i64,
}

/// Translates `--network`, `--network-alias`, `--ip`, `--ip6`, `--link`, `--link-local-ip` and `--mac-address`.
pub(crate) fn networks(arguments: &Arguments) -> Result<Networks, Failure> {
    let given = arguments.list("network").into_iter().map(parse);
    let mut attachments: Vec<Attachment> = given.collect::<Result<_, _>>().map_err(Failure::invalid)?;
    let none_is_given = attachments.is_empty();
    if none_is_given {
        attachments.push(Attachment {
            network: "default".to_owned(),
            ..Attachment::default()
        });
    }
    for attachment in &attachments {
        check(attachment, &attachments)?;
    }
    let mode = attachments[0].network.clone();
    add_older_flags(&mut attachments[0], arguments)?;
    let mut endpoints = BTreeMap::new();
    for attachment in &attachments {
        let endpoint = endpoint(attachment)?;
        if endpoints
            .insert(attachment.network.clone(), Some(endpoint))
            .is_some()
        {
            return Err(Failure::invalid(format!(
                "berth: network \"{}\" is specified multiple times",
                attachment.network
            )));
        }
    }
    // Daemons before API 1.44 take no endpoint of a predefined network, so one that asks for nothing is not sent.
    if !none_is_given && endpoints.len() == 1 && endpoints[&mode] == Some(EndpointSettings::default()) {
        endpoints.clear();
    }
    Ok(Networks {
        mode,
        config: NetworkingConfig {
            endpoints_config: endpoints,
        },
    })
}

/// Wants a value of `--network`.
pub(crate) fn check_network(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

/// Reads `NETWORK` or `name=NETWORK,ip=…,…`; as in docker, the second form is lower case only.
fn parse(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !is_long_form(text) {
        text.clone_into(&mut attachment.network);
        return Ok(attachment);
    }
    for field in crate::create::mount::fields(text)? {
        let field = field.to_lowercase();
        let (key, value) = match field.split_once('=') {
            Some((key, value)) if !key.is_empty() => (key.trim(), value.trim()),
            _ => return Err(format!("invalid field {field}")),
        };
        match key {
            "name" => value.clone_into(&mut attachment.network),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => value.clone_into(&mut attachment.ipv4),
            "ip6" => value.clone_into(&mut attachment.ipv6),
            "mac-address" => value.clone_into(&mut attachment.mac),
            "link-local-ip" => attachment.link_local.push(value.to_owned()),
            "driver-opt" => {
                let (key, value) = driver_opt(value)?;
                attachment.driver_opts.insert(key, value);
            }
            "gw-priority" => attachment.gateway_priority = gateway_priority(value)?,
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    if attachment.network.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(attachment)
}

/// Docker's test: somewhere a word, an equals sign and a word.
fn is_long_form(text: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    // A path has no place in the long form, but it may well have an equals sign.
    !text.starts_with("ns:")
        && text
            .as_bytes()
            .windows(3)
            .any(|three| is_word(&three[0]) && three[1] == b'=' && is_word(&three[2]))
}

/// Reads `KEY=VALUE` of `driver-opt`; in lower case, as docker sends it.
pub(crate) fn driver_opt(text: &str) -> Result<(String, String), String> {
    let text = text.to_lowercase();
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("invalid key value pair format in driver options".to_owned()),
    }
}

fn gateway_priority(text: &str) -> Result<i64, String> {
    text.parse().map_err(|reason: std::num::ParseIntError| {
        let problem = match reason.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("invalid gw-priority ({text}): {problem}")
    })
}

/// Returns whether a network mode names a network that somebody made.
fn is_user_defined(mode: &str) -> bool {
    let is_other = ["container:", "ns:"]
        .iter()
        .any(|prefix| mode.starts_with(prefix));
    !is_other && !matches!(mode, "default" | "bridge" | "host" | "none" | "container")
}

fn check(attachment: &Attachment, all: &[Attachment]) -> Result<(), Failure> {
    let network = attachment.network.as_str();
    if network.trim().is_empty() {
        return Err(Failure::invalid("berth: no name set for network"));
    }
    let others_differ = all
        .iter()
        .any(|other| is_user_defined(&other.network) != is_user_defined(network));
    if others_differ {
        return Err(Failure::invalid(
            "berth: conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ));
    }
    Ok(())
}

/// Adds the flags that are older than several networks.
fn add_older_flags(first: &mut Attachment, arguments: &Arguments) -> Result<(), Failure> {
    let list = |name: &str| {
        arguments
            .list(name)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let conflict = |flag: &str, what: &str| {
        Err(Failure::invalid(format!(
            "berth: conflicting options: cannot specify both --{flag} and per-network {what}"
        )))
    };
    let lists: [(&str, &str, &mut Vec<String>); 2] = [
        ("network-alias", "alias", &mut first.aliases),
        ("link-local-ip", "link-local IP addresses", &mut first.link_local),
    ];
    for (flag, what, values) in lists {
        let given = list(flag);
        if !given.is_empty() && !values.is_empty() {
            return conflict(flag, what);
        }
        values.extend(given);
    }
    let texts: [(&str, &str, &mut String); 3] = [
        ("ip", "IPv4 address", &mut first.ipv4),
        ("ip6", "IPv6 address", &mut first.ipv6),
        ("mac-address", "MAC address", &mut first.mac),
    ];
    for (flag, what, value) in texts {
        let given = arguments.text(flag);
        if !given.is_empty() && !value.is_empty() {
            return conflict(flag, what);
        }
        if !given.is_empty() {
            given.clone_into(value);
        }
    }
    // Links of the predefined networks are the host configuration's affair alone.
    if is_user_defined(&first.network) {
        first.links = list("link");
    }
    Ok(())
}

fn endpoint(attachment: &Attachment) -> Result<EndpointSettings, Failure> {
    if !is_user_defined(&attachment.network) && !attachment.aliases.is_empty() {
        return Err(Failure::invalid(
            "berth: network-scoped aliases are only supported for user-defined networks",
        ));
    }
    if !attachment.mac.is_empty() && !is_mac_address(&attachment.mac) {
        return Err(Failure::invalid(format!(
            "berth: {} is not a valid mac address",
            attachment.mac
        )));
    }
    let addresses = EndpointIpamConfig {
        ipv4_address: attachment.ipv4.clone(),
        ipv6_address: attachment.ipv6.clone(),
        link_local_ips: attachment.link_local.clone(),
    };
    Ok(EndpointSettings {
        ipam_config: Some(addresses).filter(|addresses| *addresses != EndpointIpamConfig::default()),
        links: some(&attachment.links),
        aliases: some(&attachment.aliases),
        mac_address: attachment.mac.clone(),
        driver_opts: Some(attachment.driver_opts.clone()).filter(|options| !options.is_empty()),
        gw_priority: attachment.gateway_priority,
        ..EndpointSettings::default()
    })
}

fn some(list: &[String]) -> Option<Vec<String>> {
    Some(list.to_vec()).filter(|list| !list.is_empty())
}

/// Reads what Go's `net.ParseMAC` reads: 6, 8 or 20 bytes in pairs with `:` or `-`, or in fours with `.`.
fn is_mac_address(text: &str) -> bool {
    let grouped = |separator: char, digits: usize, counts: [usize; 3]| {
        let groups: Vec<&str> = text.split(separator).collect();
        counts.contains(&groups.len())
            && groups
                .iter()
                .all(|group| group.len() == digits && group.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    grouped(':', 2, [6, 8, 20]) || grouped('-', 2, [6, 8, 20]) || grouped('.', 4, [3, 4, 10])
}

/// Reads `NAME:ADDRESS` or `NAME=ADDRESS` of `--add-host` as the API has it.
pub(crate) fn parse_add_host(text: &str) -> Result<String, String> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, address)) = split.filter(|(name, _)| !name.is_empty() && !name.contains(':')) else {
        return Err(format!("bad format for add-host: {text:?}"));
    };
    if address == "host-gateway" {
        return Ok(format!("{name}:{address}"));
    }
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|bare| !bare.is_empty())
        .unwrap_or(address);
    match bare.trim().parse::<IpAddr>() {
        Ok(_) => Ok(format!("{name}:{bare}")),
        Err(_) => Err(format!("invalid IP address in add-host: {bare:?}")),
    }
}

/// Wants a value of `--add-host`.
pub(crate) fn check_add_host(text: &str) -> Result<(), String> {
    parse_add_host(text).map(drop)
}

/// Reads the address of `--dns` and writes it in its shortest form.
pub(crate) fn parse_dns(text: &str) -> Result<String, String> {
    match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// Wants a value of `--dns`.
pub(crate) fn check_dns(text: &str) -> Result<(), String> {
    parse_dns(text).map(drop)
}

/// Reads a domain of `--dns-search`; a single dot means none.
pub(crate) fn parse_dns_search(text: &str) -> Result<String, String> {
    let trimmed = text.trim_matches(' ');
    if trimmed == "." {
        return Ok(trimmed.to_owned());
    }
    let domain = trimmed.trim_end();
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let has_letter = domain.bytes().any(|byte| byte.is_ascii_alphabetic());
    if has_letter && domain.len() < 255 && domain.split('.').all(is_label) {
        Ok(domain.to_owned())
    } else {
        Err(format!("{trimmed} is not a valid domain"))
    }
}

/// Wants a value of `--dns-search`.
pub(crate) fn check_dns_search(text: &str) -> Result<(), String> {
    parse_dns_search(text).map(drop)
}

/// Wants `CONTAINER[:ALIAS]`.
pub(crate) fn check_link(text: &str) -> Result<(), String> {
    match text.split(':').count() {
        _ if text.is_empty() => Err("empty string specified for links".to_owned()),
        1 | 2 => Ok(()),
        _ => Err(format!("bad format for links: {text}")),
    }
}
