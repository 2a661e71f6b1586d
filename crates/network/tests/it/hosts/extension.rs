//! A network of two bridges: `one` and `two` are at br-a, `four` and `five` at its extension. Everything holds with and
//! without br_netfilter, which shows the packet filter what crosses bridges.

use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;

use netlink::Socket;
use netlink::route::{LinkChange, MacAddress, Neighbour, Target, add_neighbour, change_link};
use network::extension::{self, Names, Settings};
use network::firewall::{EndpointFacts, ExtensionFacts};
use network::{address, endpoint};
use sys::netlink::Family;

use super::{
    Host, MACHINE, ONE, OUTSIDE, PATIENCE, Server, THREE, TWO, World, cable, sends_with_its_own_only, tcp,
};

const FOUR: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 4);
const FIVE: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 5);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 1);
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x77]);

struct Wide {
    world: World,
    four: Host,
    five: Host,
}

impl Wide {
    /// `None` where the kernel has no br_netfilter to switch on.
    fn new(br_netfilter: bool, talking: bool) -> Option<Self> {
        let mut world = World::new();
        for parameter in ["iptables", "ip6tables", "arptables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{parameter}");
            let value: &[u8] = if br_netfilter { b"1" } else { b"0" };
            let is_set = world.machine.inside(|| {
                let file = std::fs::OpenOptions::new().write(true).open(path);
                file.map(|mut file| file.write_all(value).unwrap()).is_ok()
            });
            if br_netfilter && !is_set {
                return None;
            }
        }
        if !talking {
            world.state.networks[0].talking = false;
            let mut machine = world.machine.route();
            for (port, address) in [("veth50-2", ONE), ("veth50-3", TWO)] {
                endpoint::leave(&mut machine, port).unwrap();
                world.state.endpoints.retain(|facts| facts.port != port);
                world.apply();
                world.plug("br-a", address, false);
            }
        }
        world.extend(talking);
        let facts = ExtensionFacts {
            extension: names().extension,
            upper: names().upper,
        };
        world.machine.change_filter(&world.firewall.add_extension(&facts));
        world.state.extensions.push(facts);
        let mut wide = Self {
            world,
            four: Host::new(),
            five: Host::new(),
        };
        wide.plug(FOUR, talking);
        wide.plug(FIVE, talking);
        // Whatever one transaction has made of it, all at once makes the same.
        wide.world.apply();
        Some(wide)
    }

    fn plug(&mut self, address: Ipv4Addr, talking: bool) {
        let [a, b, c, d] = address.octets();
        let port = format!("veth{b}-{d}");
        let mac = address::mac_address([0, 0, a, b, c, d]);
        let settings = endpoint::Settings {
            attach: cable(&names().extension, &port, talking),
            interface: "eth0".to_owned(),
            mac: Some(mac.0),
            mtu: None,
            addresses: vec![(address.into(), 24)],
            gateways: vec![GATEWAY.into()],
            routes: Vec::new(),
            sysctls: Default::default(),
            rates: Default::default(),
        };
        let facts = EndpointFacts {
            bridge: "br-a".to_owned(),
            port,
            mac,
            addresses: vec![address.into()],
        };
        let world = &mut self.world;
        world.machine.change_filter(&world.firewall.add_endpoint(&facts));
        let host = if address == FOUR { &self.four } else { &self.five };
        endpoint::join(&mut world.machine.route(), host.as_fd(), &settings).unwrap();
        world.state.endpoints.push(facts);
    }

    /// Returns all containers, those of the extension first.
    fn containers(&self) -> [(&Host, Ipv4Addr); 4] {
        [
            (&self.four, FOUR),
            (&self.five, FIVE),
            (&self.world.one, ONE),
            (&self.world.two, TWO),
        ]
    }
}

impl World {
    fn extend(&self, talking: bool) {
        let settings = Settings {
            bridge: "br-a".to_owned(),
            names: names(),
            mac: MAC,
            mtu: None,
            talking,
        };
        self.machine
            .inside(|| extension::extend(&mut Socket::open(Family::Route).unwrap(), &settings))
            .unwrap();
    }
}

fn names() -> Names {
    Names {
        extension: "bx-a".to_owned(),
        upper: "bu-a".to_owned(),
        lower: "bd-a".to_owned(),
    }
}

/// Both ways of br_netfilter that the kernel has.
fn wide(talking: bool) -> impl Iterator<Item = Wide> {
    [false, true]
        .into_iter()
        .filter_map(move |br_netfilter| Wide::new(br_netfilter, talking))
}

#[test]
fn containers_of_both_bridges_are_on_one_network() {
    for wide in wide(true) {
        let world = &wide.world;
        let outside = Server::start(&world.outside, (OUTSIDE, 80).into(), "outside");
        let own = Server::start(&world.machine, (GATEWAY, 90).into(), "own");
        let three = Server::start(&world.three, (THREE, 80).into(), "three");
        for (server, address) in wide.containers() {
            let listening = Server::start(server, (address, 80).into(), "container");
            for (client, from) in wide.containers() {
                assert_eq!(
                    client.reaches((address, 80), &listening),
                    Some(from.into()),
                    "{from} to {address}"
                );
            }
            assert!(world.machine.reaches((address, 80), &listening).is_some());
            assert!(world.outside.is_kept_from((address, 80), &listening));
            assert!(world.three.is_kept_from((address, 80), &listening));
            assert_eq!(server.reaches((OUTSIDE, 80), &outside), Some(MACHINE.into()));
            assert_eq!(server.reaches((GATEWAY, 90), &own), Some(address.into()));
            assert!(server.is_kept_from((THREE, 80), &three));
        }
    }
}

#[test]
fn published_ports_do_not_tell_the_bridges_apart() {
    for mut wide in wide(true) {
        for (at, address) in [FOUR, ONE].into_iter().enumerate() {
            wide.world.publish(tcp(
                None,
                8080 + u16::try_from(at).unwrap(),
                8080 + u16::try_from(at).unwrap(),
                address,
                80,
            ));
        }
        for (at, (server, address)) in [(&wide.four, FOUR), (&wide.world.one, ONE)]
            .into_iter()
            .enumerate()
        {
            let port = 8080 + u16::try_from(at).unwrap();
            let listening = Server::start(server, (address, 80).into(), "container");
            let world = &wide.world;
            assert_eq!(
                world.outside.reaches((MACHINE, port), &listening),
                Some(OUTSIDE.into())
            );
            assert_eq!(
                world.three.reaches((MACHINE, port), &listening),
                Some(THREE.into())
            );
            for to in [MACHINE, Ipv4Addr::LOCALHOST] {
                assert!(world.machine.reaches((to, port), &listening).is_some(), "{to}");
            }
            for (client, from) in wide.containers() {
                for to in [MACHINE, GATEWAY] {
                    // More than once: what came back by a cable must not mislead the bridge.
                    for _ in 0..3 {
                        assert_eq!(
                            client.reaches((to, port), &listening),
                            Some(GATEWAY.into()),
                            "{from} to {to} port {port}"
                        );
                    }
                }
            }
        }
    }
}

/// NW-03, NW-04 at an extension's ports.
#[test]
fn nw_04_at_an_extension_a_container_sends_with_its_own_addresses_only() {
    for wide in wide(true) {
        sends_with_its_own_only(&wide.world.machine, (&wide.four, FOUR), &[FIVE, ONE]);
    }
}

#[test]
fn containers_that_may_not_talk_are_kept_apart_across_both_bridges() {
    for wide in wide(false) {
        let world = &wide.world;
        let outside = Server::start(&world.outside, (OUTSIDE, 80).into(), "outside");
        for (server, address) in wide.containers() {
            let listening = Server::start(server, (address, 80).into(), "container");
            for (client, from) in wide.containers().into_iter().filter(|(_, from)| *from != address) {
                assert!(
                    client.is_kept_from((address, 80), &listening),
                    "{from} to {address}"
                );
            }
            assert!(world.machine.reaches((address, 80), &listening).is_some());
            assert!(server.reaches((OUTSIDE, 80), &outside).is_some());
        }
    }
}

#[test]
fn nw_02_an_internal_network_of_two_bridges_reaches_nothing_outside() {
    for mut wide in wide(true) {
        wide.world.state.networks[0].internal = true;
        wide.world.apply();
        let outside = Server::start(&wide.world.outside, (OUTSIDE, 80).into(), "outside");
        let four = Server::start(&wide.four, (FOUR, 80).into(), "four");
        assert!(wide.four.is_kept_from((OUTSIDE, 80), &outside));
        assert!(wide.world.one.reaches((FOUR, 80), &four).is_some());
        wide.world.publish(tcp(None, 8080, 8080, FOUR, 80));
        assert!(wide.world.outside.is_kept_from((MACHINE, 8080), &four));
    }
}

/// The machine is reached by the bridge only, although it would answer on any of its links.
#[test]
fn an_extension_itself_is_no_way_to_the_machine_or_through_it() {
    for wide in wide(true) {
        let world = &wide.world;
        let own = Server::start(&world.machine, (GATEWAY, 90).into(), "own");
        let outside = Server::start(&world.outside, (OUTSIDE, 80).into(), "outside");
        assert!(wide.four.reaches((GATEWAY, 90), &own).is_some());
        let mut inside = wide.four.route();
        let eth0 = inside.link(Target::Name("eth0")).unwrap().index;
        let wrong = Neighbour {
            link: eth0,
            address: GATEWAY.into(),
            mac: MAC,
        };
        inside.request(&[add_neighbour(&wrong)]).unwrap();
        assert!(wide.four.is_kept_from((GATEWAY, 90), &own));
        assert!(wide.four.is_kept_from((OUTSIDE, 80), &outside));
    }
}

#[test]
fn a_broadcast_is_heard_once_by_everybody() {
    const ALL: Ipv4Addr = Ipv4Addr::new(10, 50, 0, 255);
    for wide in wide(true) {
        let hosts = [&wide.five, &wide.world.one, &wide.world.machine];
        let receivers = hosts.map(|host| {
            let receiver = host.inside(|| UdpSocket::bind((ALL, 5000)).unwrap());
            receiver.set_read_timeout(Some(PATIENCE)).unwrap();
            receiver
        });
        for sender in [&wide.four, &wide.world.two] {
            sender.inside(|| {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
                socket.set_broadcast(true).unwrap();
                socket.send_to(b"x", (ALL, 5000)).unwrap();
            });
            for receiver in &receivers {
                assert!(receiver.recv_from(&mut [0; 8]).is_ok());
                assert!(receiver.recv_from(&mut [0; 8]).is_err(), "heard twice");
            }
        }
    }
}

#[test]
fn an_extension_is_completed_and_removed_whatever_there_is_of_it() {
    let world = World::new();
    let mut machine = world.machine.route();
    let before = machine.links().unwrap().len();
    extension::retract(&mut machine, &names(), MAC).unwrap();
    world.extend(true);
    world.extend(true);
    assert_eq!(machine.links().unwrap().len(), before + 3);
    // Its cable is pulled out, as by somebody else; then it is gone itself.
    let unplugged = LinkChange {
        master: Some(0),
        ..LinkChange::default()
    };
    machine
        .request(&[change_link(Target::Name("bd-a"), &unplugged)])
        .unwrap();
    world.extend(true);
    let extension = machine.link(Target::Name("bx-a")).unwrap().index;
    assert_eq!(
        machine.link(Target::Name("bd-a")).unwrap().master,
        Some(extension)
    );
    machine
        .request(&[netlink::route::remove_link(Target::Name("bx-a"))])
        .unwrap();
    world.extend(true);
    extension::retract(&mut machine, &names(), MAC).unwrap();
    extension::retract(&mut machine, &names(), MAC).unwrap();
    assert_eq!(machine.links().unwrap().len(), before);
    // What somebody else has made under its name stays, and is not used.
    extension::retract(&mut machine, &names(), MacAddress([2; 6])).unwrap();
    world.extend(true);
    extension::retract(&mut machine, &names(), MacAddress([2; 6])).unwrap();
    assert!(machine.link(Target::Name("bx-a")).is_ok());
    let foreign = Settings {
        bridge: "br-b".to_owned(),
        names: names(),
        mac: MacAddress([2; 6]),
        mtu: None,
        talking: true,
    };
    let error = world
        .machine
        .inside(|| extension::extend(&mut Socket::open(Family::Route).unwrap(), &foreign))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "extend bridge \"br-b\": there is an interface \"bx-a\" already"
    );
}
