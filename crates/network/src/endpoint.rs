//! Endpoints: where a container is plugged into a network.
//!
//! A cable of two ends: one is a port of the bridge, the other an interface in the container's network namespace. It is
//! made with its other end in place, so nothing is ever moved or renamed. It goes away with the namespace; only leaving a
//! network while the container runs removes it.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use base::error::{Kind, Kinded};
use netlink::route::{
    Address, BridgePort, LinkChange, LinkKind, MacAddress, NewLink, Route, Target, add_address, add_link,
    add_route, change_bridge_port, change_link, remove_link,
};
use netlink::{Message, NetlinkError, Socket};
use sys::netlink::Family;

/// An endpoint to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host's end of the cable: 1 to 15 bytes.
    pub port: String,
    /// The index of the bridge.
    pub bridge: u32,
    /// The container's end: 1 to 15 bytes.
    pub interface: String,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The largest packet in bytes; the kernel's default if `None`.
    pub mtu: Option<u32>,
    /// Its addresses, with the lengths of their networks' prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The gateways of everything that is not on a network of the container.
    pub gateways: Vec<IpAddr>,
    /// Whether it may talk to other containers of its network.
    pub talking: bool,
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
    /// The container's end could not be set up.
    #[error("set up interface \"{interface}\" in the container")]
    Container {
        /// The container's end.
        interface: String,
        /// Why.
        source: NetlinkError,
    },
}

impl Kinded for EndpointError {
    fn kind(&self) -> Kind {
        match self {
            Self::Host { source, .. } | Self::Container { source, .. } => source.kind(),
        }
    }
}

/// Plugs the container whose network namespace is `container` into a network. `host` is a socket of the bridge's
/// namespace. What was done before a failure is undone.
pub fn join(host: &mut Socket, container: BorrowedFd<'_>, settings: &Settings) -> Result<(), EndpointError> {
    let failed = |source| EndpointError::Host {
        port: settings.port.clone(),
        source,
    };
    host.request(&[cable(settings, container)]).map_err(failed)?;
    let joined = plug(host, settings).map_err(failed).and_then(|()| {
        set_up(container, settings).map_err(|source| EndpointError::Container {
            interface: settings.interface.clone(),
            source,
        })
    });
    if joined.is_err() {
        // The first error is the one to tell.
        drop(host.request(&[remove_link(Target::Name(&settings.port))]));
    }
    joined
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

fn cable(settings: &Settings, container: BorrowedFd<'_>) -> Message {
    let peer = NewLink {
        name: &settings.interface,
        kind: LinkKind::Ifb,
        settings: LinkChange {
            mac: Some(settings.mac),
            mtu: settings.mtu,
            namespace: Some(container),
            ..LinkChange::default()
        },
    };
    add_link(&NewLink {
        name: &settings.port,
        kind: LinkKind::Veth { peer: Box::new(peer) },
        settings: LinkChange {
            mtu: settings.mtu,
            master: Some(settings.bridge),
            ..LinkChange::default()
        },
    })
}

/// Sets up the bridge's port. It comes up last, when it is already kept apart from others.
fn plug(host: &mut Socket, settings: &Settings) -> Result<(), NetlinkError> {
    let index = host.link(Target::Name(&settings.port))?.index;
    let port = BridgePort {
        hairpin: settings.talking,
        isolated: !settings.talking,
        learning: true,
        flood: true,
    };
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    host.request(&[
        change_bridge_port(index, &port),
        change_link(Target::Index(index), &up),
    ])
}

fn set_up(container: BorrowedFd<'_>, settings: &Settings) -> Result<(), NetlinkError> {
    let mut inside = Socket::open_in(Family::Route, container)?;
    let index = inside.link(Target::Name(&settings.interface))?.index;
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    let mut messages = vec![change_link(Target::Index(index), &up)];
    messages.extend(settings.addresses.iter().map(|&(address, prefix)| {
        add_address(&Address {
            link: index,
            address,
            prefix,
        })
    }));
    messages.extend(settings.gateways.iter().map(|gateway| {
        let destination: IpAddr = match gateway {
            IpAddr::V4(_) => [0; 4].into(),
            IpAddr::V6(_) => [0; 16].into(),
        };
        add_route(&Route {
            destination,
            prefix: 0,
            gateway: Some(*gateway),
            link: Some(index),
            source: None,
            metric: None,
            on_link: false,
        })
    }));
    inside.request(&messages)
}
