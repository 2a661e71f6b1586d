//! Many hosts on one: a machine with two networks, a host outside, containers. What each can reach is tried with packets.
//!
//! ```text
//! outside 198.51.100.9 ──wire── 198.51.100.1 machine ── br-a 10.50.0.1/24 ── one 10.50.0.2, two 10.50.0.3
//!                                                   └── br-b 10.60.0.1/24 ── three 10.60.0.2
//! ```

mod extension;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use netlink::Socket;
use netlink::route::{Address, LinkChange, MacAddress, Route, Target, add_address, add_route, change_link};
use network::firewall::{EndpointFacts, Firewall, NetworkFacts, Protocol, Publication, State};
use network::{address, bridge, endpoint};
use sys::netlink::Family;

use crate::world::{Host, wire, wire_as};

const MACHINE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
const ONE: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 2);
const TWO: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 3);
const THREE: Ipv4Addr = Ipv4Addr::new(10, 60, 0, 2);
/// How long to wait for what must not come.
const PATIENCE: Duration = Duration::from_millis(400);

impl Host {
    /// Connects, which must succeed; returns what the server saw of the client.
    fn reaches(&self, address: impl Into<SocketAddr>, server: &Server) -> Option<IpAddr> {
        self.connect(address.into(), server, Duration::from_secs(10))
    }

    /// Connects, which must not succeed.
    fn is_kept_from(&self, address: impl Into<SocketAddr>, server: &Server) -> bool {
        self.connect(address.into(), server, PATIENCE).is_none()
    }

    fn connect(&self, address: SocketAddr, server: &Server, patience: Duration) -> Option<IpAddr> {
        let connected = self.inside(|| TcpStream::connect_timeout(&address, patience));
        let mut stream = connected.ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let (name, peer) = said.split_once(' ').unwrap();
        (name == server.name).then(|| peer.parse().unwrap())
    }
}

/// Tells everybody who connects its name and whom it sees.
struct Server {
    name: String,
}

impl Server {
    fn start(host: &Host, address: SocketAddr, name: &str) -> Self {
        let listener = host.inside(|| TcpListener::bind(address).unwrap());
        let said = name.to_owned();
        // Ends with the test's process.
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                drop(write!(stream, "{said} {}", peer.ip()));
                drop(stream.shutdown(Shutdown::Write));
            }
        });
        Self {
            name: name.to_owned(),
        }
    }
}

struct World {
    machine: Host,
    outside: Host,
    one: Host,
    two: Host,
    three: Host,
    firewall: Firewall,
    state: State,
}

impl World {
    fn new() -> Self {
        let [machine, outside, one, two, three] = std::array::from_fn(|_| Host::new());
        wire((&machine, Some(MACHINE)), (&outside, Some(OUTSIDE)));
        // It knows no way to the networks but asks the machine.
        outside.ask_for_everything(MACHINE);
        let mut world = Self {
            machine,
            outside,
            one,
            two,
            three,
            firewall: Firewall::new("berth-test"),
            state: State::default(),
        };
        for (name, third, number) in [("br-a", 50, 1), ("br-b", 60, 2)] {
            let settings = bridge::Settings {
                name: name.to_owned(),
                gateways: vec![(Ipv4Addr::new(10, third, 0, 1).into(), 24)],
                mac: address::mac_address([0, 0, 0, 0, 1, number]),
                mtu: None,
            };
            let machine = &world.machine;
            machine
                .inside(|| bridge::create(&mut Socket::open(Family::Route).unwrap(), &settings))
                .unwrap();
            world.state.networks.push(NetworkFacts {
                bridge: name.to_owned(),
                internal: false,
                talking: true,
                nat4: true,
                nat6: false,
            });
        }
        world.apply();
        world.plug("br-a", ONE, true);
        world.plug("br-a", TWO, true);
        world.plug("br-b", THREE, true);
        world
    }

    fn apply(&self) {
        self.machine.change_filter(&self.firewall.replace(&self.state));
    }

    fn container(&self, address: Ipv4Addr) -> &Host {
        match address {
            ONE => &self.one,
            TWO => &self.two,
            _ => &self.three,
        }
    }

    fn plug(&mut self, bridge: &str, address: Ipv4Addr, talking: bool) {
        let mut machine = self.machine.route();
        let [a, b, c, d] = address.octets();
        let mac = address::mac_address([0, 0, a, b, c, d]);
        let settings = endpoint::Settings {
            attach: cable(bridge, &format!("veth{b}-{d}"), talking),
            interface: "eth0".to_owned(),
            mac: Some(mac.0),
            mtu: None,
            addresses: vec![(address.into(), 24)],
            gateways: vec![Ipv4Addr::new(a, b, c, 1).into()],
            routes: Vec::new(),
            sysctls: Default::default(),
            rates: Default::default(),
        };
        let facts = EndpointFacts {
            bridge: bridge.to_owned(),
            port: format!("veth{b}-{d}"),
            mac,
            addresses: vec![address.into()],
        };
        self.machine.change_filter(&self.firewall.add_endpoint(&facts));
        endpoint::join(&mut machine, self.container(address).as_fd(), &settings).unwrap();
        self.state.endpoints.push(facts);
    }

    fn publish(&mut self, publication: Publication) {
        self.machine.change_filter(&self.firewall.publish(&[publication]));
        self.state.publications.push(publication);
    }
}

fn cable(bridge: &str, port: &str, talking: bool) -> endpoint::Attach {
    endpoint::Attach::Bridge {
        bridge: bridge.to_owned(),
        port: port.to_owned(),
        talking,
    }
}

fn tcp(host: Option<Ipv4Addr>, first: u16, last: u16, container: Ipv4Addr, port: u16) -> Publication {
    Publication {
        protocol: Protocol::Tcp,
        host: host.map(IpAddr::from),
        first,
        last,
        container: container.into(),
        port,
    }
}

#[test]
fn containers_reach_the_outside_with_the_machines_address() {
    let world = World::new();
    let server = Server::start(&world.outside, (OUTSIDE, 80).into(), "outside");
    assert_eq!(world.one.reaches((OUTSIDE, 80), &server), Some(MACHINE.into()));
    assert_eq!(world.three.reaches((OUTSIDE, 80), &server), Some(MACHINE.into()));
}

#[test]
fn containers_of_one_network_reach_each_other_and_no_others() {
    let world = World::new();
    let two = Server::start(&world.two, (TWO, 80).into(), "two");
    let three = Server::start(&world.three, (THREE, 80).into(), "three");
    assert_eq!(world.one.reaches((TWO, 80), &two), Some(ONE.into()));
    assert!(world.one.is_kept_from((THREE, 80), &three));
    assert!(world.outside.is_kept_from((TWO, 80), &two));
    assert!(world.machine.reaches((TWO, 80), &two).is_some());
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_sees_who_comes() {
    let mut world = World::new();
    let server = Server::start(&world.one, (ONE, 80).into(), "one");
    assert!(world.outside.is_kept_from((MACHINE, 8080), &server));
    world.publish(tcp(None, 8080, 8080, ONE, 80));
    assert_eq!(
        world.outside.reaches((MACHINE, 8080), &server),
        Some(OUTSIDE.into())
    );
    assert_eq!(
        world.machine.reaches((MACHINE, 8080), &server),
        Some(MACHINE.into())
    );
    let gateway = IpAddr::from([10, 50, 0, 1]);
    assert_eq!(
        world.machine.reaches((Ipv4Addr::LOCALHOST, 8080), &server),
        Some(gateway)
    );
    // From its own network, also from itself, and from another one.
    assert_eq!(world.two.reaches((MACHINE, 8080), &server), Some(gateway));
    assert_eq!(world.one.reaches((MACHINE, 8080), &server), Some(gateway));
    assert_eq!(world.three.reaches((MACHINE, 8080), &server), Some(THREE.into()));

    let published = world.state.publications.pop().unwrap();
    world
        .machine
        .change_filter(&world.firewall.unpublish(&[published]));
    assert!(world.outside.is_kept_from((MACHINE, 8080), &server));
}

#[test]
fn ranges_keep_their_numbers_or_move_by_the_same() {
    let mut world = World::new();
    let same = Server::start(&world.one, (ONE, 9005).into(), "same");
    let moved = Server::start(&world.one, (ONE, 85).into(), "moved");
    world.publish(tcp(None, 9000, 9010, ONE, 9000));
    world.publish(tcp(Some(MACHINE), 7000, 7010, ONE, 80));
    assert_eq!(
        world.outside.reaches((MACHINE, 9005), &same),
        Some(OUTSIDE.into())
    );
    assert_eq!(
        world.outside.reaches((MACHINE, 7005), &moved),
        Some(OUTSIDE.into())
    );
    assert!(world.machine.is_kept_from((Ipv4Addr::LOCALHOST, 7005), &moved));
}

/// CVE-2020-8558, CVE-2025-54388: neither a neighbour on the wire nor a container reaches what is on a loopback address,
/// also not after everything was put in place again.
#[test]
fn nw_01_what_is_published_on_a_loopback_address_stays_there() {
    let mut world = World::new();
    let one = Server::start(&world.one, (ONE, 80).into(), "one");
    let own = Server::start(&world.machine, (Ipv4Addr::LOCALHOST, 6000).into(), "own");
    world.publish(tcp(Some(Ipv4Addr::LOCALHOST), 8080, 8080, ONE, 80));
    for _ in 0..2 {
        assert!(world.machine.reaches((Ipv4Addr::LOCALHOST, 8080), &one).is_some());
        assert!(world.outside.is_kept_from((MACHINE, 8080), &one));
        for (host, link, gateway) in [
            (&world.outside, "eth0", MACHINE),
            (&world.two, "eth0", Ipv4Addr::new(10, 50, 0, 1)),
        ] {
            loopback_by(host, link, gateway);
            assert!(host.is_kept_from((Ipv4Addr::new(127, 0, 0, 1), 8080), &one));
            assert!(host.is_kept_from((Ipv4Addr::new(127, 0, 0, 1), 6000), &own));
        }
        world.apply();
    }
}

/// Lets a host send what is for a loopback address to its neighbour.
fn loopback_by(host: &Host, link: &str, gateway: Ipv4Addr) {
    host.inside(|| {
        for parameter in ["all", link] {
            let path = format!("/proc/sys/net/ipv4/conf/{parameter}/route_localnet");
            let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all(b"1").unwrap();
        }
    });
    let mut socket = host.route();
    let lo = socket.link(Target::Name("lo")).unwrap().index;
    let link = socket.link(Target::Name(link)).unwrap().index;
    let loopback = Address {
        link: lo,
        address: Ipv4Addr::LOCALHOST.into(),
        prefix: 8,
    };
    let by = Route {
        destination: Ipv4Addr::LOCALHOST.into(),
        prefix: 32,
        gateway: Some(gateway.into()),
        link: Some(link),
        source: None,
        metric: None,
        on_link: true,
    };
    // The second time it is done already.
    drop(socket.request(&[netlink::route::remove_address(&loopback), add_route(&by)]));
}

#[test]
fn nw_02_an_internal_network_reaches_nothing_outside() {
    let mut world = World::new();
    world.state.networks[1].internal = true;
    world.apply();
    let outside = Server::start(&world.outside, (OUTSIDE, 80).into(), "outside");
    let three = Server::start(&world.three, (THREE, 80).into(), "three");
    assert!(world.three.is_kept_from((OUTSIDE, 80), &outside));
    assert!(world.one.reaches((OUTSIDE, 80), &outside).is_some());
    world.publish(tcp(None, 8080, 8080, THREE, 80));
    assert!(world.outside.is_kept_from((MACHINE, 8080), &three));
    assert!(world.machine.reaches((THREE, 80), &three).is_some());
}

/// CVE-2025-52889, CVE-2025-52890: a container cannot send with another's address, nor tell others to send to it.
#[test]
fn nw_04_a_container_sends_with_its_own_addresses_only() {
    let world = World::new();
    sends_with_its_own_only(&world.machine, (&world.one, ONE), &[TWO]);
}

/// Tries to send to the machine from addresses that are not the container's: one that nobody has, and those that are given;
/// then from its own with another hardware address.
fn sends_with_its_own_only(machine: &Host, (container, own): (&Host, Ipv4Addr), of_others: &[Ipv4Addr]) {
    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
    let receiver = machine.inside(|| UdpSocket::bind((GATEWAY, 5000)).unwrap());
    receiver.set_read_timeout(Some(PATIENCE)).unwrap();
    let send = |from: Ipv4Addr| {
        container.inside(|| {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            drop(socket.send_to(b"x", (GATEWAY, 5000)));
        });
        receiver.recv_from(&mut [0; 8]).map(|(_, from)| from.ip())
    };
    assert_eq!(send(own).unwrap(), IpAddr::from(own));
    let mut inside = container.route();
    let eth0 = inside.link(Target::Name("eth0")).unwrap().index;
    let nobodys = Ipv4Addr::new(10, 50, 0, 77);
    for &stolen in std::iter::once(&nobodys).chain(of_others) {
        let address = Address {
            link: eth0,
            address: stolen.into(),
            prefix: 24,
        };
        inside.request(&[add_address(&address)]).unwrap();
        assert!(send(stolen).is_err(), "{stolen} was let through");
    }
    let change = LinkChange {
        mac: Some(MacAddress([2, 9, 9, 9, 9, 9])),
        ..LinkChange::default()
    };
    inside
        .request(&[change_link(Target::Index(eth0), &change)])
        .unwrap();
    assert!(send(own).is_err(), "a foreign hardware address was let through");
}

#[test]
fn containers_that_may_not_talk_are_kept_apart_on_the_bridge() {
    let mut world = World::new();
    let silent = Ipv4Addr::new(10, 60, 0, 3);
    let fourth = Host::new();
    world.three = Host::new();
    world.state.networks[1].talking = false;
    world.apply();
    let mut machine = world.machine.route();
    // The container that was there is gone with its end of the cable; leaving once more is no error.
    endpoint::leave(&mut machine, "veth60-2").unwrap();
    world.state.endpoints.retain(|facts| facts.port != "veth60-2");
    world.apply();
    world.plug("br-b", THREE, false);
    world.two = fourth;
    let server = Server::start(&world.three, (THREE, 80).into(), "three");
    let settings = endpoint::Settings {
        attach: cable("br-b", "veth60-3", false),
        interface: "eth0".to_owned(),
        mac: Some(address::mac_address([9; 6]).0),
        mtu: Some(1400),
        addresses: vec![(silent.into(), 24)],
        gateways: vec![Ipv4Addr::new(10, 60, 0, 1).into()],
        routes: Vec::new(),
        sysctls: Default::default(),
        rates: Default::default(),
    };
    let facts = EndpointFacts {
        bridge: "br-b".to_owned(),
        port: "veth60-3".to_owned(),
        mac: address::mac_address([9; 6]),
        addresses: vec![silent.into()],
    };
    world.machine.change_filter(&world.firewall.add_endpoint(&facts));
    endpoint::join(&mut machine, world.two.as_fd(), &settings).unwrap();
    assert!(world.two.is_kept_from((THREE, 80), &server));
    assert!(world.machine.reaches((THREE, 80), &server).is_some());
    let outside = Server::start(&world.outside, (OUTSIDE, 80).into(), "outside");
    assert!(world.two.reaches((OUTSIDE, 80), &outside).is_some());
}

#[test]
fn a_join_that_fails_leaves_nothing() {
    let world = World::new();
    let mut machine = world.machine.route();
    let before = machine.links().unwrap().len();
    let mut settings = endpoint::Settings {
        attach: cable("br-a", "veth-new", true),
        interface: "eth0".to_owned(),
        mac: Some(address::mac_address([8; 6]).0),
        mtu: None,
        addresses: Vec::new(),
        gateways: Vec::new(),
        routes: Vec::new(),
        sysctls: Default::default(),
        rates: Default::default(),
    };
    // The name is taken inside; then a route that cannot be.
    let error = endpoint::join(&mut machine, world.one.as_fd(), &settings).unwrap_err();
    assert_eq!(error.to_string(), "plug \"veth-new\" into the bridge");
    settings.interface = "eth1".to_owned();
    settings.routes = vec![endpoint::Route {
        destination: (Ipv4Addr::new(203, 0, 113, 0).into(), 33),
        gateway: None,
    }];
    let error = endpoint::join(&mut machine, world.one.as_fd(), &settings).unwrap_err();
    assert_eq!(error.to_string(), "set up interface \"eth1\" in the container");
    assert_eq!(machine.links().unwrap().len(), before);
    world.machine.change_filter(&world.firewall.remove());
    let made_twice = world.machine.inside(|| {
        let settings = bridge::Settings {
            name: "br-a".to_owned(),
            gateways: Vec::new(),
            mac: address::mac_address([7; 6]),
            mtu: None,
        };
        let mut socket = Socket::open(Family::Route).unwrap();
        let made_twice = bridge::create(&mut socket, &settings).is_ok();
        bridge::remove(&mut socket, "br-a").unwrap();
        bridge::remove(&mut socket, "br-a").unwrap();
        made_twice
    });
    assert!(!made_twice);
}

/// Forwarding is switched on for the networks; where it was off, the machine's other links stay apart.
#[test]
fn a_machine_that_was_no_router_forwards_for_its_networks_only() {
    let mut world = World::new();
    let second = Host::new();
    let (near, far) = (Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 9));
    wire_as("wire2", (&world.machine, Some(near)), (&second, Some(far)));
    second.ask_for_everything(near);
    let server = Server::start(&second, (far, 80).into(), "second");
    let own = Server::start(&world.one, (ONE, 80).into(), "one");
    world.publish(tcp(None, 8080, 8080, ONE, 80));
    assert_eq!(world.outside.reaches((far, 80), &server), Some(OUTSIDE.into()));
    world.state.closed4 = true;
    world.apply();
    assert!(world.outside.is_kept_from((far, 80), &server));
    assert!(world.one.reaches((far, 80), &server).is_some());
    assert!(second.reaches((MACHINE, 8080), &own).is_some());
}

#[test]
#[ignore = "makes 1,023 links"]
fn a_bridge_without_a_port_left_says_so() {
    let world = World::new();
    let mut machine = world.machine.route();
    let settings = |number: usize| endpoint::Settings {
        attach: cable("br-a", &format!("p{number}"), true),
        interface: format!("e{number}"),
        mac: None,
        mtu: None,
        addresses: Vec::new(),
        gateways: Vec::new(),
        routes: Vec::new(),
        sysctls: Default::default(),
        rates: Default::default(),
    };
    let full = (0..1030).find_map(|number| {
        endpoint::join(&mut machine, world.one.as_fd(), &settings(number))
            .err()
            .map(|error| (number, error.to_string()))
    });
    let (number, error) = full.unwrap();
    assert_eq!(
        error,
        "bridge \"br-a\" has no port left: the kernel gives it 1,023"
    );
    // Two containers are there before.
    assert_eq!(number, 1021);
}
