//! One more bridge for a network whose bridges have no port left: the kernel gives each 1,023.
//!
//! ```text
//! machine ── bridge (gateways) ── port ── cable ── port ── extension
//!             containers                                    containers
//! ```
//!
//! It is a switch and nothing else. The machine has no address there and answers nothing: whatever is for it, or for
//! another network, comes and goes by the bridge, so that the packet filter's rules speak of that one alone.

use base::error::{Kind, Kinded};
use netlink::route::{
    BridgePort, LinkChange, LinkKind, MacAddress, NewLink, Target, add_link, change_bridge_port, change_link,
    remove_link,
};
use netlink::{NetlinkError, Socket};

use crate::bridge::{self, BridgeError};

/// What the name of every extension begins with.
pub const PREFIX: &str = "bx";

/// One more bridge to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The bridge that has the gateways.
    pub bridge: String,
    /// Its name, that of the cable's end at the bridge, and that of the end at itself: 1 to 15 bytes each.
    pub names: Names,
    /// Its hardware address, by which it is known.
    pub mac: MacAddress,
    /// The largest packet in bytes; the kernel's default if `None`.
    pub mtu: Option<u32>,
    /// Whether containers of the network talk to each other. If not, they reach the machine, and no others.
    pub talking: bool,
}

/// The links of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The extension itself; it begins with [`PREFIX`].
    pub extension: String,
    /// The cable's end at the bridge.
    pub upper: String,
    /// The cable's end at the extension.
    pub lower: String,
}

/// Why there is no extension.
#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    /// One of its links could not be made, or the bridge is not there.
    #[error("extend bridge \"{bridge}\" by \"{extension}\"")]
    Netlink {
        /// The bridge.
        bridge: String,
        /// The extension.
        extension: String,
        /// Why.
        source: NetlinkError,
    },
    /// Its name is somebody else's.
    #[error("extend bridge \"{bridge}\": there is an interface \"{extension}\" already")]
    Taken {
        /// The bridge.
        bridge: String,
        /// The extension.
        extension: String,
    },
    /// A parameter could not be set.
    #[error(transparent)]
    Parameter(#[from] BridgeError),
}

impl Kinded for ExtendError {
    fn kind(&self) -> Kind {
        match self {
            Self::Netlink { source, .. } => source.kind(),
            Self::Taken { .. } => Kind::Conflict,
            Self::Parameter(source) => source.kind(),
        }
    }
}

/// Makes an extension and its cable in the caller's network namespace, of which `socket` must be too. What is there of it
/// stays, and what is missing is added, so that one whose making was interrupted is completed.
pub fn extend(socket: &mut Socket, settings: &Settings) -> Result<(), ExtendError> {
    let Names { upper, lower, .. } = &settings.names;
    let failed = |source| settings.failed(source);
    let bridge = socket.link(Target::Name(&settings.bridge)).map_err(failed)?.index;
    let extension = find_or_make(socket, settings)?;
    let ends = [
        plugged_into(socket, upper).map_err(failed)?,
        plugged_into(socket, lower).map_err(failed)?,
    ];
    if ends == [Some(bridge), Some(extension)] {
        return Ok(());
    }
    let change = LinkChange {
        mtu: settings.mtu,
        ..LinkChange::default()
    };
    let cable = add_link(&NewLink {
        name: upper,
        kind: LinkKind::Veth {
            peer: Box::new(NewLink {
                name: lower,
                kind: LinkKind::Ifb,
                settings: change,
            }),
        },
        settings: change,
    });
    match socket.request(&[cable]) {
        Err(error) if !error.is_present() => return Err(failed(error)),
        _ => {}
    }
    bridge::no_ipv6(upper)?;
    bridge::no_ipv6(lower)?;
    let plug = |name: &str, bridge: u32| {
        let plugged = LinkChange {
            master: Some(bridge),
            ..LinkChange::default()
        };
        change_link(Target::Name(name), &plugged)
    };
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    let port = |hairpin: bool, isolated: bool| BridgePort {
        hairpin,
        isolated,
        learning: true,
        flood: true,
    };
    // Containers that may not talk are isolated from each other at each bridge; so must the cable be from those of the
    // bridge, but not from those of the extension, which reach the machine by it. What br_netfilter sends back to the
    // extension leaves the bridge by the port that it came from.
    let treated = [
        (upper, port(settings.talking, !settings.talking)),
        (lower, port(false, false)),
    ];
    let mut messages = vec![plug(upper, bridge), plug(lower, extension)];
    messages.extend(treated.map(|(name, port)| change_bridge_port(Target::Name(name), &port, &up)));
    socket.request(&messages).map_err(failed)
}

/// Removes an extension with its cable; what is not there is gone already. Somebody else's bridge of that name stays.
pub fn retract(socket: &mut Socket, names: &Names, mac: MacAddress) -> Result<(), NetlinkError> {
    let is_ours = match socket.link(Target::Name(&names.extension)) {
        Ok(link) => is_extension(&link, mac),
        Err(error) if error.is_absent() => false,
        Err(error) => return Err(error),
    };
    // One end takes the other along.
    let doomed = [(names.upper.as_str(), true), (names.extension.as_str(), is_ours)];
    for (name, _) in doomed.into_iter().filter(|(_, doomed)| *doomed) {
        match socket.request(&[remove_link(Target::Name(name))]) {
            Err(error) if !error.is_absent() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Settings {
    fn failed(&self, source: NetlinkError) -> ExtendError {
        ExtendError::Netlink {
            bridge: self.bridge.clone(),
            extension: self.names.extension.clone(),
            source,
        }
    }
}

fn find_or_make(socket: &mut Socket, settings: &Settings) -> Result<u32, ExtendError> {
    let name = &settings.names.extension;
    let failed = |source| settings.failed(source);
    match socket.link(Target::Name(name)) {
        Ok(link) if is_extension(&link, settings.mac) && link.up => return Ok(link.index),
        Ok(link) if is_extension(&link, settings.mac) => {}
        Ok(_) => {
            return Err(ExtendError::Taken {
                bridge: settings.bridge.clone(),
                extension: name.clone(),
            });
        }
        Err(error) if error.is_absent() => {
            let link = bridge::new_bridge(name, settings.mac, settings.mtu);
            socket.request(&[link]).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    // Before it is up: the machine would answer here too for the addresses that it has elsewhere.
    bridge::set(&format!("net/ipv4/conf/{name}/arp_ignore"), "8")?;
    bridge::set(&format!("net/ipv4/conf/{name}/forwarding"), "0")?;
    bridge::no_ipv6(name)?;
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    socket
        .request(&[change_link(Target::Name(name), &up)])
        .map_err(failed)?;
    Ok(socket.link(Target::Name(name)).map_err(failed)?.index)
}

fn is_extension(link: &netlink::route::Link, mac: MacAddress) -> bool {
    link.kind.as_deref() == Some("bridge") && link.mac == Some(mac)
}

/// Returns the bridge that a link is a port of and works at.
fn plugged_into(socket: &mut Socket, name: &str) -> Result<Option<u32>, NetlinkError> {
    match socket.link(Target::Name(name)) {
        Ok(link) => Ok(link.master.filter(|_| link.up)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}
