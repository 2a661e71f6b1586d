//! The options of networks: dockerd's, and the name of our tables in the packet filter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use engine::NetworkConfig;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::Value;

use super::{Form, OptionsError, Spec, Values, number, spec};

/// The table.
pub(super) static SPECS: &[Spec] = &[
    spec(
        "bridge",
        "bridge",
        Form::One,
        "string",
        "Bridge of the default network, made if it is not there; 'none': there is no default network (default \"berth0\")",
    ),
    spec(
        "bip",
        "bip",
        Form::One,
        "string",
        "Address of the default network's bridge with its prefix, such as 172.17.0.1/16",
    ),
    spec(
        "fixed-cidr",
        "fixed-cidr",
        Form::One,
        "string",
        "Part of the default network that containers get IPv4 addresses from",
    ),
    spec(
        "fixed-cidr-v6",
        "fixed-cidr-v6",
        Form::One,
        "string",
        "IPv6 subnet of the default network",
    ),
    spec(
        "default-gateway",
        "default-gateway",
        Form::One,
        "ip",
        "IPv4 default gateway of containers of the default network",
    ),
    spec(
        "default-gateway-v6",
        "default-gateway-v6",
        Form::One,
        "ip",
        "IPv6 default gateway of containers of the default network",
    ),
    spec(
        "default-address-pool",
        "default-address-pools",
        Form::Pools,
        "pool",
        "Address space for networks without a subnet of their own (base=172.30.0.0/16,size=24)",
    ),
    spec(
        "mtu",
        "mtu",
        Form::One,
        "int",
        "Largest packet of the default network in bytes (default: 1500)",
    ),
    spec(
        "icc",
        "icc",
        Form::Switch,
        "",
        "Containers of the default network reach each other (default true)",
    ),
    spec(
        "ip",
        "ip",
        Form::One,
        "ip",
        "Address of this machine on which ports are published that name none (default 0.0.0.0)",
    ),
    spec(
        "ip-forward",
        "ip-forward",
        Form::Switch,
        "",
        "Accepted: forwarding is turned on with the first network (default true)",
    ),
    spec(
        "ip-masq",
        "ip-masq",
        Form::Switch,
        "",
        "What leaves the default network has this machine's address (default true)",
    ),
    spec("ipv6", "ipv6", Form::Switch, "", "Give the default network IPv6"),
    spec(
        "dns",
        "dns",
        Form::Many,
        "list",
        "DNS servers of containers that name none",
    ),
    spec(
        "dns-opt",
        "dns-opts",
        Form::Many,
        "list",
        "DNS options of containers that name none",
    ),
    spec(
        "dns-search",
        "dns-search",
        Form::Many,
        "list",
        "DNS search domains of containers that name none",
    ),
    spec(
        "userland-proxy",
        "userland-proxy",
        Form::Switch,
        "",
        "Accepted: there is no process per port, with or without it",
    ),
    spec(
        "iptables",
        "iptables",
        Form::Switch,
        "",
        "Accepted when true: Berth's rules are in nftables tables of their own",
    ),
    spec(
        "ip6tables",
        "ip6tables",
        Form::Switch,
        "",
        "Accepted when true: as iptables, for IPv6",
    ),
    spec(
        "ports-per-bridge",
        "ports-per-bridge",
        Form::One,
        "int",
        "Ports that a Linux bridge has; a network with more containers gets further bridges (default 1023)",
    ),
    spec(
        "firewall-table",
        "firewall-table",
        Form::One,
        "string",
        "Name of the tables in the packet filter that hold Berth's rules (default \"berth\")",
    ),
];

/// Reads the options of networks.
pub(super) fn resolve(values: &Values) -> Result<NetworkConfig, OptionsError> {
    for name in ["ip-forward", "iptables", "ip6tables"] {
        refuse_off(values, name)?;
    }
    // Docker's processes for ports are not there to be turned off.
    let _no_process_either_way = values.switch("userland-proxy")?;
    let default = NetworkConfig::default();
    let bridge = match values.one("bridge")?.as_deref() {
        None | Some("") => default.bridge,
        Some(name) => link_name("bridge", name)?,
    };
    let bridge_address = one::<IpNet>(values, "bip", "an address with a prefix, such as 172.17.0.1/16")?;
    if bridge == "none" && bridge_address.is_some() {
        return Err(wrong(
            "bip",
            "without the default network it has no meaning (--bridge none)",
            values,
        ));
    }
    let fixed_range = one::<Ipv4Net>(values, "fixed-cidr", "an IPv4 subnet")?.map(IpNet::V4);
    if let (Some(range), Some(bridge)) = (fixed_range, bridge_address)
        && !bridge.trunc().contains(&range)
    {
        return Err(wrong(
            "fixed-cidr",
            "it does not lie in the subnet of --bip",
            values,
        ));
    }
    let ipv6_subnet = one::<Ipv6Net>(values, "fixed-cidr-v6", "an IPv6 subnet")?.map(IpNet::V6);
    Ok(NetworkConfig {
        bridge,
        bridge_address,
        fixed_range,
        default_gateway: one::<Ipv4Addr>(values, "default-gateway", "an IPv4 address")?,
        default_gateway6: one::<Ipv6Addr>(values, "default-gateway-v6", "an IPv6 address")?,
        ipv6: values.switch("ipv6")?,
        ipv6_subnet,
        address_pools: pools(values)?,
        mtu: mtu(values)?,
        talking: values.switch_or("icc", true)?,
        masquerade: values.switch_or("ip-masq", true)?,
        host_address: one::<IpAddr>(values, "ip", "an IP address")?,
        dns: values
            .many("dns")?
            .into_iter()
            .map(|text| match text.trim().parse::<IpAddr>() {
                Ok(address) => Ok(address.to_string()),
                Err(_) => Err(value_error("dns", &text, "an IP address is needed")),
            })
            .collect::<Result<_, _>>()?,
        dns_options: lines(values, "dns-opt")?,
        dns_search: lines(values, "dns-search")?,
        firewall: match values.one("firewall-table")? {
            None => default.firewall,
            Some(name) => table_name(&name)?,
        },
        ports_per_bridge: ports_per_bridge(values)?.unwrap_or(default.ports_per_bridge),
    })
}

/// Options that Berth cannot honour when they are off.
fn refuse_off(values: &Values, name: &'static str) -> Result<(), OptionsError> {
    if values.switch_or(name, true)? {
        return Ok(());
    }
    let problem = match name {
        "ip-forward" => "networks need forwarding; without any use --bridge none",
        _ => "Berth has no rules in iptables; its own are in nftables tables of their own (--firewall-table)",
    };
    Err(value_error(name, "false", problem))
}

fn one<T: FromStr>(values: &Values, name: &'static str, wanted: &str) -> Result<Option<T>, OptionsError> {
    let Some(text) = values.one(name)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(value_error(name, &text, &format!("{wanted} is needed"))),
    }
}

fn ports_per_bridge(values: &Values) -> Result<Option<u16>, OptionsError> {
    let Some(ports) = number("ports-per-bridge", values)? else {
        return Ok(None);
    };
    match u16::try_from(ports) {
        Ok(ports @ 2..=1023) => Ok(Some(ports)),
        _ => Err(value_error(
            "ports-per-bridge",
            &ports.to_string(),
            "2 to 1023 are possible",
        )),
    }
}

fn mtu(values: &Values) -> Result<Option<u32>, OptionsError> {
    match number("mtu", values)? {
        // Docker's "the kernel's".
        None | Some(0) => Ok(None),
        Some(bytes) => match u32::try_from(bytes) {
            Ok(bytes @ 68..=65_535) => Ok(Some(bytes)),
            _ => Err(value_error(
                "mtu",
                &bytes.to_string(),
                "68 to 65535 bytes are possible",
            )),
        },
    }
}

/// Reads `base=172.30.0.0/16,size=24`, or `{"base": "172.30.0.0/16", "size": 24}` of the file.
fn pools(values: &Values) -> Result<Vec<(IpNet, u8)>, OptionsError> {
    const NAME: &str = "default-address-pool";
    let read = |base: Option<&str>, size: Option<u64>, shown: String| {
        let wrong = |problem| value_error(NAME, &shown, problem);
        let base: IpNet = base
            .and_then(|base| base.parse().ok())
            .ok_or_else(|| wrong("base must be a subnet"))?;
        let longest = u64::from(base.max_prefix_len());
        let size = size
            .filter(|size| (u64::from(base.prefix_len())..=longest).contains(size))
            .and_then(|size| u8::try_from(size).ok())
            .ok_or_else(|| wrong("size must be a prefix not shorter than that of base"))?;
        Ok((base.trunc(), size))
    };
    if let Some(texts) = values.flags(NAME) {
        return texts
            .map(|text| {
                let (mut base, mut size) = (None, None);
                for part in text.split(',') {
                    match part.trim().split_once('=') {
                        Some(("base", value)) => base = Some(value),
                        Some(("size", value)) => size = value.parse().ok(),
                        _ => return Err(value_error(NAME, text, "base=SUBNET,size=PREFIX is needed")),
                    }
                }
                read(base, size, text.clone())
            })
            .collect();
    }
    let wanted = || Values::type_error("default-address-pools", "a list of objects with base and size");
    match values.of_file(NAME) {
        None => Ok(Vec::new()),
        Some(Value::Array(pools)) => pools
            .iter()
            .map(|pool| {
                let pool = pool.as_object().ok_or_else(wanted)?;
                if pool.keys().any(|key| !matches!(key.as_str(), "base" | "size")) {
                    return Err(wanted());
                }
                let base = pool.get("base").and_then(Value::as_str);
                let size = pool.get("size").and_then(Value::as_u64);
                read(base, size, Value::Object(pool.clone()).to_string())
            })
            .collect(),
        Some(_) => Err(wanted()),
    }
}

/// Reads words that become lines of resolv.conf.
fn lines(values: &Values, name: &'static str) -> Result<Vec<String>, OptionsError> {
    let words = values.many(name)?;
    let bad = words
        .iter()
        .find(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic()));
    match bad {
        Some(word) => Err(value_error(
            name,
            &word.escape_default().to_string(),
            "one word is needed",
        )),
        None => Ok(words),
    }
}

/// Checks the name of a link: it becomes part of a path in /proc/sys.
fn link_name(option: &'static str, name: &str) -> Result<String, OptionsError> {
    let good = (1..=15).contains(&name.len())
        && !matches!(name, "." | ".." | "lo" | "all" | "default")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    if good {
        Ok(name.to_owned())
    } else {
        Err(value_error(
            option,
            name,
            "the name of a link has at most 15 letters and digits",
        ))
    }
}

/// Checks the name of a table: others read it in `nft list ruleset`.
fn table_name(name: &str) -> Result<String, OptionsError> {
    let good = (1..=32).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if good {
        Ok(name.to_owned())
    } else {
        Err(value_error(
            "firewall-table",
            name,
            "a letter and up to 31 letters, digits, '-' and '_' are possible",
        ))
    }
}

fn wrong(name: &'static str, problem: &str, values: &Values) -> OptionsError {
    let value = values.one(name).ok().flatten().unwrap_or_default();
    value_error(name, &value, problem)
}

fn value_error(name: &'static str, value: &str, problem: &str) -> OptionsError {
    OptionsError::Value {
        name,
        value: value.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Command, parse};
    use super::*;

    fn config(line: &str) -> Result<NetworkConfig, String> {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        match parse(&arguments) {
            Ok(Command::Run(options)) => Ok(options.network),
            Ok(Command::Print(text)) => Err(text),
            Err(error) => Err(base::error::chain(&error).to_string()),
        }
    }

    #[test]
    fn dockerds_options() {
        let config = config(
            "--bridge br9 --bip 10.9.0.1/24 --fixed-cidr 10.9.0.128/25 --default-gateway 10.9.0.254 --mtu 1400 --icc=false \
             --ip 127.0.0.1 --ip-masq=false --ipv6 --fixed-cidr-v6 fd09::/64 --dns 1.1.1.1 --dns-opt ndots:2 \
             --dns-search example.com --default-address-pool base=10.200.0.0/16,size=24 \
             --default-address-pool size=64,base=fd00::/56 --userland-proxy=false --iptables --firewall-table mine --ports-per-bridge 16",
        )
        .unwrap();
        assert_eq!(
            (config.bridge.as_str(), config.firewall.as_str()),
            ("br9", "mine")
        );
        assert_eq!(config.bridge_address.unwrap().to_string(), "10.9.0.1/24");
        assert_eq!(config.fixed_range.unwrap().to_string(), "10.9.0.128/25");
        assert_eq!(config.default_gateway.unwrap().to_string(), "10.9.0.254");
        assert_eq!((config.mtu, config.ports_per_bridge), (Some(1400), 16));
        assert!(!config.talking && !config.masquerade && config.ipv6);
        assert_eq!(config.host_address.unwrap().to_string(), "127.0.0.1");
        assert_eq!(
            (
                config.dns.len(),
                config.dns_options.len(),
                config.dns_search.len()
            ),
            (1, 1, 1)
        );
        let pools: Vec<String> = config
            .address_pools
            .iter()
            .map(|(base, size)| format!("{base} {size}"))
            .collect();
        assert_eq!(pools, ["10.200.0.0/16 24", "fd00::/56 64"]);
        let default = self::config("").unwrap();
        assert!(default.talking && default.masquerade && !default.ipv6);
        assert_eq!(default.bridge, "berth0");
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (line, part) in [
            ("--iptables=false", "nftables"),
            ("--ip6tables=false", "nftables"),
            ("--ip-forward=false", "forwarding"),
            ("--bip 10.9.0.1", "\"bip\""),
            ("--bridge none --bip 10.9.0.1/24", "\"bip\""),
            ("--bip 10.9.0.1/24 --fixed-cidr 10.8.0.0/25", "\"fixed-cidr\""),
            ("--bridge ../../etc", "\"bridge\""),
            ("--bridge a-name-that-is-too-long", "\"bridge\""),
            ("--mtu 7", "\"mtu\""),
            ("--dns one.one.one.one", "\"dns\""),
            ("--dns-search a\\nb\tc", "stray"),
            ("--firewall-table a;b", "\"firewall-table\""),
            ("--ports-per-bridge 1", "\"ports-per-bridge\""),
            ("--ports-per-bridge 1024", "\"ports-per-bridge\""),
            ("--default-address-pool base=10.0.0.0/16,size=8", "size"),
            ("--default-address-pool 10.0.0.0/16", "base=SUBNET"),
            ("--host-gateway-ip 1.2.3.4", "--host-gateway-ip"),
        ] {
            let error = config(line).err();
            // A tab ends the argument.
            let part = if part == "stray" { "'c'" } else { part };
            assert!(
                error.as_ref().is_some_and(|error| error.contains(part)),
                "{line}: {error:?}"
            );
        }
    }

    #[test]
    fn the_file_has_dockers_form() {
        let path = std::env::temp_dir().join(format!("berth-network-options-{}", std::process::id()));
        let content =
            br#"{"bridge": "none", "default-address-pools": [{"base": "10.200.0.0/16", "size": 24}],
            "dns-opts": ["ndots:1"], "icc": false, "mtu": 1300, "userland-proxy": true}"#;
        base::file::write_atomic(&path, content, 0o600, base::file::Durability::Crash).unwrap();
        let read = config(&format!("--config-file {}", path.display())).unwrap();
        assert_eq!(read.bridge, "none");
        assert_eq!(read.address_pools[0].1, 24);
        assert_eq!((read.mtu, read.talking), (Some(1300), false));
        let content = br#"{"default-address-pools": [{"base": "10.200.0.0/16", "size": 24, "sise": 2}]}"#;
        base::file::write_atomic(&path, content, 0o600, base::file::Durability::Crash).unwrap();
        assert!(config(&format!("--config-file {}", path.display())).is_err());
        std::fs::remove_file(&path).unwrap();
    }
}
