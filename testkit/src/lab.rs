//! Many hosts on one: network namespaces of a test's own, wired together, in which daemons, clients and servers run.
//!
//! ```text
//! client 203.0.113.9 ── router ──┬── machine   198.51.100.2   (a daemon runs here)
//! 2001:db8:2::9                  └── neighbour 198.51.100.3   (2001:db8:1::2, ::3)
//! ```
//!
//! Nothing is made in the namespace of the test itself. The namespaces live as long as something holds them: a [`Host`], or a
//! process inside; their links go with them.

mod host;
mod talk;

pub use host::Host;
pub use talk::{Protocol, Server};

use anyhow::Result;

/// The machine's address on its network.
pub const MACHINE: &str = "198.51.100.2";
/// Its IPv6 address.
pub const MACHINE6: &str = "2001:db8:1::2";
/// The neighbour's address.
pub const NEIGHBOUR: &str = "198.51.100.3";
/// Its IPv6 address.
pub const NEIGHBOUR6: &str = "2001:db8:1::3";
/// The client's address.
pub const CLIENT: &str = "203.0.113.9";
/// Its IPv6 address.
pub const CLIENT6: &str = "2001:db8:2::9";

/// The hosts of a test.
#[derive(Debug)]
pub struct Lab {
    /// Where the daemon under test runs.
    pub machine: Host,
    /// Between the machine's network and the client's.
    pub router: Host,
    /// On the same network as the machine.
    pub neighbour: Host,
    /// Behind the router.
    pub client: Host,
}

impl Lab {
    /// Makes the hosts and their wires.
    pub fn new() -> Result<Self> {
        let lab = Self {
            machine: Host::new("machine")?,
            router: Host::new("router")?,
            neighbour: Host::new("neighbour")?,
            client: Host::new("client")?,
        };
        lab.router.ip("link add lan type bridge")?;
        lab.router.ip("link set lan up")?;
        for (host, port) in [
            (&lab.machine, "machine"),
            (&lab.neighbour, "neighbour"),
            (&lab.client, "client"),
        ] {
            host.wire("uplink", &lab.router, port)?;
        }
        for port in ["machine", "neighbour"] {
            lab.router.ip(&format!("link set {port} master lan"))?;
        }
        for (host, link, address, address6) in [
            (&lab.router, "lan", "198.51.100.1", "2001:db8:1::1"),
            (&lab.router, "client", "203.0.113.1", "2001:db8:2::1"),
            (&lab.machine, "uplink", MACHINE, MACHINE6),
            (&lab.neighbour, "uplink", NEIGHBOUR, NEIGHBOUR6),
            (&lab.client, "uplink", CLIENT, CLIENT6),
        ] {
            host.ip(&format!("addr add {address}/24 dev {link}"))?;
            // Duplicate address detection would take a second.
            host.ip(&format!("addr add {address6}/64 dev {link} nodad"))?;
        }
        for (host, gateway, gateway6) in [
            (&lab.machine, "198.51.100.1", "2001:db8:1::1"),
            (&lab.neighbour, "198.51.100.1", "2001:db8:1::1"),
            (&lab.client, "203.0.113.1", "2001:db8:2::1"),
        ] {
            host.ip(&format!("route add default via {gateway}"))?;
            host.ip(&format!("route add default via {gateway6}"))?;
        }
        lab.router.set("net.ipv4.ip_forward", "1")?;
        lab.router.set("net.ipv6.conf.all.forwarding", "1")?;
        Ok(lab)
    }

    /// Lets all the others send what is for `subnet` to the machine, as if they knew of the networks behind it.
    pub fn route_to_machine(&self, subnet: &str) -> Result<()> {
        let (machine, router) = if subnet.contains(':') {
            (MACHINE6, "2001:db8:2::1")
        } else {
            (MACHINE, "203.0.113.1")
        };
        self.router.ip(&format!("route add {subnet} via {machine}"))?;
        self.neighbour.ip(&format!("route add {subnet} via {machine}"))?;
        self.client.ip(&format!("route add {subnet} via {router}"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn every_host_reaches_the_others_and_sees_who_asks() -> Result<()> {
        if rustix::process::geteuid().as_raw() != 0 {
            return crate::skip("network namespaces need root");
        }
        let lab = Lab::new()?;
        for (address, from) in [(MACHINE, CLIENT), (MACHINE6, CLIENT6)] {
            let address = SocketAddr::new(address.parse()?, 80);
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let server = lab.machine.serve(protocol, address, "web")?;
                assert_eq!(
                    lab.client.ask(&server, address)?.as_deref(),
                    Some(from),
                    "{address}"
                );
                assert!(lab.neighbour.ask(&server, address)?.is_some());
                assert!(lab.machine.ask(&server, address)?.is_some());
                drop(server);
            }
        }
        let hostname = lab.router.run(&["ip", "-br", "link", "show", "lan"])?.text()?;
        assert!(hostname.starts_with("lan"), "{hostname}");
        Ok(())
    }
}
