//! More addresses on a link of the host: macvlan and ipvlan.
//!
//! They are made inside the container's namespace and go away with it; the host has no end of them. One of an earlier run
//! that the kernel has not taken down yet still has its address, so that is waited for.

use std::time::{Duration, Instant};

use netlink::route::{
    IpvlanIsolation, IpvlanMode, LinkChange, LinkKind, MacAddress, MacvlanMode, NewLink, Target, add_link,
};
use netlink::{NetlinkError, Socket};
use rustix::io::Errno;

use super::interface::Interface;
use super::{Attach, EndpointError, Inside};

/// How long an earlier run may have the address.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often that is looked at.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) fn join(host: &mut Socket, inside: &Inside<'_>) -> Result<(), EndpointError> {
    let settings = inside.settings;
    let Some((driver, parent)) = below(&settings.attach) else {
        return Ok(());
    };
    // Before anything is asked of the kernel.
    kind(&settings.attach, 0)?;
    let used = |source| EndpointError::Parent {
        link: parent.to_owned(),
        source,
    };
    let index = host.link(Target::Name(parent)).map_err(used)?.index;
    let link = add_link(&NewLink {
        name: &settings.interface,
        kind: kind(&settings.attach, index)?,
        settings: LinkChange {
            mac: settings.mac.map(MacAddress),
            mtu: settings.mtu,
            namespace: Some(inside.namespace),
            ..LinkChange::default()
        },
    });
    let deadline = Instant::now() + PATIENCE;
    wait_for_address(
        deadline,
        || host.request(std::slice::from_ref(&link)),
        NetlinkError::errno,
    )
    .map_err(|source| match source.errno() {
        Some(Errno::OPNOTSUPP) => EndpointError::NoDriver { driver },
        _ => used(source),
    })?;
    let joined = Interface::enter(inside)
        .and_then(|mut interface| wait_for_address(deadline, || interface.complete(), EndpointError::errno));
    if joined.is_err() {
        // The first error is the one to tell.
        super::remove(inside.namespace, &settings.interface).ok();
    }
    joined
}

/// Returns whether the interface was there.
pub(super) fn restore(inside: &Inside<'_>) -> Result<bool, EndpointError> {
    let found = Interface::enter(&Inside {
        parameters: &[],
        ..*inside
    })
    .and_then(|mut interface| interface.index())?;
    if found.is_none() {
        return Ok(false);
    }
    Interface::enter(inside)?.complete()?;
    Ok(true)
}

fn wait_for_address<E>(
    deadline: Instant,
    mut work: impl FnMut() -> Result<(), E>,
    errno: impl Fn(&E) -> Option<Errno>,
) -> Result<(), E> {
    loop {
        match work() {
            Err(error)
                if matches!(errno(&error), Some(Errno::ADDRINUSE | Errno::BUSY))
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn below(attach: &Attach) -> Option<(&'static str, &str)> {
    match attach {
        Attach::Macvlan { parent, .. } => Some(("macvlan", parent)),
        Attach::Ipvlan { parent, .. } => Some(("ipvlan", parent)),
        Attach::Bridge { .. } | Attach::Phys { .. } => None,
    }
}

fn kind(attach: &Attach, parent: u32) -> Result<LinkKind<'static>, EndpointError> {
    let unknown = |driver, mode: &str| EndpointError::Mode {
        driver,
        mode: mode.to_owned(),
    };
    match attach {
        Attach::Ipvlan { mode, flag, .. } => Ok(LinkKind::Ipvlan {
            parent,
            mode: match mode.as_str() {
                "l2" => IpvlanMode::L2,
                "l3" => IpvlanMode::L3,
                "l3s" => IpvlanMode::L3s,
                _ => return Err(unknown("ipvlan", mode)),
            },
            isolation: match flag.as_str() {
                "bridge" => IpvlanIsolation::Bridge,
                "private" => IpvlanIsolation::Private,
                "vepa" => IpvlanIsolation::Vepa,
                _ => return Err(unknown("ipvlan", flag)),
            },
        }),
        Attach::Macvlan { mode, .. } => Ok(LinkKind::Macvlan {
            parent,
            mode: match mode.as_str() {
                "bridge" => MacvlanMode::Bridge,
                "private" => MacvlanMode::Private,
                "vepa" => MacvlanMode::Vepa,
                "passthru" => MacvlanMode::Passthru,
                _ => return Err(unknown("macvlan", mode)),
            },
        }),
        Attach::Bridge { .. } | Attach::Phys { .. } => Err(unknown("bridge", "")),
    }
}
