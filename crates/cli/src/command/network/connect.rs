//! `network connect`: plugs a container into another network.

use api_types::network::{EndpointIpamConfig, EndpointSettings, NetworkConnectRequest};

use super::split;
use crate::check;
use crate::create::{check_link, driver_opt};
use crate::failure::Failure;
use crate::flag::{Command, Order, Positionals, State, many, one};
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["network", "connect"],
    aliases: &[],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Connect a container to a network",
    flags: &[&[
        many("alias", "strings", "Add a name of the container in the network"),
        many(
            "driver-opt",
            "strings",
            "Options of the driver for this container",
        ),
        one("gw-priority", "int", "The highest one gives the default gateway").check(check::integer),
        one("ip", "string", "IPv4 address in the network"),
        one("ip6", "string", "IPv6 address in the network"),
        many("link", "list", "Add a link to another container").check(check_link),
        many("link-local-ip", "strings", "Link-local addresses"),
    ]],
    positionals: Positionals::Exactly(2),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(connect(arguments, session))),
};

async fn connect(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let [network, container] = arguments.positionals.as_slice() else {
        return Ok(1);
    };
    let request = NetworkConnectRequest {
        container: container.clone(),
        endpoint_config: Some(endpoint(arguments)?),
    };
    let client = session.connect().await?;
    client.connect_network(network, &request).await?;
    Ok(0)
}

fn endpoint(arguments: &Arguments) -> Result<EndpointSettings, Failure> {
    let list = |name: &str| {
        split(arguments.list(name))
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut driver_opts = std::collections::BTreeMap::new();
    for option in list("driver-opt") {
        let (key, value) = driver_opt(&option)
            .map_err(|_reason: String| Failure::message("invalid key/value pair format in driver options"))?;
        driver_opts.insert(key, value);
    }
    let links = arguments.list("link").into_iter().map(str::to_owned);
    Ok(EndpointSettings {
        ipam_config: Some(EndpointIpamConfig {
            ipv4_address: arguments.text("ip").to_owned(),
            ipv6_address: arguments.text("ip6").to_owned(),
            link_local_ips: list("link-local-ip"),
        }),
        links: Some(links.collect()).filter(|links: &Vec<String>| !links.is_empty()),
        aliases: Some(list("alias")),
        driver_opts: Some(driver_opts),
        gw_priority: arguments.number("gw-priority"),
        ..EndpointSettings::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str) -> Result<String, Failure> {
        let arguments = super::super::parsed(&COMMAND, text)?;
        Ok(serde_json::to_string(&endpoint(&arguments)?).unwrap())
    }

    // Recorded with docker 28.2.2.
    #[test]
    fn requests_are_dockers() {
        const REST: &str = "\"NetworkID\":\"\",\"EndpointID\":\"\",\"Gateway\":\"\",\"IPAddress\":\"\",\
            \"IPPrefixLen\":0,\"IPv6Gateway\":\"\",\"GlobalIPv6Address\":\"\",\"GlobalIPv6PrefixLen\":0,\
            \"DNSNames\":null}";
        for (arguments, start) in [
            (
                "x c",
                "{\"IPAMConfig\":{},\"Links\":null,\"Aliases\":[],\"MacAddress\":\"\",\"DriverOpts\":{},\"GwPriority\":0,",
            ),
            (
                "--ip 10.0.0.9 --ip6 fd00::5 --alias a --alias b --link c:d --link-local-ip 169.254.1.1 \
                 --driver-opt a=b --gw-priority 3 x c",
                "{\"IPAMConfig\":{\"IPv4Address\":\"10.0.0.9\",\"IPv6Address\":\"fd00::5\",\
                 \"LinkLocalIPs\":[\"169.254.1.1\"]},\"Links\":[\"c:d\"],\"Aliases\":[\"a\",\"b\"],\"MacAddress\":\"\",\
                 \"DriverOpts\":{\"a\":\"b\"},\"GwPriority\":3,",
            ),
        ] {
            assert_eq!(build(arguments).unwrap(), format!("{start}{REST}"), "{arguments}");
        }
        assert!(build("--driver-opt bogus x c").is_err());
        assert!(build("--link a:b:c x c").is_err());
        assert!(build("--gw-priority q x c").is_err());
    }
}
