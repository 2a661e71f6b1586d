//! Hosts made of network namespaces, and wires between them.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink::route::{Address, LinkChange, LinkKind, NewLink, Target, add_address, add_link, change_link};
use netlink::{Message, Socket};
use sys::clone::CloneFlags;
use sys::netlink::Family;

/// A network namespace with its loopback up.
pub(crate) struct Host(OwnedFd);

impl Host {
    pub(crate) fn new() -> Self {
        let made = std::thread::spawn(|| {
            sys::namespace::unshare(CloneFlags::NEWNET).unwrap();
            sys::net::loopback_up().unwrap();
            OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
        });
        Self(made.join().unwrap())
    }

    /// Does something inside.
    pub(crate) fn inside<T>(&self, work: impl FnOnce() -> T) -> T {
        sys::namespace::visit_network(self.0.as_fd(), work).unwrap()
    }

    pub(crate) fn route(&self) -> Socket {
        Socket::open_in(Family::Route, self.0.as_fd()).unwrap()
    }

    pub(crate) fn filter(&self) -> Socket {
        Socket::open_in(Family::Netfilter, self.0.as_fd()).unwrap()
    }

    /// Changes its packet filter.
    pub(crate) fn change_filter(&self, messages: &[Message]) {
        self.filter().request(messages).unwrap();
    }
}

impl AsFd for Host {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

pub(crate) fn up() -> LinkChange<'static> {
    LinkChange {
        up: Some(true),
        ..LinkChange::default()
    }
}

/// Connects `machine` by its link "wire" to "eth0" of a host outside. The ends get what addresses they are given, of
/// networks with 24 bits.
pub(crate) fn wire(machine: (&Host, Option<Ipv4Addr>), outside: (&Host, Option<Ipv4Addr>)) {
    let peer = NewLink {
        name: "eth0",
        kind: LinkKind::Ifb,
        settings: LinkChange {
            namespace: Some(outside.0.as_fd()),
            ..LinkChange::default()
        },
    };
    let link = NewLink {
        name: "wire",
        kind: LinkKind::Veth { peer: Box::new(peer) },
        settings: up(),
    };
    machine.0.route().request(&[add_link(&link)]).unwrap();
    for ((host, address), name) in [(machine, "wire"), (outside, "eth0")] {
        let mut socket = host.route();
        let link = socket.link(Target::Name(name)).unwrap().index;
        let mut messages = vec![change_link(Target::Index(link), &up())];
        messages.extend(address.map(|address| {
            add_address(&Address {
                link,
                address: address.into(),
                prefix: 24,
            })
        }));
        socket.request(&messages).unwrap();
    }
}
