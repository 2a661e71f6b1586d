//! What the outside can reach on this machine, and why.

use std::net::IpAddr;
use std::sync::Arc;

use netd_api::message::{self, Proxy};
use netlink::Socket;
use network::audit::{Listener, Ruleset, audit as look, listeners};
use network::firewall::Protocol;
use sys::netlink::Family;

use super::error::NetworkError;
use crate::Engine;

/// Ports of this machine that can be reached from outside, or that something else than Berth keeps from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The address; the unspecified one for all of its family.
    pub address: IpAddr,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The name of the container that it leads to; empty: a process of the machine.
    pub container: String,
    /// The rules and sockets that let it be reached.
    pub because: Vec<String>,
    /// The rule of somebody else that stops it.
    pub blocked_by: Option<String>,
}

/// Returns what the outside can reach.
pub async fn audit(engine: &Arc<Engine>) -> Result<Vec<Exposure>, NetworkError> {
    let worker = Arc::clone(engine);
    tokio::task::spawn_blocking(move || find(&worker))
        .await
        .map_err(|error| NetworkError::step("audit", "ports", error))?
}

fn find(engine: &Engine) -> Result<Vec<Exposure>, NetworkError> {
    let failed = |error| NetworkError::step("read the packet filter of", "the machine", error);
    let mut socket = Socket::open(Family::Netfilter).map_err(failed)?;
    let ruleset = Ruleset::read(&mut socket).map_err(failed)?;
    let state = engine.networks.kernel().state(&engine.networks.table());
    let mut listeners = open_sockets()?;
    let proxies = super::resolver::proxies(engine);
    for listener in &mut listeners {
        let is_it = |proxy: &&Proxy| {
            let protocol = match proxy.protocol {
                message::Protocol::Tcp => Protocol::Tcp,
                message::Protocol::Udp => Protocol::Udp,
                message::Protocol::Sctp => Protocol::Sctp,
            };
            protocol == listener.protocol && proxy.listen == (listener.address, listener.port).into()
        };
        listener.passes_to = proxies.iter().find(is_it).map(|proxy| proxy.to);
    }
    let found = look(&ruleset, &engine.config.network.firewall, &listeners, &state);
    Ok(found
        .into_iter()
        .map(|one| Exposure {
            address: one.address,
            first: one.first,
            last: one.last,
            protocol: match one.protocol {
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
                Protocol::Sctp => "sctp",
            },
            container: one
                .container
                .map(|address| name_of(engine, address))
                .unwrap_or_default(),
            because: one.because,
            blocked_by: one.blocked_by,
        })
        .collect())
}

fn open_sockets() -> Result<Vec<Listener>, NetworkError> {
    let mut all = Vec::new();
    for (file, protocol) in [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
    ] {
        // The threads of a runtime are in one network namespace, but the process's first need not be.
        let path = format!("/proc/thread-self/net/{file}");
        let text = base::file::read_optional(std::path::Path::new(&path), 64 << 20)
            .map_err(|error| NetworkError::step("read the open sockets of", "the machine", error))?;
        all.extend(listeners(
            &String::from_utf8_lossy(&text.unwrap_or_default()),
            protocol,
        ));
    }
    Ok(all)
}

fn name_of(engine: &Engine, address: IpAddr) -> String {
    let all = engine.registry.all();
    let mut views = all.iter().map(|container| container.view());
    let found = views.find(|view| {
        view.endpoints
            .iter()
            .any(|endpoint| endpoint.addresses().any(|own| own == address))
    });
    found.map_or_else(|| address.to_string(), |view| view.name.clone())
}
