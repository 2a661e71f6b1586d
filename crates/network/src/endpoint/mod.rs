//! Endpoints: where a container is plugged into a network.
//!
//! A cable of two ends: one is a port of the bridge, the other an interface in the container's network namespace. It is
//! made with its other end in place, so nothing is ever moved or renamed. It goes away with the namespace; only leaving a
//! network while the container runs removes it.
//!
//! The host's end comes up last, when everything inside is set: as long as it is down nothing comes in.

mod interface;
mod parameter;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use base::error::{Kind, Kinded};
use netlink::route::{
    BridgePort, LinkChange, LinkKind, MacAddress, NewLink, Target, add_link, change_bridge_port, change_link,
    remove_link,
};
use netlink::{Message, NetlinkError, Socket};
use rustix::io::Errno;

use interface::Interface;

/// An endpoint to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// By what the container is plugged in.
    pub attach: Attach,
    /// The container's end: 1 to 15 bytes.
    pub interface: String,
    /// Its hardware address; the kernel's choice if `None`.
    pub mac: Option<MacAddress>,
    /// The largest packet in bytes; the kernel's default if `None`.
    pub mtu: Option<u32>,
    /// Its addresses, with the lengths of their networks' prefixes. Without one of IPv6 there is no IPv6 on it.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The gateways of everything that is not on a network of the container. One outside of the addresses' networks is
    /// looked for on the link.
    pub gateways: Vec<IpAddr>,
    /// More routes.
    pub routes: Vec<Route>,
    /// Parameters of the interface, `net.ipv4.conf.IFNAME.forwarding` and the like, with their values.
    pub sysctls: BTreeMap<String, String>,
}

/// By what a container is plugged into a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attach {
    /// A cable to a bridge.
    Bridge {
        /// The bridge.
        bridge: String,
        /// The host's end of the cable: 1 to 15 bytes.
        port: String,
        /// Whether it may talk to other containers of its network.
        talking: bool,
    },
}

/// A route of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network, and the length of its prefix.
    pub destination: (IpAddr, u8),
    /// The next host on the way; `None` when the network is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// Why a container could not be plugged in or out.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The host's end could not be made.
    #[error("plug \"{port}\" into the bridge")]
    Host {
        /// The host's end.
        port: String,
        /// Why.
        source: NetlinkError,
    },
    /// The bridge is not there.
    #[error("find bridge \"{bridge}\"")]
    Bridge {
        /// The bridge.
        bridge: String,
        /// Why.
        source: NetlinkError,
    },
    /// The bridge has as many ports as it can have.
    #[error("bridge \"{bridge}\" has no port left: the kernel gives it 1,023")]
    Full {
        /// The bridge.
        bridge: String,
    },
    /// The container's end could not be set up.
    #[error("set up interface \"{interface}\" in the container")]
    Container {
        /// The container's end.
        interface: String,
        /// Why.
        source: NetlinkError,
    },
    /// The container's network namespace could not be entered.
    #[error("enter the container's network namespace")]
    Namespace(#[source] sys::SyscallError),
    /// A parameter is none of one interface.
    #[error("\"{name}\" is not a parameter of an interface: net.ipv4.conf.IFNAME.NAME and the like are")]
    NotAParameter {
        /// Its name as it was given.
        name: String,
    },
    /// A parameter could not be set.
    #[error("set {name} to \"{value}\"")]
    Parameter {
        /// Its name as sysctl(8) has it.
        name: String,
        /// The value.
        value: String,
        /// Why.
        source: io::Error,
    },
}

impl EndpointError {
    /// Returns the errno with which the kernel refused, if it did.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Host { source, .. } | Self::Bridge { source, .. } | Self::Container { source, .. } => {
                source.errno()
            }
            Self::Namespace(error) => Some(error.errno()),
            Self::Parameter { source, .. } => Errno::from_io_error(source),
            Self::Full { .. } => Some(Errno::XFULL),
            Self::NotAParameter { .. } => Some(Errno::INVAL),
        }
    }
}

impl Kinded for EndpointError {
    fn kind(&self) -> Kind {
        match self {
            Self::Host { source, .. } | Self::Bridge { source, .. } | Self::Container { source, .. } => {
                source.kind()
            }
            Self::Full { .. } => Kind::Conflict,
            Self::Namespace(error) => base::error::kind_of_io(&error.errno().into()),
            Self::NotAParameter { .. } => Kind::Invalid,
            Self::Parameter { source, .. } => base::error::kind_of_io(source),
        }
    }
}

/// Plugs the container whose network namespace is `container` into a network. `host` is a socket of the caller's own
/// namespace, where the bridge is. What was done before a failure is undone.
///
/// A cable of an earlier run of the container, whose namespace the kernel has not taken down yet, is removed. An interface
/// of that name in the container is an error.
pub fn join(host: &mut Socket, container: BorrowedFd<'_>, settings: &Settings) -> Result<(), EndpointError> {
    let parameters = parameter::plan(settings)?;
    let Attach::Bridge {
        bridge,
        port,
        talking,
    } = &settings.attach;
    let bridge_index = find_bridge(host, bridge)?;
    let cable = [cable(settings, port, bridge_index, container)];
    let mut made = host.request(&cable);
    if made.as_ref().is_err_and(NetlinkError::is_present) {
        leave(host, port)?;
        made = host.request(&cable);
    }
    made.map_err(|source| refused(bridge, port, source))?;
    let joined = Interface::enter(container, settings, &parameters)
        .and_then(|mut interface| interface.set_up())
        .and_then(|()| {
            let up = up();
            host.request(&[change_bridge_port(Target::Name(port), &treated(*talking), &up)])
                .map_err(|source| refused(bridge, port, source))
        });
    if joined.is_err() {
        // The first error is the one to tell.
        drop(host.request(&[remove_link(Target::Name(port))]));
    }
    joined
}

/// As [`join`], for a namespace that was kept from an earlier run: a cable that is there stays, with what the container
/// has made of its end; what is missing of the settings is added. Returns whether a cable had to be made.
pub fn restore(
    host: &mut Socket,
    container: BorrowedFd<'_>,
    settings: &Settings,
) -> Result<bool, EndpointError> {
    let parameters = parameter::plan(settings)?;
    let Attach::Bridge {
        bridge,
        port,
        talking,
    } = &settings.attach;
    let bridge_index = find_bridge(host, bridge)?;
    let failed = |source| refused(bridge, port, source);
    let ends = match host.link(Target::Name(port)) {
        Ok(end) => end.parent,
        Err(error) if error.is_absent() => None,
        Err(error) => return Err(failed(error)),
    };
    let mut interface = Interface::enter(container, settings, &[])?;
    if ends.is_none() || interface.index()? != ends {
        drop(interface);
        return join(host, container, settings).map(|()| true);
    }
    interface = Interface::enter(container, settings, &parameters)?;
    interface.complete()?;
    // The bridge may be a new one.
    let plugged = LinkChange {
        master: Some(bridge_index),
        ..LinkChange::default()
    };
    host.request(&[
        change_link(Target::Name(port), &plugged),
        change_bridge_port(Target::Name(port), &treated(*talking), &up()),
    ])
    .map_err(failed)?;
    Ok(false)
}

/// Plugs a container out; one that is not plugged in stays so. It waits for the kernel: a container that has ended needs
/// it not.
pub fn leave(host: &mut Socket, port: &str) -> Result<(), EndpointError> {
    match host.request(&[remove_link(Target::Name(port))]) {
        Err(source) if !source.is_absent() => Err(EndpointError::Host {
            port: port.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

fn find_bridge(host: &mut Socket, bridge: &str) -> Result<u32, EndpointError> {
    let found = host.link(Target::Name(bridge));
    found
        .map(|link| link.index)
        .map_err(|source| EndpointError::Bridge {
            bridge: bridge.to_owned(),
            source,
        })
}

fn refused(bridge: &str, port: &str, source: NetlinkError) -> EndpointError {
    if source.errno() == Some(Errno::XFULL) {
        return EndpointError::Full {
            bridge: bridge.to_owned(),
        };
    }
    EndpointError::Host {
        port: port.to_owned(),
        source,
    }
}

fn cable(settings: &Settings, port: &str, bridge: u32, container: BorrowedFd<'_>) -> Message {
    let peer = NewLink {
        name: &settings.interface,
        kind: LinkKind::Ifb,
        settings: LinkChange {
            mac: settings.mac,
            mtu: settings.mtu,
            namespace: Some(container),
            ..LinkChange::default()
        },
    };
    add_link(&NewLink {
        name: port,
        kind: LinkKind::Veth { peer: Box::new(peer) },
        settings: LinkChange {
            mtu: settings.mtu,
            master: Some(bridge),
            ..LinkChange::default()
        },
    })
}

fn treated(talking: bool) -> BridgePort {
    BridgePort {
        hairpin: talking,
        isolated: !talking,
        learning: true,
        flood: true,
    }
}

fn up() -> LinkChange<'static> {
    LinkChange {
        up: Some(true),
        ..LinkChange::default()
    }
}
