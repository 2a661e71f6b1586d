//! `network create`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api_types::network::{ConfigReference, Ipam, IpamConfig, NetworkCreateRequest};

use super::split;
use crate::check;
use crate::create::pairs;
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, many, one, switch};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["network", "create"],
    aliases: &[],
    usage: "[OPTIONS] NETWORK",
    about: "Create a network",
    flags: &[&[
        switch("attachable", "Accepted: every container can be attached"),
        many(
            "aux-address",
            "map",
            "Addresses that no container gets (name=address)",
        ),
        one("config-from", "string", "Network whose configuration is copied"),
        switch("config-only", "Keep a configuration, make no network"),
        one("driver", "string", "Driver of the network")
            .short('d')
            .default("bridge"),
        many("gateway", "strings", "IPv4 or IPv6 gateway of a subnet"),
        switch("ingress", "Create the routing mesh of a swarm"),
        switch("internal", "Keep the network from the outside"),
        many(
            "ip-range",
            "strings",
            "Part of a subnet from which containers get addresses",
        ),
        one("ipam-driver", "string", "Driver that gives out addresses").default("default"),
        many(
            "ipam-opt",
            "map",
            "Options of the driver that gives out addresses",
        ),
        switch("ipv4", "Give IPv4 addresses").default("true"),
        switch("ipv6", "Give IPv6 addresses"),
        many("label", "list", "Set metadata on the network").check(check::label),
        many("opt", "map", "Options of the driver").short('o'),
        one("scope", "string", "Scope of the network"),
        many("subnet", "strings", "Subnet in CIDR notation"),
    ]],
    positionals: Positionals::Exactly(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(create(arguments, session))),
};

async fn create(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let request = request(arguments)?;
    let client = session.connect().await?;
    let reply = client.create_network(&request).await?;
    if !reply.warning.is_empty() {
        output::err_line(&format!("WARNING: {}", reply.warning));
    }
    output::out_line(&reply.id)?;
    Ok(0)
}

fn request(arguments: &Arguments) -> Result<NetworkCreateRequest, Failure> {
    let set = |name: &str| arguments.is_set(name).then(|| arguments.switch(name));
    Ok(NetworkCreateRequest {
        check_duplicate: false,
        driver: arguments.text("driver").to_owned(),
        scope: arguments.text("scope").to_owned(),
        enable_ipv4: set("ipv4"),
        enable_ipv6: set("ipv6"),
        ipam: Some(Ipam {
            driver: arguments.text("ipam-driver").to_owned(),
            options: Some(pairs(&arguments.list("ipam-opt"))),
            config: Some(ranges(arguments).map_err(Failure::message)?),
        }),
        internal: arguments.switch("internal"),
        attachable: arguments.switch("attachable"),
        ingress: arguments.switch("ingress"),
        config_only: arguments.switch("config-only"),
        config_from: arguments.is_set("config-from").then(|| ConfigReference {
            network: arguments.text("config-from").to_owned(),
        }),
        options: pairs(&arguments.list("opt")),
        labels: pairs(&arguments.list("label")),
        name: arguments.positionals.first().cloned().unwrap_or_default(),
    })
}

/// Puts each range, gateway and reserved address to the subnet that it lies in.
fn ranges(arguments: &Arguments) -> Result<Vec<IpamConfig>, String> {
    let list = |name: &str| split(arguments.list(name));
    let (subnets, ranges, gateways) = (list("subnet"), list("ip-range"), list("gateway"));
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    let mut configs: Vec<IpamConfig> = Vec::new();
    for subnet in subnets {
        for other in &configs {
            if contains(subnet, &other.subnet)? || contains(&other.subnet, subnet)? {
                return Err("multiple overlapping subnet configuration is not supported".to_owned());
            }
        }
        configs.push(IpamConfig {
            subnet: subnet.to_owned(),
            ..IpamConfig::default()
        });
    }
    for range in ranges {
        cidr(range)?;
        let config = find(&mut configs, range, "range")?;
        if !config.ip_range.is_empty() {
            return Err(format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                config.ip_range, config.subnet
            ));
        }
        range.clone_into(&mut config.ip_range);
    }
    for gateway in gateways {
        let config = find(&mut configs, gateway, "gateway")?;
        if !config.gateway.is_empty() {
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                config.gateway, config.subnet
            ));
        }
        gateway.clone_into(&mut config.gateway);
    }
    let reserved: BTreeMap<String, String> = pairs(&arguments.list("aux-address"));
    for (name, address) in reserved {
        let config = find(&mut configs, &address, "aux-address")?;
        config.auxiliary_addresses.insert(name, address);
    }
    Ok(configs)
}

fn find<'a>(configs: &'a mut [IpamConfig], address: &str, what: &str) -> Result<&'a mut IpamConfig, String> {
    for config in configs {
        if contains(&config.subnet, address)? {
            return Ok(config);
        }
    }
    Err(format!("no matching subnet for {what} {address}"))
}

/// Returns whether an address, or the first address of a range, lies in `subnet`.
fn contains(subnet: &str, address: &str) -> Result<bool, String> {
    let (network, prefix) = cidr(subnet).map_err(|reason| format!("invalid subnet: {reason}"))?;
    let address = if address.contains('/') {
        cidr(address)?.0
    } else {
        match address.parse() {
            Ok(address) => address,
            Err(_) => return Ok(false),
        }
    };
    let same = |left: u128, right: u128, bits: u32| {
        let dropped = bits.saturating_sub(prefix);
        left.checked_shr(dropped).unwrap_or(0) == right.checked_shr(dropped).unwrap_or(0)
    };
    Ok(match (network, address) {
        (IpAddr::V4(left), IpAddr::V4(right)) => same(left.to_bits().into(), right.to_bits().into(), 32),
        (IpAddr::V6(left), IpAddr::V6(right)) => same(left.to_bits(), right.to_bits(), 128),
        _ => false,
    })
}

fn cidr(text: &str) -> Result<(IpAddr, u32), String> {
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= most)?;
        Some((address, prefix))
    });
    parsed.ok_or_else(|| format!("invalid CIDR address: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str) -> Result<String, Failure> {
        let arguments = super::super::parsed(&COMMAND, text)?;
        Ok(serde_json::to_string(&request(&arguments)?).unwrap())
    }

    const REST: &str = "\"Internal\":false,\"Attachable\":false,\"Ingress\":false,\"ConfigOnly\":false,\
        \"ConfigFrom\":null,\"Options\":{},\"Labels\":{},\"Name\":\"n\"}";

    // Recorded with docker 28.2.2.
    #[test]
    fn requests_are_dockers() {
        for (arguments, ipam) in [
            ("n", "{\"Driver\":\"default\",\"Options\":{},\"Config\":[]}"),
            (
                "--subnet 10.0.0.0/24 --gateway 10.0.0.1 --ip-range 10.0.0.128/25 --aux-address h=10.0.0.5 n",
                "{\"Driver\":\"default\",\"Options\":{},\"Config\":[{\"Subnet\":\"10.0.0.0/24\",\
                 \"IPRange\":\"10.0.0.128/25\",\"Gateway\":\"10.0.0.1\",\"AuxiliaryAddresses\":{\"h\":\"10.0.0.5\"}}]}",
            ),
            (
                "--subnet fd00::/64,10.1.0.0/16 --gateway 10.1.0.1 --gateway fd00::1 n",
                "{\"Driver\":\"default\",\"Options\":{},\"Config\":[{\"Subnet\":\"fd00::/64\",\"Gateway\":\"fd00::1\"},\
                 {\"Subnet\":\"10.1.0.0/16\",\"Gateway\":\"10.1.0.1\"}]}",
            ),
            (
                "--ipam-driver x --ipam-opt a=b n",
                "{\"Driver\":\"x\",\"Options\":{\"a\":\"b\"},\"Config\":[]}",
            ),
        ] {
            let expected = format!("{{\"Driver\":\"bridge\",\"Scope\":\"\",\"IPAM\":{ipam},{REST}");
            assert_eq!(build(arguments).unwrap(), expected, "{arguments}");
        }
        let both = build("--ipv4=false --ipv6 -d macvlan -o parent=eth0 --label a=b --internal n").unwrap();
        for part in [
            "\"Driver\":\"macvlan\",\"Scope\":\"\",\"EnableIPv4\":false,\"EnableIPv6\":true,",
            "\"Internal\":true,",
            "\"Options\":{\"parent\":\"eth0\"},\"Labels\":{\"a\":\"b\"},",
        ] {
            assert!(both.contains(part), "{part} in {both}");
        }
    }

    #[test]
    fn texts_are_dockers() {
        for (arguments, text) in [
            (
                "--gateway 10.0.0.1 n",
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                "--aux-address a=10.0.0.1 n",
                "no matching subnet for aux-address 10.0.0.1",
            ),
            (
                "--subnet 10.0.0.0/24 --gateway 10.1.0.1 n",
                "no matching subnet for gateway 10.1.0.1",
            ),
            (
                "--subnet 10.0.0.0/24 --ip-range 10.1.0.0/24 n",
                "no matching subnet for range 10.1.0.0/24",
            ),
            ("--subnet 10.0.0.0/24 --ip-range zz n", "invalid CIDR address: zz"),
            (
                "--subnet 10.0.0.0/24 --gateway zz n",
                "no matching subnet for gateway zz",
            ),
            (
                "--subnet 10.0.0.0/24 --subnet 10.0.0.0/16 n",
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                "--subnet 10.0.0.0/24,10.1.0.0/24 --gateway 10.0.0.1,10.0.0.2 n",
                "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/24)",
            ),
            (
                "--subnet x --gateway 10.0.0.1 n",
                "invalid subnet: invalid CIDR address: x",
            ),
        ] {
            let Err(Failure::Message { message, .. }) = build(arguments) else {
                panic!("{arguments}");
            };
            assert_eq!(message, text, "{arguments}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(subnet in "[0-9a-f.:/]{0,24}", address in "[0-9a-f.:/]{0,24}") {
            let _outcome = contains(&subnet, &address);
        }
    }
}
