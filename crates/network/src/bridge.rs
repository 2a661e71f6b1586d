//! The switch of a network: a Linux bridge with the gateways' addresses.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;

use base::error::{Kind, Kinded};
use netlink::route::{
    Address, LinkChange, LinkKind, MacAddress, NewLink, Target, add_address, add_link, remove_link,
};
use netlink::{Message, NetlinkError, Socket};

/// A bridge to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name: 1 to 15 bytes.
    pub name: String,
    /// The gateways with the lengths of their networks' prefixes.
    pub gateways: Vec<(IpAddr, u8)>,
    /// Its hardware address. Without one of its own it would take that of a port, and change with them.
    pub mac: MacAddress,
    /// The largest packet in bytes; the kernel's default if `None`.
    pub mtu: Option<u32>,
}

/// Why a bridge could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The kernel refused.
    #[error("set up bridge \"{name}\"")]
    Netlink {
        /// The bridge.
        name: String,
        /// Why.
        source: NetlinkError,
    },
    /// A parameter of the kernel could not be set.
    #[error("set {parameter} to {value}")]
    Parameter {
        /// The parameter, as sysctl(8) names it.
        parameter: String,
        /// The value.
        value: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Kinded for BridgeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Netlink { source, .. } => source.kind(),
            Self::Parameter { source, .. } => base::error::kind_of_io(source),
        }
    }
}

/// Makes a bridge in the caller's network namespace, of which `socket` must be too, and returns its index. One that is
/// there with this name is an error: it may be somebody else's.
pub fn create(socket: &mut Socket, settings: &Settings) -> Result<u32, BridgeError> {
    let name = &settings.name;
    let failed = |source| BridgeError::Netlink {
        name: name.clone(),
        source,
    };
    let link = new_bridge(name, settings.mac, settings.mtu);
    socket.request(&[link]).map_err(failed)?;
    let made = finish(socket, settings);
    if made.is_err() {
        // The first error is the one to tell.
        drop(socket.request(&[remove_link(Target::Name(name))]));
    }
    made
}

/// Returns the message that makes a switch; it is not up.
pub(crate) fn new_bridge(name: &str, mac: MacAddress, mtu: Option<u32>) -> Message {
    add_link(&NewLink {
        name,
        kind: LinkKind::Bridge {
            multicast_snooping: false,
        },
        settings: LinkChange {
            mac: Some(mac),
            mtu,
            ..LinkChange::default()
        },
    })
}

/// Removes a bridge; one that is not there is none any more.
pub fn remove(socket: &mut Socket, name: &str) -> Result<(), BridgeError> {
    match socket.request(&[remove_link(Target::Name(name))]) {
        Err(source) if !source.is_absent() => Err(BridgeError::Netlink {
            name: name.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Returns whether the machine forwards packets of IPv4, and of IPv6. [`create`] makes it do so.
pub fn is_forwarding() -> (bool, bool) {
    let is_on = |parameter: &str| {
        let path = format!("/proc/sys/net/{parameter}");
        base::file::read_optional(path.as_ref(), 16)
            .is_ok_and(|text| text.is_some_and(|text| text.starts_with(b"1")))
    };
    (is_on("ipv4/ip_forward"), is_on("ipv6/conf/all/forwarding"))
}

fn finish(socket: &mut Socket, settings: &Settings) -> Result<u32, BridgeError> {
    let name = &settings.name;
    let failed = |source| BridgeError::Netlink {
        name: name.clone(),
        source,
    };
    let index = socket.link(Target::Name(name)).map_err(failed)?.index;
    parameters(settings)?;
    let addresses = settings.gateways.iter().map(|&(address, prefix)| {
        add_address(&Address {
            link: index,
            address,
            prefix,
        })
    });
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    let mut messages: Vec<_> = addresses.collect();
    messages.push(netlink::route::change_link(Target::Index(index), &up));
    socket.request(&messages).map_err(failed)?;
    Ok(index)
}

/// Sets what the kernel must know before the bridge is up: nobody on it is a router to us, and without an IPv6 network
/// there is no IPv6 on it, not even by itself (CVE-2024-32473). What is sent to a published port of a loopback address may
/// be routed to it; what comes from it to a loopback address is dropped by the packet filter (CVE-2020-8558).
fn parameters(settings: &Settings) -> Result<(), BridgeError> {
    let has_ipv6 = settings.gateways.iter().any(|(address, _)| address.is_ipv6());
    let name = &settings.name;
    set("net/ipv4/ip_forward", "1")?;
    set(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
    if !has_ipv6 {
        return no_ipv6(name);
    }
    if !is_ipv6_known() {
        return Ok(());
    }
    set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
    set("net/ipv6/conf/all/forwarding", "1")
}

/// Keeps IPv6 off a link.
pub(crate) fn no_ipv6(name: &str) -> Result<(), BridgeError> {
    if !is_ipv6_known() {
        return Ok(());
    }
    set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
    set(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")
}

/// Returns whether the kernel has IPv6.
fn is_ipv6_known() -> bool {
    std::path::Path::new("/proc/sys/net/ipv6").exists()
}

/// Sets a parameter of the caller's network namespace. `name` is checked: it becomes part of a path.
pub(crate) fn set(parameter: &str, value: &'static str) -> Result<(), BridgeError> {
    let failed = |source| BridgeError::Parameter {
        parameter: parameter.replace('/', "."),
        value,
        source,
    };
    if parameter
        .split('/')
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let path = format!("/proc/sys/{parameter}");
    let mut file = OpenOptions::new().write(true).open(path).map_err(failed)?;
    file.write_all(value.as_bytes()).map_err(failed)
}
