//! Options of drivers, in docker's names.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::error::NetworkError;

/// The options of a network, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The name of the bridge, if it was asked for.
    pub(crate) bridge: Option<String>,
    /// Whether containers talk to each other.
    pub(crate) talking: bool,
    /// Whether what leaves has the machine's address.
    pub(crate) masquerade: bool,
    /// The host's address on which ports are published that name none.
    pub(crate) host_address: Option<IpAddr>,
    /// The largest packet.
    pub(crate) mtu: Option<u32>,
    /// What interfaces inside are called, without their number.
    pub(crate) interface: String,
    /// The interface of the host that macvlan and ipvlan use, and that phys moves.
    pub(crate) parent: Option<String>,
    /// The mode of macvlan and ipvlan.
    pub(crate) mode: String,
    /// The flag of ipvlan.
    pub(crate) flag: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bridge: None,
            talking: true,
            masquerade: true,
            host_address: None,
            mtu: None,
            interface: "eth".to_owned(),
            parent: None,
            mode: String::new(),
            flag: String::new(),
        }
    }
}

/// docker's own options begin so; others are the callers' and kept.
const OWN: &str = "com.docker.network.";

impl Options {
    /// Reads the options of a network with `driver`.
    pub(crate) fn parse(driver: &str, given: &BTreeMap<String, String>) -> Result<Self, NetworkError> {
        let mut options = Self::default();
        for (name, value) in given {
            match (driver, name.as_str()) {
                ("bridge", "com.docker.network.bridge.name") => {
                    options.bridge = Some(link_name(name, value)?);
                }
                ("bridge", "com.docker.network.bridge.enable_icc") => options.talking = switch(name, value)?,
                ("bridge", "com.docker.network.bridge.enable_ip_masquerade") => {
                    options.masquerade = switch(name, value)?;
                }
                ("bridge", "com.docker.network.bridge.host_binding_ipv4") => {
                    options.host_address = Some(value.parse().map_err(|_bad| bad(name, value))?);
                }
                ("bridge", "com.docker.network.bridge.default_bridge") => {
                    switch(name, value)?;
                }
                (
                    "bridge",
                    "com.docker.network.bridge.gateway_mode_ipv4"
                    | "com.docker.network.bridge.gateway_mode_ipv6",
                ) if value == "nat" => {}
                (_, "com.docker.network.container_iface_prefix") => {
                    // Room for a number.
                    options.interface = link_name(name, value)
                        .ok()
                        .filter(|name| name.len() <= 11)
                        .ok_or_else(|| bad(name, value))?;
                }
                (_, "com.docker.network.driver.mtu" | "mtu") => {
                    let mtu: u32 = value.parse().map_err(|_bad| bad(name, value))?;
                    if !(68..=65_535).contains(&mtu) {
                        return Err(bad(name, value));
                    }
                    options.mtu = Some(mtu);
                }
                ("macvlan" | "ipvlan" | "phys", "parent") => options.parent = Some(link_name(name, value)?),
                ("macvlan", "macvlan_mode" | "mode")
                    if matches!(value.as_str(), "bridge" | "private" | "vepa" | "passthru") =>
                {
                    options.mode.clone_from(value);
                }
                ("ipvlan", "ipvlan_mode" | "mode") if matches!(value.as_str(), "l2" | "l3" | "l3s") => {
                    options.mode.clone_from(value);
                }
                ("ipvlan", "ipvlan_flag") if matches!(value.as_str(), "bridge" | "private" | "vepa") => {
                    options.flag.clone_from(value);
                }
                (_, name)
                    if name.starts_with(OWN)
                        || matches!(name, "macvlan_mode" | "ipvlan_mode" | "ipvlan_flag") =>
                {
                    return Err(bad(name, value));
                }
                _ => {}
            }
        }
        if options.mode.is_empty() {
            let mode = match driver {
                "macvlan" => "bridge",
                "ipvlan" => "l2",
                _ => "",
            };
            mode.clone_into(&mut options.mode);
        }
        if driver == "ipvlan" && options.flag.is_empty() {
            "bridge".clone_into(&mut options.flag);
        }
        Ok(options)
    }
}

fn switch(name: &str, value: &str) -> Result<bool, NetworkError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(bad(name, value)),
    }
}

/// Checks the name of an interface: what becomes part of a path in /proc/sys must be a name.
pub(crate) fn link_name(option: &str, value: &str) -> Result<String, NetworkError> {
    let good = (1..=15).contains(&value.len())
        && !matches!(value, "." | ".." | "lo" | "all" | "default")
        && value
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    if good {
        Ok(value.to_owned())
    } else {
        Err(bad(option, value))
    }
}

fn bad(name: &str, value: &str) -> NetworkError {
    NetworkError::invalid(format!(
        "network option {}={} is not supported by this version of Berth",
        name.escape_default(),
        value.escape_default()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: &str, given: &[(&str, &str)]) -> Result<Options, NetworkError> {
        let given = given
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Options::parse(driver, &given.collect())
    }

    #[test]
    fn options_have_dockers_names_and_defaults() {
        let none = parse("bridge", &[]).unwrap();
        assert!(none.talking && none.masquerade && none.bridge.is_none());
        let options = parse(
            "bridge",
            &[
                ("com.docker.network.bridge.name", "br7"),
                ("com.docker.network.bridge.enable_icc", "false"),
                ("com.docker.network.driver.mtu", "1400"),
                ("my.own", "kept"),
            ],
        )
        .unwrap();
        assert_eq!(options.bridge.as_deref(), Some("br7"));
        assert!(!options.talking);
        assert_eq!(options.mtu, Some(1400));
        assert_eq!(parse("macvlan", &[("parent", "eth0")]).unwrap().mode, "bridge");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (name, value) in [
            ("com.docker.network.bridge.enable_icc", "perhaps"),
            ("com.docker.network.bridge.name", "../../etc"),
            ("com.docker.network.bridge.name", "a-name-that-is-too-long"),
            ("com.docker.network.driver.mtu", "7"),
            ("com.docker.network.bridge.unheard_of", "1"),
            ("com.docker.network.bridge.gateway_mode_ipv4", "routed"),
        ] {
            assert!(parse("bridge", &[(name, value)]).is_err(), "{name}={value}");
        }
        assert!(parse("macvlan", &[("macvlan_mode", "other")]).is_err());
    }
}
