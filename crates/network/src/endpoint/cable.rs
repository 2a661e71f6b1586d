//! A cable to a bridge.

use netlink::route::{
    BridgePort, LinkChange, LinkKind, MacAddress, NewLink, Target, add_link, bind_to_port,
    change_bridge_port, change_link, remove_link,
};
use netlink::{Message, NetlinkError, Socket};
use rustix::io::Errno;

use super::interface::Interface;
use super::parameter::plan_port;
use super::{EndpointError, Inside, leave, up};

pub(super) fn join(
    host: &mut Socket,
    inside: &Inside<'_>,
    bridge: &str,
    port: &str,
    talking: bool,
) -> Result<(), EndpointError> {
    let bridge_index = find_bridge(host, bridge)?;
    let cable = [cable(inside, port, bridge_index)];
    let mut made = host.request(&cable);
    if made.as_ref().is_err_and(NetlinkError::is_present) {
        leave(host, port)?;
        made = host.request(&cable);
    }
    made.map_err(|source| refused(bridge, port, source))?;
    let joined = plan_port(port)
        .and_then(|parameter| parameter.set())
        .and_then(|()| Interface::enter(inside))
        .and_then(|mut interface| {
            interface.set_up()?;
            let opened = host.link(Target::Name(port)).and_then(|end| {
                host.request(&open(inside, end.index, talking))?;
                // The kernel lets a port pass packets, and an end send them, when it gets to what it has noted of their
                // carrier. Who asks for a link has it do so now (since 6.8); until then what is sent is lost.
                host.link(Target::Index(end.index))
            });
            opened.map_err(|source| refused(bridge, port, source))?;
            interface.index().map(drop)
        });
    if joined.is_err() {
        // The first error is the one to tell.
        drop(host.request(&[remove_link(Target::Name(port))]));
    }
    joined
}

/// Returns whether the cable was there.
pub(super) fn restore(
    host: &mut Socket,
    inside: &Inside<'_>,
    bridge: &str,
    port: &str,
    talking: bool,
) -> Result<bool, EndpointError> {
    let bridge_index = find_bridge(host, bridge)?;
    let failed = |source| refused(bridge, port, source);
    let end = match host.link(Target::Name(port)) {
        Ok(end) => end,
        Err(error) if error.is_absent() => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let found = Interface::enter(&Inside {
        parameters: &[],
        ..*inside
    })
    .and_then(|mut interface| interface.index())?;
    if end.parent.is_none() || found != end.parent {
        return Ok(false);
    }
    Interface::enter(inside)?.complete()?;
    // The bridge may be a new one.
    let plugged = LinkChange {
        master: Some(bridge_index),
        ..LinkChange::default()
    };
    let mut messages = vec![change_link(Target::Index(end.index), &plugged)];
    messages.extend(open(inside, end.index, talking));
    host.request(&messages).map_err(failed)?;
    Ok(true)
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

fn cable(inside: &Inside<'_>, port: &str, bridge: u32) -> Message {
    let settings = inside.settings;
    let peer = NewLink {
        name: &settings.interface,
        kind: LinkKind::Ifb,
        settings: LinkChange {
            mac: settings.mac.map(MacAddress),
            mtu: settings.mtu,
            namespace: Some(inside.namespace),
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

/// Lets packets pass the port. The bridge is told whose it is: it looks for the container nowhere else, whatever br_netfilter
/// sends back to it by the cable of an extension.
fn open(inside: &Inside<'_>, port: u32, talking: bool) -> Vec<Message> {
    let treated = BridgePort {
        hairpin: talking,
        isolated: !talking,
        learning: true,
        flood: true,
    };
    let own = inside.settings.mac.map(|mac| bind_to_port(port, MacAddress(mac)));
    own.into_iter()
        .chain([change_bridge_port(Target::Index(port), &treated, &up())])
        .collect()
}
