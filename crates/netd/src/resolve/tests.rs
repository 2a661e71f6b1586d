use netd_api::message::{Container, Name, NameChange, Network};
use proptest::prelude::*;

use super::*;
use crate::wire::tests::query;

fn name(name: &str, addresses: &[&str], reverse: bool) -> Name {
    Name {
        name: name.to_owned(),
        addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        reverse,
    }
}

fn network(id: &str, internal: bool, names: Vec<Name>) -> Network {
    Network {
        id: id.to_owned(),
        name: format!("Net-{id}"),
        internal,
        names,
    }
}

fn networks() -> Networks {
    let mut networks = Networks::default();
    networks.set(network(
        "a",
        false,
        vec![
            name("Web", &["10.0.0.2"], true),
            name("alias", &["10.0.0.2", "10.0.0.3", "10.0.0.4", "fd00::4"], false),
            name("six", &["fd00::6"], true),
            name("dotted.name", &["10.0.0.7"], true),
        ],
    ));
    networks.set(network(
        "b",
        true,
        vec![
            name("web", &["10.1.0.2", "fd01::2"], true),
            name("hidden", &["10.1.0.3"], true),
        ],
    ));
    networks
}

fn container(networks: &[&str]) -> Container {
    Container {
        id: "c".to_owned(),
        networks: networks.iter().map(|&id| id.to_owned()).collect(),
        names: vec![name("link", &["10.0.0.9"], false)],
        upstreams: None,
        forwards: true,
        keeps_single_labels: false,
    }
}

/// What an answer says: its code and its records' data; or that it is asked elsewhere.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Records(Vec<String>),
    Code(u8),
    Elsewhere,
}

fn records(addresses: &[&str]) -> Said {
    Said::Records(addresses.iter().map(|&address| address.to_owned()).collect())
}

fn ask(directory: &Directory, networks: &Networks, asked: &str, kind: u16) -> Said {
    let packet = query(asked, kind, None);
    let mut out = [0; wire::UDP_LIMIT];
    let length = match answer(&packet, Transport::Udp, Some(directory), networks, &mut out) {
        Outcome::Answer(length) => length,
        Outcome::Forward(_) => return Said::Elsewhere,
        Outcome::Silence => panic!("silence"),
    };
    if out[3] & 15 != 0 {
        return Said::Code(out[3] & 15);
    }
    let mut at = packet.len();
    let mut found = Vec::new();
    while at < length {
        assert_eq!(out[at..at + 2], [0xc0, 12]);
        let kind = wire::number(&out, at + 2).unwrap();
        let size = usize::from(wire::number(&out, at + 10).unwrap());
        let data = &out[at + 12..at + 12 + size];
        found.push(match kind {
            A => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
            AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
            _ => String::from_utf8_lossy(data).into_owned(),
        });
        at += 12 + size;
    }
    assert_eq!(at, length);
    Said::Records(found)
}

#[test]
fn names_are_found_in_order_of_the_networks() {
    let networks = networks();
    let directory = Directory::new(container(&["a", "b"]));
    let ask = |name, kind| ask(&directory, &networks, name, kind);
    assert_eq!(ask("web", A), records(&["10.0.0.2"]));
    assert_eq!(ask("WEB.", A), records(&["10.0.0.2"]));
    // The first network that has this family.
    assert_eq!(ask("web", AAAA), records(&["fd01::2"]));
    assert_eq!(ask("web.net-b", A), records(&["10.1.0.2"]));
    assert_eq!(ask("web.NET-A", AAAA), records(&[]));
    assert_eq!(ask("dotted.name", A), records(&["10.0.0.7"]));
    assert_eq!(ask("dotted.name.net-a", A), records(&["10.0.0.7"]));
    assert_eq!(ask("link", A), records(&["10.0.0.9"]));
    assert_eq!(ask("six", A), records(&[]));
    // A known name has no other records; an unknown one is another's matter.
    assert_eq!(ask("web", 15), records(&[]));
    // Services are always another's matter.
    for service in ["web", "_http._tcp.web", "_http._tcp.web.net-a", "link"] {
        assert_eq!(ask(service, SRV), Said::Elsewhere, "{service}");
    }
    assert_eq!(ask("nobody", A), Said::Elsewhere);
    assert_eq!(ask("web.net-c", A), Said::Elsewhere);
    assert_eq!(ask("hidden.net-a", A), Said::Elsewhere);
}

#[test]
fn a_network_that_it_is_not_in_is_not_known() {
    let networks = networks();
    let directory = Directory::new(container(&["a"]));
    for name in ["hidden", "hidden.net-b", "web.net-b"] {
        assert_eq!(ask(&directory, &networks, name, A), Said::Elsewhere);
    }
    let hidden = "3.0.1.10.in-addr.arpa";
    assert_eq!(ask(&directory, &networks, hidden, PTR), Said::Elsewhere);
}

#[test]
fn addresses_take_turns() {
    let networks = networks();
    let directory = Directory::new(container(&["a"]));
    for expected in [
        ["10.0.0.2", "10.0.0.3", "10.0.0.4"],
        ["10.0.0.3", "10.0.0.4", "10.0.0.2"],
        ["10.0.0.4", "10.0.0.2", "10.0.0.3"],
        ["10.0.0.2", "10.0.0.3", "10.0.0.4"],
    ] {
        assert_eq!(ask(&directory, &networks, "alias", A), records(&expected));
        // The other family's turn is its own.
        assert_eq!(ask(&directory, &networks, "alias", AAAA), records(&["fd00::4"]));
    }
}

#[test]
fn addresses_have_names() {
    let networks = networks();
    let directory = Directory::new(container(&["a", "b"]));
    let ask = |name: &str| ask(&directory, &networks, name, PTR);
    assert_eq!(ask("2.0.0.10.in-addr.arpa"), records(&["\u{3}web\u{5}net-a\0"]));
    assert_eq!(
        ask("7.0.0.10.IN-ADDR.arpa"),
        records(&["\u{6}dotted\u{4}name\u{5}net-a\0"])
    );
    let six = "6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    assert_eq!(ask(six), records(&["\u{3}six\u{5}net-a\0"]));
    for other in [
        "3.0.0.10.in-addr.arpa",
        "2.0.0.10.ip6.arpa",
        "10.in-addr.arpa",
        "1.2.0.0.10.in-addr.arpa",
        "+2.0.0.10.in-addr.arpa",
        "web",
    ] {
        assert_eq!(ask(other), Said::Elsewhere, "{other}");
    }
}

#[test]
fn an_internal_network_asks_nobody() {
    let mut networks = networks();
    let failure = Said::Code(2);
    for container in [
        container(&["b"]),
        container(&[]),
        container(&["not there"]),
        Container {
            forwards: false,
            ..container(&["a"])
        },
    ] {
        let directory = Directory::new(container);
        for kind in [A, AAAA, PTR, 15, 16, 33, 255] {
            assert_eq!(ask(&directory, &networks, "example.com", kind), failure);
        }
    }
    // One way out is enough, and a changed network counts at once.
    let directory = Directory::new(container(&["b", "a"]));
    assert_eq!(ask(&directory, &networks, "example.com", A), Said::Elsewhere);
    networks.set(network("a", true, Vec::new()));
    assert_eq!(ask(&directory, &networks, "example.com", A), failure);
}

#[test]
fn single_labels_may_stay() {
    let networks = networks();
    let directory = Directory::new(Container {
        keeps_single_labels: true,
        ..container(&["a"])
    });
    assert_eq!(ask(&directory, &networks, "nobody", A), records(&[]));
    assert_eq!(ask(&directory, &networks, "nobody", 15), Said::Elsewhere);
    assert_eq!(ask(&directory, &networks, "nobody.org", A), Said::Elsewhere);
}

#[test]
fn nothing_is_known_before_it_was_said() {
    let packet = query("web", A, None);
    let mut out = [0; wire::UDP_LIMIT];
    let outcome = answer(&packet, Transport::Udp, None, &networks(), &mut out);
    assert!(matches!(outcome, Outcome::Answer(21)), "{outcome:?}");
    assert_eq!(out[3] & 15, 2);
}

#[test]
fn names_come_and_go() {
    let mut networks = networks();
    let directory = Directory::new(container(&["a"]));
    let change = |name: &str, address: &str| NameChange {
        network: "a".to_owned(),
        name: name.to_owned(),
        address: address.parse().unwrap(),
        reverse: true,
    };
    for _ in 0..2 {
        assert!(networks.add_name(&change("New", "10.0.0.20")));
    }
    assert!(networks.add_name(&change("web", "10.0.0.21")));
    assert_eq!(ask(&directory, &networks, "new", A), records(&["10.0.0.20"]));
    for _ in 0..2 {
        networks.remove_name(&change("new", "10.0.0.20"));
        networks.remove_name(&change("web", "10.0.0.2"));
    }
    assert_eq!(ask(&directory, &networks, "new", A), Said::Elsewhere);
    assert_eq!(ask(&directory, &networks, "web", A), records(&["10.0.0.21"]));
    let reverse = "20.0.0.10.in-addr.arpa";
    assert_eq!(ask(&directory, &networks, reverse, PTR), Said::Elsewhere);
    let mut elsewhere = change("new", "10.0.0.20");
    elsewhere.network = "none".to_owned();
    assert!(!networks.add_name(&elsewhere));
}

#[test]
fn many_addresses_need_tcp() {
    let mut networks = Networks::default();
    let addresses: Vec<String> = (0..1000)
        .map(|number| format!("10.2.{}.{}", number / 250, number % 250))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(|address| &**address).collect();
    networks.set(network("a", false, vec![name("many", &addresses, false)]));
    let directory = Directory::new(container(&["a"]));
    let packet = query("many", A, None);
    let mut out = vec![0; wire::TCP_LIMIT];
    let mut length = |transport| match answer(&packet, transport, Some(&directory), &networks, &mut out) {
        Outcome::Answer(length) => (length, out[2] & 2),
        other => panic!("{other:?}"),
    };
    assert_eq!(length(Transport::Udp), (22 + 16 * 30, 2));
    assert_eq!(length(Transport::Tcp), (22 + 16 * 1000, 0));
}

proptest! {
    /// Whatever a client sends, the answer fits its transport.
    #[test]
    fn nw_08_answers_fit(packet in prop::collection::vec(any::<u8>(), 12..300), edns in any::<u16>(), pick in 0..5usize) {
        let networks = networks();
        let directory = Directory::new(container(&["a", "b"]));
        let names = ["alias", "web", "2.0.0.10.in-addr.arpa", "six", "other"];
        let mut asked = query(names[pick], if pick == 2 { PTR } else { A }, Some(edns));
        // The packet's bytes change some of the query's.
        for pair in packet.chunks(2).take(3) {
            let at = usize::from(pair[0]) % (asked.len() * 4);
            if let (Some(byte), Some(value)) = (asked.get_mut(at), pair.get(1)) {
                *byte = *value;
            }
        }
        for bytes in [&asked, &packet] {
            let mut out = vec![0xee; wire::UDP_LIMIT];
            if let Outcome::Answer(length) = answer(bytes, Transport::Udp, Some(&directory), &networks, &mut out) {
                prop_assert!((wire::HEADER..=wire::UDP_LIMIT).contains(&length));
                prop_assert_eq!(&out[..2], &bytes[..2]);
                prop_assert!(out[length..].iter().all(|&byte| byte == 0xee));
            }
        }
    }
}
