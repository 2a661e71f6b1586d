//! Parameters of the container's interface, below `/proc/sys/net`.

use std::fs::OpenOptions;
use std::io::{self, Write};

use super::{EndpointError, Settings};

/// The interface's place in the name of a parameter.
const INTERFACE: &str = "IFNAME";

/// One parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    name: String,
    path: String,
    value: String,
    /// A kernel without it is as good as one where it is set.
    is_optional: bool,
}

/// Checks the parameters that were asked for, and adds what each interface needs: nobody on the network is a router to the
/// container (CVE-2020-13401), and without an IPv6 address there is no IPv6, not even by itself (CVE-2024-32473).
pub(super) fn plan(settings: &Settings) -> Result<Vec<Parameter>, EndpointError> {
    let own = if settings.addresses.iter().any(|(address, _)| address.is_ipv6()) {
        ("net.ipv6.conf.IFNAME.accept_ra", "0")
    } else {
        ("net.ipv6.conf.IFNAME.disable_ipv6", "1")
    };
    let own = plan_one(&settings.interface, own.0, own.1, true);
    let asked = settings
        .sysctls
        .iter()
        .map(|(name, value)| plan_one(&settings.interface, name, value, false));
    std::iter::once(own).chain(asked).collect()
}

/// Returns what the host's end of a cable needs: it is a port of a bridge and nothing else. With IPv6 each would have an
/// address and a route of its own, and the kernel goes through those of all others whenever one comes or goes.
pub(super) fn plan_port(port: &str) -> Result<Parameter, EndpointError> {
    plan_one(port, "net.ipv6.conf.IFNAME.disable_ipv6", "1", true)
}

fn plan_one(interface: &str, name: &str, value: &str, is_optional: bool) -> Result<Parameter, EndpointError> {
    let refuse = || EndpointError::NotAParameter {
        name: name.to_owned(),
    };
    let parts: Vec<&str> = name.split('.').collect();
    let &["net", protocol, kind, place, leaf] = parts.as_slice() else {
        return Err(refuse());
    };
    let is_word = |text: &str| {
        let mut letters = text.bytes();
        !text.is_empty() && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
    };
    let is_known = matches!(protocol, "ipv4" | "ipv6" | "mpls") && matches!(kind, "conf" | "neigh");
    // docker's command line writes options of an endpoint in small letters.
    let is_known = is_known && place.eq_ignore_ascii_case(INTERFACE);
    // The interface's name becomes part of a path as well. The kernel takes no name with a slash.
    let is_name = !matches!(interface, "" | "." | "..") && !interface.contains(['/', '\0']);
    if !is_known || !is_word(leaf) || !is_name || value.contains(['\n', '\0']) {
        return Err(refuse());
    }
    Ok(Parameter {
        name: format!("net.{protocol}.{kind}.{interface}.{leaf}"),
        path: format!("/proc/sys/net/{protocol}/{kind}/{interface}/{leaf}"),
        value: value.to_owned(),
        is_optional,
    })
}

impl Parameter {
    /// Sets it in the network namespace of the calling thread.
    pub(super) fn set(&self) -> Result<(), EndpointError> {
        let written = OpenOptions::new()
            .write(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(self.value.as_bytes()));
        match written {
            Err(error) if self.is_optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(EndpointError::Parameter {
                name: self.name.clone(),
                value: self.value.clone(),
                source,
            }),
            Ok(()) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_the_interface_are_taken() {
        let path = |name: &str, value: &str| {
            plan_one("eth0.7", name, value, false)
                .ok()
                .map(|parameter| parameter.path)
        };
        assert_eq!(
            path("net.ipv4.conf.IFNAME.forwarding", "1").as_deref(),
            Some("/proc/sys/net/ipv4/conf/eth0.7/forwarding")
        );
        assert_eq!(
            path("net.ipv6.neigh.IFNAME.retrans_time_ms", "500").as_deref(),
            Some("/proc/sys/net/ipv6/neigh/eth0.7/retrans_time_ms")
        );
        assert_eq!(
            path("net.ipv4.conf.ifname.forwarding", "1"),
            path("net.ipv4.conf.IFNAME.forwarding", "1")
        );
        for (name, value) in [
            ("net.ipv4.conf.eth0.forwarding", "1"),
            ("net.ipv4.conf.all.forwarding", "1"),
            ("net.ipv4.ip_forward", "1"),
            ("kernel.core_pattern", "x"),
            ("net.ipv4.conf.IFNAME.a/../b", "1"),
            ("net.ipv4.conf.IFNAME.", "1"),
            ("net/ipv4/conf/IFNAME/forwarding", "1"),
            ("net.ipv4.conf.IFNAME.forwarding.x", "1"),
            ("net.ipv4.conf.IFNAME.forwarding", "1\n2"),
            ("net.core.conf.IFNAME.forwarding", "1"),
        ] {
            assert_eq!(path(name, value), None, "{name}");
        }
        assert!(plan_one("..", "net.ipv4.conf.IFNAME.forwarding", "1", false).is_err());
    }
}
