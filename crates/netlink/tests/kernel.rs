//! What the messages do, told by `ip`, `nft` and `tc`, and by packets that pass or do not. Each test has network
//! namespaces of its own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::Duration;

use base::error::{Kind, Kinded};
use netlink::nft::{
    self, BaseChain, Chain, ChainType, Comparison, Conntrack, Element, ElementData, Expression, Hook, Meta,
    Nat, Payload, Policy, Register, Rule, Set, SetData, Table, Verdict, key,
};
use netlink::route::{
    Address, BridgePort, LinkChange, LinkKind, MacAddress, Neighbour, NewLink, Route, Target, add_address,
    add_link, add_neighbour, add_route, change_bridge_port, change_link, remove_link,
};
use netlink::shape::{TokenBucket, redirect_incoming, shape};
use netlink::{NetlinkError, Socket};
use serde_json::Value;
use sys::netlink::Family;

/// A network namespace.
struct Namespace(OwnedFd);

impl Namespace {
    fn new() -> Self {
        let made = std::thread::spawn(|| {
            sys::namespace::unshare(sys::clone::CloneFlags::NEWNET).unwrap();
            sys::net::loopback_up().unwrap();
            OwnedFd::from(std::fs::File::open("/proc/thread-self/ns/net").unwrap())
        });
        Self(made.join().unwrap())
    }

    fn route(&self) -> Socket {
        Socket::open_in(Family::Route, self.0.as_fd()).unwrap()
    }

    fn filter(&self) -> Socket {
        Socket::open_in(Family::Netfilter, self.0.as_fd()).unwrap()
    }

    /// Does something inside.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                sys::namespace::setns(self.0.as_fd(), sys::clone::CloneFlags::NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// Runs a program inside that prints JSON.
    fn json(&self, program: &str, arguments: &[&str]) -> Option<Value> {
        let output = self.inside(|| Command::new(program).args(arguments).output());
        let output = match output {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            output => output.unwrap(),
        };
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        Some(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }
}

fn link<'a>(name: &'a str, kind: LinkKind<'a>) -> NewLink<'a> {
    NewLink {
        name,
        kind,
        settings: LinkChange {
            up: Some(true),
            ..LinkChange::default()
        },
    }
}

const BRIDGE: LinkKind<'static> = LinkKind::Bridge {
    multicast_snooping: false,
};

fn index(socket: &mut Socket, name: &str) -> u32 {
    socket.link(Target::Name(name)).unwrap().index
}

/// A bridge with an address in one namespace, and a container's end of a cable in another.
struct Net {
    host: Namespace,
    container: Namespace,
}

const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const CONTAINER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

impl Net {
    fn new() -> Self {
        let (host, container) = (Namespace::new(), Namespace::new());
        let mut socket = host.route();
        socket.request(&[add_link(&link("br0", BRIDGE))]).unwrap();
        let bridge = index(&mut socket, "br0");
        let peer = NewLink {
            name: "eth0",
            kind: BRIDGE,
            settings: LinkChange {
                namespace: Some(container.0.as_fd()),
                mtu: Some(1400),
                mac: Some(MacAddress([2, 0, 0, 0, 0, 9])),
                ..LinkChange::default()
            },
        };
        let mut veth = link("veth0", LinkKind::Veth { peer: Box::new(peer) });
        veth.settings.master = Some(bridge);
        let address = Address {
            link: bridge,
            address: HOST.into(),
            prefix: 24,
        };
        socket.request(&[add_link(&veth), add_address(&address)]).unwrap();
        let mut inside = container.route();
        let eth0 = index(&mut inside, "eth0");
        let up = LinkChange {
            up: Some(true),
            ..LinkChange::default()
        };
        let everywhere = Route {
            destination: Ipv4Addr::UNSPECIFIED.into(),
            prefix: 0,
            gateway: Some(HOST.into()),
            link: Some(eth0),
            source: None,
            metric: None,
            on_link: false,
        };
        inside
            .request(&[
                change_link(Target::Index(eth0), &up),
                add_address(&Address {
                    link: eth0,
                    address: CONTAINER.into(),
                    prefix: 24,
                }),
                add_route(&everywhere),
            ])
            .unwrap();
        Self { host, container }
    }
}

/// Sends one datagram and returns whether it arrives.
fn reaches(from: &Namespace, to: &Namespace, address: SocketAddr) -> bool {
    let receiver = to.inside(|| UdpSocket::bind(SocketAddr::new(address.ip(), address.port())).unwrap());
    receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    from.inside(|| {
        let sender = UdpSocket::bind("0.0.0.0:0").unwrap();
        // A filter that drops what is sent says so here.
        drop(sender.send_to(b"hello", address));
    });
    receiver.recv(&mut [0; 16]).is_ok()
}

#[test]
fn a_container_reaches_its_host_over_a_bridge() {
    let net = Net::new();
    assert!(reaches(
        &net.container,
        &net.host,
        SocketAddr::new(HOST.into(), 7000)
    ));
    assert!(reaches(
        &net.host,
        &net.container,
        SocketAddr::new(CONTAINER.into(), 7000)
    ));

    let mut inside = net.container.route();
    let links = inside.links().unwrap();
    let eth0 = links.iter().find(|link| link.name == "eth0").unwrap();
    assert_eq!(eth0.mac, Some(MacAddress([2, 0, 0, 0, 0, 9])));
    assert_eq!(
        (eth0.mtu, eth0.up, eth0.kind.as_deref()),
        (1400, true, Some("veth"))
    );
    assert!(eth0.statistics.sent_packets > 0 && eth0.statistics.received_bytes > 0);
    let addresses = inside.addresses().unwrap();
    assert!(addresses.contains(&Address {
        link: eth0.index,
        address: CONTAINER.into(),
        prefix: 24
    }));
    let routes = inside.routes().unwrap();
    let default = routes
        .iter()
        .find(|route| route.prefix == 0 && route.gateway.is_some())
        .unwrap();
    assert_eq!(
        (default.gateway, default.link),
        (Some(HOST.into()), Some(eth0.index))
    );

    let shown = net.host.json("ip", &["-j", "-d", "link", "show", "veth0"]);
    if let Some(shown) = shown {
        assert_eq!(shown[0]["master"], "br0");
        assert_eq!(shown[0]["linkinfo"]["info_slave_data"]["state"], "forwarding");
    }
    let shown = net.host.json("ip", &["-j", "address", "show", "br0"]);
    if let Some(shown) = shown {
        assert_eq!(shown[0]["addr_info"][0]["broadcast"], "10.9.0.255");
    }
}

#[test]
fn ports_of_a_bridge_are_isolated_and_neighbours_known() {
    let net = Net::new();
    let mut socket = net.host.route();
    let port = index(&mut socket, "veth0");
    let bridge = index(&mut socket, "br0");
    let settings = BridgePort {
        hairpin: true,
        isolated: true,
        learning: false,
        flood: false,
    };
    let neighbour = Neighbour {
        link: bridge,
        address: CONTAINER.into(),
        mac: MacAddress([2, 0, 0, 0, 0, 9]),
    };
    socket
        .request(&[
            change_bridge_port(Target::Index(port), &settings, &LinkChange::default()),
            add_neighbour(&neighbour),
        ])
        .unwrap();
    assert_eq!(socket.neighbours().unwrap(), [neighbour]);
    if let Some(shown) = net.host.json("ip", &["-j", "-d", "link", "show", "veth0"]) {
        let data = &shown[0]["linkinfo"]["info_slave_data"];
        assert_eq!(
            (&data["hairpin"], &data["isolated"]),
            (&Value::Bool(true), &Value::Bool(true))
        );
        assert_eq!(
            (&data["learning"], &data["flood"]),
            (&Value::Bool(false), &Value::Bool(false))
        );
    }
}

#[test]
fn a_failure_names_its_message_and_the_others_are_done() {
    let namespace = Namespace::new();
    let mut socket = namespace.route();
    let messages = [
        add_link(&link("one", BRIDGE)),
        add_link(&link("one", BRIDGE)),
        add_link(&link("two", BRIDGE)),
    ];
    let error = socket.request(&messages).unwrap_err();
    assert!(
        matches!(&error, NetlinkError::Refused { doing, .. } if doing == "add link \"one\""),
        "{error}"
    );
    assert_eq!((error.kind(), error.is_present()), (Kind::Conflict, true));
    assert!(socket.links().unwrap().iter().any(|link| link.name == "two"));

    let error = socket.request(&[remove_link(Target::Name("three"))]).unwrap_err();
    assert_eq!((error.kind(), error.is_absent()), (Kind::NotFound, true));
    let long = "a-name-of-sixteen";
    let error = socket.request(&[add_link(&link(long, BRIDGE))]).unwrap_err();
    assert!(matches!(error, NetlinkError::Refused { .. }), "{error}");
    assert!(socket.link(Target::Name("three")).unwrap_err().is_absent());
    assert!(socket.link(Target::Index(9999)).unwrap_err().is_absent());
    // The socket goes on after errors.
    socket.request(&[remove_link(Target::Name("two"))]).unwrap();
}

#[test]
fn hundreds_of_messages_are_answered() {
    let namespace = Namespace::new();
    let mut socket = namespace.route();
    let names: Vec<String> = (0..300).map(|number| format!("br{number}")).collect();
    let messages: Vec<_> = names.iter().map(|name| add_link(&link(name, BRIDGE))).collect();
    socket.request(&messages).unwrap();
    assert_eq!(socket.links().unwrap().len(), 301);
}

const TABLE: Table<'static> = Table {
    family: nft::Family::Inet,
    name: "berth-test",
};

fn chain(name: &str) -> Chain<'_> {
    Chain { table: TABLE, name }
}

fn base(kind: ChainType, hook: Hook<'static>, priority: i32) -> BaseChain<'static> {
    BaseChain {
        kind,
        hook,
        priority,
        policy: Policy::Accept,
    }
}

fn is_ipv4() -> [Expression; 2] {
    [
        Expression::Meta(Meta::Protocol, Register::FIRST),
        Expression::Compare(Register::FIRST, Comparison::Equal, vec![2]),
    ]
}

/// `map pub { type inet_proto . inet_service : ipv4_addr . inet_service; flags interval }` and the rule that uses it.
fn publishing() -> Vec<netlink::Message> {
    let map = Set {
        table: TABLE,
        name: "pub",
        key: &[key::PROTOCOL, key::PORT],
        ranges: true,
        data: SetData::Value(&[key::IPV4, key::PORT]),
    };
    let at = Register::FIRST;
    let mut translate = is_ipv4().to_vec();
    translate.extend([
        Expression::Meta(Meta::Transport, at),
        Expression::Payload(Payload::Transport, 2, 2, at.after(4)),
        Expression::LookupValue {
            map: "pub".to_owned(),
            key: at,
            value: at,
        },
        Expression::Counter,
        Expression::Nat(Nat {
            source: false,
            family: nft::Family::Ip,
            address: Some(at),
            port: Some(at.after(4)),
        }),
    ]);
    vec![
        nft::add_table(TABLE),
        nft::add_chain(chain("output"), Some(&base(ChainType::Nat, Hook::Output, -100))),
        nft::add_set(&map),
        nft::add_rule(&Rule {
            chain: chain("output"),
            expressions: &translate,
            comment: "published ports",
        }),
    ]
}

fn published(first: u16, last: u16, to: Ipv4Addr, port: u16) -> Element {
    Element {
        key: vec![vec![6], first.to_be_bytes().to_vec()],
        last: Some(vec![vec![6], last.to_be_bytes().to_vec()]),
        data: ElementData::Value(vec![to.octets().to_vec(), port.to_be_bytes().to_vec()]),
    }
}

#[test]
fn a_map_publishes_a_port() {
    let net = Net::new();
    let mut filter = net.host.filter();
    let mut messages = publishing();
    messages.extend(nft::add_elements(
        TABLE,
        "pub",
        &[published(8080, 8090, CONTAINER, 80)],
    ));
    filter.request(&messages).unwrap();

    let listener = net
        .container
        .inside(|| TcpListener::bind((CONTAINER, 80)).unwrap());
    let client = net.host.inside(|| TcpStream::connect((HOST, 8085)).unwrap());
    let (_server, peer) = listener.accept().unwrap();
    assert_eq!(peer.port(), client.local_addr().unwrap().port());

    filter
        .request(&nft::remove_elements(
            TABLE,
            "pub",
            &[published(8080, 8090, CONTAINER, 80)],
        ))
        .unwrap();
    let refused = net.host.inside(|| TcpStream::connect((HOST, 8085))).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    if let Some(shown) = net
        .host
        .json("nft", &["-j", "list", "map", "inet", "berth-test", "pub"])
    {
        let map = &shown["nftables"][1]["map"];
        assert_eq!(
            map["type"],
            serde_json::json!(["inet_proto", "inet_service"]),
            "{shown}"
        );
    }
}

#[test]
fn rules_drop_what_they_say() {
    let net = Net::new();
    let mut filter = net.host.filter();
    let link_name = |name: &str| {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(16, 0);
        bytes
    };
    let set = Set {
        table: TABLE,
        name: "closed",
        key: &[key::PORT],
        ranges: false,
        data: SetData::None,
    };
    let at = Register::FIRST;
    let rule = [
        Expression::Meta(Meta::InputName, at),
        Expression::Compare(at, Comparison::Equal, link_name("br0")),
        Expression::Meta(Meta::Transport, at),
        Expression::Compare(at, Comparison::Equal, vec![17]),
        Expression::Payload(Payload::Transport, 2, 2, at),
        Expression::Lookup {
            set: "closed".to_owned(),
            key: at,
            inverted: false,
        },
        Expression::Counter,
        Expression::Verdict(Verdict::Drop),
    ];
    let established = [
        Expression::Conntrack(Conntrack::State, at),
        Expression::Mask(
            at,
            (nft::ct_state::ESTABLISHED | nft::ct_state::RELATED)
                .to_ne_bytes()
                .to_vec(),
        ),
        Expression::Compare(at, Comparison::NotEqual, vec![0; 4]),
        Expression::Verdict(Verdict::Accept),
    ];
    let jump = [Expression::Verdict(Verdict::Jump("closing".to_owned()))];
    let mut messages = vec![
        nft::add_table(TABLE),
        nft::add_chain(chain("input"), Some(&base(ChainType::Filter, Hook::Input, 0))),
        nft::add_chain(chain("closing"), None),
        nft::add_set(&set),
    ];
    for (name, expressions, comment) in [
        ("closing", &rule[..], "closed ports"),
        ("input", &established[..], "known connections"),
        ("input", &jump[..], ""),
    ] {
        messages.push(nft::add_rule(&Rule {
            chain: chain(name),
            expressions,
            comment,
        }));
    }
    let closed = Element {
        key: vec![7001_u16.to_be_bytes().to_vec()],
        last: None,
        data: ElementData::None,
    };
    messages.extend(nft::add_elements(TABLE, "closed", std::slice::from_ref(&closed)));
    filter.request(&messages).unwrap();
    assert!(!reaches(
        &net.container,
        &net.host,
        SocketAddr::new(HOST.into(), 7001)
    ));
    assert!(reaches(
        &net.container,
        &net.host,
        SocketAddr::new(HOST.into(), 7002)
    ));
    filter.request(&[nft::flush_set(TABLE, "closed")]).unwrap();
    assert!(reaches(
        &net.container,
        &net.host,
        SocketAddr::new(HOST.into(), 7001)
    ));

    let shown = net.host.inside(|| {
        Command::new("nft")
            .args(["list", "table", "inet", "berth-test"])
            .output()
    });
    if let Ok(shown) = shown {
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        for line in [
            "type inet_service",
            "iifname \"br0\" udp dport @closed counter packets 1 bytes 33 drop comment \"closed ports\"",
            "ct state established,related accept comment \"known connections\"",
            "jump closing",
            "type filter hook input priority filter; policy accept;",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
    filter.request(&[nft::remove_table(TABLE, false)]).unwrap();
    let error = filter.request(&[nft::remove_table(TABLE, false)]).unwrap_err();
    assert!(error.is_absent(), "{error}");
}

#[test]
fn a_transaction_is_done_whole_or_not_at_all() {
    let namespace = Namespace::new();
    let mut filter = namespace.filter();
    let mut messages = publishing();
    messages.extend(nft::add_elements(
        TABLE,
        "missing",
        &[published(1, 1, CONTAINER, 1)],
    ));
    let error = filter.request(&messages).unwrap_err();
    assert!(
        matches!(&error, NetlinkError::Refused { doing, .. } if doing == "add elements of \"missing\""),
        "{error}"
    );
    let gone = filter.request(&[nft::remove_table(TABLE, false)]).unwrap_err();
    assert!(
        gone.is_absent(),
        "the table was made by a transaction that failed"
    );
}

#[test]
fn ten_thousand_ports_are_one_transaction() {
    let namespace = Namespace::new();
    let mut filter = namespace.filter();
    let elements: Vec<Element> = (0..10_000_u16)
        .map(|number| published(20_000 + number, 20_000 + number, CONTAINER, number))
        .collect();
    let mut messages = publishing();
    messages.extend(nft::add_elements(TABLE, "pub", &elements));
    filter.request(&messages).unwrap();
    // One that is there with other data is refused; the same again is not.
    let other = [published(20_000, 20_000, HOST, 9)];
    assert!(
        filter
            .request(&nft::add_elements(TABLE, "pub", &other))
            .unwrap_err()
            .is_present()
    );
    filter
        .request(&nft::remove_elements(TABLE, "pub", &elements[..9_999]))
        .unwrap();
    if let Some(shown) = namespace.json("nft", &["-j", "list", "map", "inet", "berth-test", "pub"]) {
        let elements = shown["nftables"][1]["map"]["elem"].as_array().unwrap();
        assert_eq!(elements.len(), 1, "{shown}");
    }
}

#[test]
fn links_are_shaped_in_both_directions() {
    let net = Net::new();
    let mut socket = net.host.route();
    let ifb = NewLink {
        settings: LinkChange {
            up: Some(true),
            ..LinkChange::default()
        },
        ..link("ifb7", LinkKind::Ifb)
    };
    socket.request(&[add_link(&ifb)]).unwrap();
    let (veth, ifb) = (index(&mut socket, "veth0"), index(&mut socket, "ifb7"));
    let bucket = TokenBucket {
        rate: 1_000_000,
        burst: 32 << 10,
        limit: 128 << 10,
    };
    let mut messages = vec![shape(veth, &bucket), shape(ifb, &bucket)];
    messages.extend(redirect_incoming(veth, ifb));
    socket.request(&messages).unwrap();
    assert!(reaches(
        &net.container,
        &net.host,
        SocketAddr::new(HOST.into(), 7003)
    ));
    let sent = socket
        .links()
        .unwrap()
        .into_iter()
        .find(|link| link.index == ifb)
        .unwrap();
    assert!(
        sent.statistics.sent_packets > 0,
        "nothing went through the ifb link"
    );
    // Changed while it is in use.
    let faster = TokenBucket {
        rate: 5_000_000_000,
        ..bucket
    };
    socket.request(&[shape(veth, &faster)]).unwrap();
    if let Some(shown) = net.host.json("tc", &["-j", "qdisc", "show", "dev", "ifb7"]) {
        assert_eq!(shown[0]["options"]["rate"], 1_000_000, "{shown}");
        assert_eq!(shown[0]["options"]["burst"], 32 << 10, "{shown}");
    }
    if let Some(shown) = net.host.json("tc", &["-j", "qdisc", "show", "dev", "veth0"]) {
        assert_eq!(shown[0]["options"]["rate"], 5_000_000_000_u64, "{shown}");
    }
}

#[test]
fn addresses_of_both_families() {
    let namespace = Namespace::new();
    let mut socket = namespace.route();
    socket.request(&[add_link(&link("br0", BRIDGE))]).unwrap();
    let bridge = index(&mut socket, "br0");
    let wanted: Vec<Address> = [
        ("10.1.2.3", 31),
        ("10.1.3.3", 16),
        ("fd00::1", 64),
        ("10.9.9.9", 32),
    ]
    .map(|(address, prefix)| Address {
        link: bridge,
        address: address.parse::<IpAddr>().unwrap(),
        prefix,
    })
    .to_vec();
    socket
        .request(&wanted.iter().map(add_address).collect::<Vec<_>>())
        .unwrap();
    let present = socket.addresses().unwrap();
    assert!(
        wanted.iter().all(|address| present.contains(address)),
        "{present:?}"
    );
    let removed: Vec<_> = wanted.iter().map(netlink::route::remove_address).collect();
    socket.request(&removed).unwrap();
    assert!(
        socket
            .addresses()
            .unwrap()
            .iter()
            .all(|address| !wanted.contains(address))
    );
}

#[test]
fn what_others_remove_is_told_with_who_did_it() {
    use netlink::nft::{Family as TableFamily, Removal, Table, Watch, add_table, remove_table};
    let namespace = Namespace::new();
    let mut watch = namespace.inside(|| Watch::open().unwrap());
    assert_eq!(watch.removals().unwrap(), Some(Vec::new()));
    let (mut own, mut other) = (namespace.filter(), namespace.filter());
    let table = Table {
        family: TableFamily::Inet,
        name: "watched",
    };
    own.request(&[add_table(table)]).unwrap();
    assert_eq!(watch.removals().unwrap(), Some(Vec::new()));
    other.request(&[remove_table(table, false)]).unwrap();
    let removal = Removal {
        table: "watched".to_owned(),
        by: other.port().unwrap(),
    };
    assert_ne!(own.port().unwrap(), removal.by);
    assert_eq!(watch.removals().unwrap(), Some(vec![removal.clone()]));
    let ear = watch.ear().unwrap();
    ear.cover().unwrap();
    own.request(&[add_table(table)]).unwrap();
    other.request(&[remove_table(table, false)]).unwrap();
    ear.uncover().unwrap();
    assert_eq!(watch.removals().unwrap(), Some(Vec::new()));
    own.request(&[add_table(table)]).unwrap();
    other.request(&[remove_table(table, false)]).unwrap();
    assert_eq!(watch.removals().unwrap(), Some(vec![removal]));
}
