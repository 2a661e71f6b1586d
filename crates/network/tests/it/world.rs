//! Hosts made of network namespaces, and wires between them.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink::route::{
    Address, LinkChange, LinkKind, Neighbour, NewLink, Route, Target, add_address, add_link, add_neighbour,
    add_route, change_link,
};
use netlink::{Message, Socket};
use network::endpoint::{self, Attach, Settings};
use network::{address, bridge};
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

    /// Has it ask `gateway` for whatever it does not know a way to.
    pub(crate) fn ask_for_everything(&self, gateway: Ipv4Addr) {
        let everywhere = Route {
            destination: Ipv4Addr::UNSPECIFIED.into(),
            prefix: 0,
            gateway: Some(gateway.into()),
            link: None,
            source: None,
            metric: None,
            on_link: false,
        };
        self.route().request(&[add_route(&everywhere)]).unwrap();
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
    wire_as("wire", machine, outside);
}

/// As [`wire`], by another link of `machine`.
pub(crate) fn wire_as(own: &str, machine: (&Host, Option<Ipv4Addr>), outside: (&Host, Option<Ipv4Addr>)) {
    let peer = NewLink {
        name: "eth0",
        kind: LinkKind::Ifb,
        settings: LinkChange {
            namespace: Some(outside.0.as_fd()),
            ..LinkChange::default()
        },
    };
    let link = NewLink {
        name: own,
        kind: LinkKind::Veth { peer: Box::new(peer) },
        settings: up(),
    };
    machine.0.route().request(&[add_link(&link)]).unwrap();
    for ((host, address), name) in [(machine, own), (outside, "eth0")] {
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

/// The machine's address on the bridge of [`Plugged`].
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 1);
/// The container's.
pub(crate) const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 2);
/// The port of the bridge that leads to the container.
pub(crate) const PORT: &str = "bv0123456789a";

/// A machine with a container on its bridge. They know each other's hardware addresses for good: nothing passes between
/// them but what a test sends.
pub(crate) struct Plugged {
    pub machine: Host,
    pub container: Host,
    pub route: Socket,
}

impl Plugged {
    pub(crate) fn new() -> Self {
        let (machine, container) = (Host::new(), Host::new());
        let settings = bridge::Settings {
            name: "br-a".to_owned(),
            gateways: vec![(GATEWAY.into(), 24)],
            mac: address::mac_address([1; 6]),
            mtu: None,
        };
        let mut route = machine.route();
        machine.inside(|| bridge::create(&mut route, &settings)).unwrap();
        let mut plugged = Self {
            machine,
            container,
            route,
        };
        plugged.plug();
        plugged
    }

    /// Gives the container its end of a cable, also once more after that has left.
    pub(crate) fn plug(&mut self) {
        let settings = Settings {
            attach: Attach::Bridge {
                bridge: "br-a".to_owned(),
                port: PORT.to_owned(),
                talking: true,
            },
            interface: "eth0".to_owned(),
            mac: Some(address::mac_address([2; 6]).0),
            mtu: None,
            addresses: vec![(CONTAINER.into(), 24)],
            gateways: Vec::new(),
            routes: Vec::new(),
            sysctls: [("net.ipv6.conf.IFNAME.disable_ipv6".to_owned(), "1".to_owned())].into(),
            rates: Default::default(),
        };
        endpoint::join(&mut self.route, self.container.as_fd(), &settings).unwrap();
        for (host, link, (neighbour, seed)) in [
            (&self.machine, "br-a", (CONTAINER, 2)),
            (&self.container, "eth0", (GATEWAY, 1)),
        ] {
            let mut socket = host.route();
            let neighbour = Neighbour {
                link: socket.link(Target::Name(link)).unwrap().index,
                address: neighbour.into(),
                mac: address::mac_address([seed; 6]),
            };
            socket.request(&[add_neighbour(&neighbour)]).unwrap();
        }
    }
}
