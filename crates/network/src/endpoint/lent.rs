//! A link of the host that a container has for itself while it runs.
//!
//! When its namespace dies, the kernel moves hardware back to the machine's first network namespace by itself, with the
//! name that it had in the container or, if that is taken, as `dev0` and so on, and without addresses; a virtual link dies
//! with the namespace. So it is given back before, with all that it had, by whoever lives longer than the container.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use netlink::route::{Address, LinkChange, MacAddress, Target, add_address, change_link};
use netlink::{NetlinkError, Socket};
use rustix::fs::{Mode, OFlags};
use sys::SyscallError;
use sys::netlink::Family;

use super::interface::Interface;
use super::{EndpointError, Inside};

/// A link that a container has, and what it was before. As long as this is there, so is the container's namespace.
#[derive(Debug)]
pub struct Lent {
    namespace: OwnedFd,
    link: String,
    interface: String,
    was_up: bool,
    mtu: u32,
    mac: Option<MacAddress>,
    addresses: Vec<Address>,
}

impl Lent {
    /// Returns the link's name on the host.
    pub fn link(&self) -> &str {
        &self.link
    }

    fn former(&self) -> LinkChange<'static> {
        LinkChange {
            up: Some(self.was_up),
            mac: self.mac,
            mtu: Some(self.mtu),
            ..LinkChange::default()
        }
    }
}

pub(super) fn join(host: &mut Socket, inside: &Inside<'_>, link: &str) -> Result<Lent, EndpointError> {
    let settings = inside.settings;
    let failed = |source| EndpointError::Parent {
        link: link.to_owned(),
        source,
    };
    let found = host.link(Target::Name(link)).map_err(failed)?;
    let mut addresses = host.addresses().map_err(failed)?;
    addresses.retain(|address| address.link == found.index && !is_automatic(address));
    let namespace = rustix::io::fcntl_dupfd_cloexec(inside.namespace, 3)
        .map_err(|errno| EndpointError::Namespace(SyscallError::new("fcntl(F_DUPFD_CLOEXEC)", errno)))?;
    let lent = Lent {
        namespace,
        link: link.to_owned(),
        interface: settings.interface.clone(),
        was_up: found.up,
        mtu: found.mtu,
        mac: found.mac,
        addresses,
    };
    let quiet = LinkChange {
        up: Some(false),
        mac: settings.mac.map(MacAddress),
        mtu: settings.mtu,
        ..LinkChange::default()
    };
    let moved = LinkChange {
        name: Some(&settings.interface),
        namespace: Some(inside.namespace),
        ..LinkChange::default()
    };
    let target = Target::Index(found.index);
    // It cannot be renamed while it is up.
    let moved = host
        .request(&[change_link(target, &quiet)])
        .and_then(|()| host.request(&[change_link(target, &moved)]));
    if let Err(source) = moved {
        drop(host.request(&[change_link(target, &lent.former())]));
        return Err(failed(source));
    }
    let joined = Interface::enter(inside).and_then(|mut interface| interface.set_up());
    match joined {
        Ok(()) => Ok(lent),
        Err(error) => {
            // The first error is the one to tell.
            give_back(host, &lent).ok();
            Err(error)
        }
    }
}

/// Takes a link back from a container into the caller's own namespace, of which `host` is a socket, as it was before. One
/// that the container has not any more is none to give back.
pub fn give_back(host: &mut Socket, lent: &Lent) -> Result<(), EndpointError> {
    let failed = |source: NetlinkError| EndpointError::Parent {
        link: lent.link.clone(),
        source,
    };
    let home = rustix::fs::open(
        "/proc/thread-self/ns/net",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| EndpointError::Namespace(SyscallError::new("open(/proc/thread-self/ns/net)", errno)))?;
    let inside = sys::namespace::visit_network(lent.namespace.as_fd(), || Socket::open(Family::Route));
    let mut inside = inside.map_err(EndpointError::Namespace)?.map_err(failed)?;
    let quiet = LinkChange {
        up: Some(false),
        ..lent.former()
    };
    let moved = LinkChange {
        name: Some(&lent.link),
        namespace: Some(home.as_fd()),
        ..LinkChange::default()
    };
    let target = Target::Name(&lent.interface);
    let index = match inside.link(target) {
        Err(error) if error.is_absent() => return Ok(()),
        found => found.map_err(failed)?.index,
    };
    inside
        .request(&[
            change_link(Target::Index(index), &quiet),
            change_link(Target::Index(index), &moved),
        ])
        .map_err(failed)?;
    let link = host.link(Target::Name(&lent.link)).map_err(failed)?.index;
    let mut messages: Vec<_> = lent
        .addresses
        .iter()
        .map(|address| add_address(&Address { link, ..*address }))
        .collect();
    messages.push(change_link(Target::Index(link), &lent.former()));
    host.request(&messages).map_err(failed)
}

/// Returns whether the kernel makes the address itself when the link comes up.
fn is_automatic(address: &Address) -> bool {
    match address.address {
        IpAddr::V6(address) => address.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    }
}
