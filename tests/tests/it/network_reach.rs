//! Who reaches what: every publication from every side, with packets, on hosts of the test's own.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use testkit::lab::{CLIENT, CLIENT6, MACHINE, MACHINE6, NEIGHBOUR, NEIGHBOUR6, Protocol, Server};
use testkit::{Daemon, Host, Lab, Start};

/// At which bridges of the network that they share `target` and `peer` are: the first, or the one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Networks have one bridge.
    OneBridge,
    PeerBehind,
    TargetBehind,
    BothBehind,
}

const ACROSS: [Layout; 3] = [Layout::PeerBehind, Layout::TargetBehind, Layout::BothBehind];

impl Layout {
    /// Returns the daemon's arguments: with two ports a bridge has room for one container, with three for two.
    fn arguments(self) -> Vec<String> {
        let ports = match self {
            Self::OneBridge => return Vec::new(),
            Self::PeerBehind | Self::TargetBehind => "2",
            Self::BothBehind => "3",
        };
        vec!["--ports-per-bridge".to_owned(), ports.to_owned()]
    }
}

/// A lab whose machine has a daemon, two networks and three containers.
///
/// ```text
/// x 10.50.0.0/24 fd50::/64   target (published), peer
/// y 10.60.0.0/24 fd60::/64   stranger
/// ```
struct World {
    lab: Lab,
    daemon: Daemon,
    target: Host,
    peer: Host,
    stranger: Host,
}

const TARGET: &str = "10.50.0.9";
const TARGET6: &str = "fd50::9";

/// What `target` publishes; its port 81 is not.
const PUBLISHED: &[&str] = &[
    "8080:80",
    "8080:80/udp",
    "127.0.0.1:8081:80",
    "127.0.0.1:8081:80/udp",
    "[::1]:8081:80",
    "[::1]:8081:80/udp",
    "198.51.100.2:8082:80",
    "198.51.100.2:8082:80/udp",
    "[2001:db8:1::2]:8082:80",
    "[2001:db8:1::2]:8082:80/udp",
];

impl World {
    fn new() -> Result<Self> {
        Self::laid_out(Layout::OneBridge)
    }

    fn laid_out(layout: Layout) -> Result<Self> {
        let lab = Lab::new()?;
        let daemon = Daemon::with_busybox_and(Start {
            host: Some(lab.machine.clone()),
            arguments: layout.arguments(),
            ..Start::default()
        })?;
        for (name, subnet, subnet6) in [
            ("x", "10.50.0.0/24", "fd50::/64"),
            ("y", "10.60.0.0/24", "fd60::/64"),
        ] {
            daemon.ok(&[
                "network", "create", "--ipv6", "--subnet", subnet, "--subnet", subnet6, name,
            ])?;
            // The others know the way to the containers, as a neighbour could who wants to.
            lab.route_to_machine(subnet)?;
            lab.route_to_machine(subnet6)?;
        }
        let mut run = vec![
            "run",
            "-d",
            "--name",
            "target",
            "--network",
            "x",
            "--ip",
            TARGET,
            "--ip6",
            TARGET6,
        ];
        for published in PUBLISHED {
            run.extend(["-p", published]);
        }
        run.extend(["busybox", "sleep", "10000"]);
        let other = |name: &str, network: &str| {
            daemon.ok(&[
                "run",
                "-d",
                "--name",
                name,
                "--network",
                network,
                "busybox",
                "sleep",
                "10000",
            ])
        };
        if layout == Layout::BothBehind {
            other("first", "x")?;
            other("second", "x")?;
        }
        if layout == Layout::TargetBehind {
            other("peer", "x")?;
        }
        daemon.ok(&run)?;
        if layout != Layout::TargetBehind {
            other("peer", "x")?;
        }
        other("stranger", "y")?;
        let behind = lab.machine.ip("-br link show type bridge")?;
        ensure!(
            behind.contains("bx01") == (layout != Layout::OneBridge),
            "{layout:?}: {behind}"
        );
        let target = host_of(&daemon, "target")?;
        let peer = host_of(&daemon, "peer")?;
        let stranger = host_of(&daemon, "stranger")?;
        Ok(Self {
            lab,
            daemon,
            target,
            peer,
            stranger,
        })
    }

    fn source(&self, source: Source) -> &Host {
        match source {
            Source::Machine | Source::Loopback => &self.lab.machine,
            Source::Neighbour => &self.lab.neighbour,
            Source::Client => &self.lab.client,
            Source::Peer => &self.peer,
            Source::Stranger => &self.stranger,
        }
    }
}

/// Returns the host that a container is.
fn host_of(daemon: &Daemon, container: &str) -> Result<Host> {
    let pid = daemon.inspect(container, "{{.State.Pid}}")?.parse()?;
    Host::of_process(pid, container)
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The machine, by its address on its network.
    Machine,
    /// The machine, by its loopback address.
    Loopback,
    /// A host on the machine's network.
    Neighbour,
    /// A host behind a router.
    Client,
    /// A container on the same network.
    Peer,
    /// A container on another network.
    Stranger,
}

const SOURCES: [Source; 6] = [
    Source::Machine,
    Source::Loopback,
    Source::Neighbour,
    Source::Client,
    Source::Peer,
    Source::Stranger,
];

/// Where a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bind {
    /// On all of the machine's addresses.
    Everywhere,
    /// On its loopback address.
    Loopback,
    /// On its address on its network.
    One,
    /// Nowhere: the container's own address is tried.
    Nowhere,
}

const BINDS: [Bind; 4] = [Bind::Everywhere, Bind::Loopback, Bind::One, Bind::Nowhere];

/// One of the 96: address family, where it is published, from where it is tried, protocol.
#[derive(Clone, Copy, Debug)]
struct Cell {
    v6: bool,
    bind: Bind,
    source: Source,
    protocol: Protocol,
}

impl Cell {
    fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for v6 in [false, true] {
            for bind in BINDS {
                for source in SOURCES {
                    for protocol in [Protocol::Tcp, Protocol::Udp] {
                        cells.push(Self {
                            v6,
                            bind,
                            source,
                            protocol,
                        });
                    }
                }
            }
        }
        cells
    }

    /// Returns whether it must be reached; otherwise it must not.
    fn is_open(self) -> bool {
        match self.bind {
            Bind::Everywhere => true,
            Bind::Loopback => self.source == Source::Loopback,
            Bind::One => self.source != Source::Loopback,
            Bind::Nowhere => matches!(self.source, Source::Machine | Source::Peer),
        }
    }

    /// Returns what is tried.
    fn address(self) -> SocketAddr {
        let (v4, v6) = match (self.bind, self.source) {
            (_, Source::Loopback) => ("127.0.0.1", "::1"),
            (Bind::Nowhere, _) => (TARGET, TARGET6),
            _ => (MACHINE, MACHINE6),
        };
        let port = match self.bind {
            Bind::Everywhere => 8080,
            Bind::Loopback => 8081,
            Bind::One => 8082,
            Bind::Nowhere => 81,
        };
        let text = if self.v6 { v6 } else { v4 };
        SocketAddr::new(text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])), port)
    }

    /// Returns the address that the container must see, where it is not left open.
    fn seen(self) -> Option<&'static str> {
        match (self.source, self.v6) {
            (Source::Neighbour, false) => Some(NEIGHBOUR),
            (Source::Neighbour, true) => Some(NEIGHBOUR6),
            (Source::Client, false) => Some(CLIENT),
            (Source::Client, true) => Some(CLIENT6),
            _ => None,
        }
    }
}

/// What answers inside of `target`.
struct Servers(Vec<(bool, Protocol, u16, Server)>);

impl Servers {
    fn start(world: &World) -> Result<Self> {
        let mut servers = Vec::new();
        for (v6, any) in [(false, TARGET), (true, TARGET6)] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for port in [80, 81] {
                    let address = SocketAddr::new(any.parse()?, port);
                    let name = format!("{}-{port}", protocol.as_str());
                    servers.push((v6, protocol, port, world.target.serve(protocol, address, &name)?));
                }
            }
        }
        Ok(Self(servers))
    }

    fn of(&self, cell: Cell) -> Result<&Server> {
        let port = if cell.bind == Bind::Nowhere { 81 } else { 80 };
        let found = self
            .0
            .iter()
            .find(|(v6, protocol, its, _)| (*v6, *protocol, *its) == (cell.v6, cell.protocol, port));
        found.map(|(.., server)| server).context("a server")
    }
}

/// Tries all cells at once and returns those that are wrong.
fn wrong_cells(world: &World, servers: &Servers) -> Result<Vec<String>> {
    std::thread::scope(|scope| {
        let tries: Vec<_> = Cell::all()
            .into_iter()
            .map(|cell| (cell, scope.spawn(move || try_cell(world, servers, cell))))
            .collect();
        let mut wrong = Vec::new();
        for (cell, outcome) in tries {
            match outcome.join() {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(what))) => wrong.push(format!("{cell:?}: {what}")),
                Ok(Err(error)) => return Err(error),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(wrong)
    })
}

fn try_cell(world: &World, servers: &Servers, cell: Cell) -> Result<Option<String>> {
    let (host, server) = (world.source(cell.source), servers.of(cell)?);
    if !cell.is_open() {
        let kept = host.is_kept_from(server, cell.address())?;
        return Ok((!kept).then(|| "was reached".to_owned()));
    }
    Ok(match (host.ask(server, cell.address())?, cell.seen()) {
        (None, _) => Some("was not reached".to_owned()),
        (Some(saw), Some(client)) if saw != client => Some(format!("saw {saw} instead of {client}")),
        (Some(saw), _) if saw.starts_with("127.") || saw == "::1" => Some(format!("saw {saw}")),
        _ => None,
    })
}

/// CVE-2020-8558, CVE-2025-54388: 96 cells of address family, place, source and protocol, at every moment.
#[test]
fn nw_01_every_publication_from_every_side() -> Result<()> {
    every_publication(Layout::OneBridge)
}

/// The same where the containers of a network are at two bridges.
#[test]
fn nw_01_every_publication_across_bridges() -> Result<()> {
    ACROSS.into_iter().try_for_each(every_publication)
}

fn every_publication(layout: Layout) -> Result<()> {
    let mut world = World::laid_out(layout)?;
    let servers = Servers::start(&world)?;
    let check = |world: &World, when: &str| -> Result<()> {
        let wrong = wrong_cells(world, &servers)?;
        ensure!(
            wrong.is_empty(),
            "{layout:?}, {when}: {} of 96 cells are wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        Ok(())
    };
    check(&world, "after the start")?;
    let machine = world.lab.machine.clone();
    // Somebody else's tables come and go; ours are not theirs to flush.
    machine
        .nft("table inet others { chain c { type filter hook forward priority 0; policy accept; }; }\n")?;
    machine.nft("flush table inet others; delete table inet others\n")?;
    check(&world, "after others have reloaded their tables")?;
    world.daemon.kill()?;
    check(&world, "while no daemon runs")?;
    world.daemon.launch()?;
    check(&world, "after the next daemon has started")?;
    drop(servers);
    world.daemon.finish()
}

/// A neighbour sends packets to 127.0.0.1 by the machine's wire: nothing that is bound there is reached.
#[test]
fn nw_01_loopback_addresses_do_not_come_by_wire() -> Result<()> {
    let world = World::new()?;
    let servers = Servers::start(&world)?;
    let own = world
        .lab
        .machine
        .serve(Protocol::Tcp, "127.0.0.1:6000".parse()?, "own")?;
    let cell = Cell {
        v6: false,
        bind: Bind::Loopback,
        source: Source::Neighbour,
        protocol: Protocol::Tcp,
    };
    for (host, link, gateway) in [
        (&world.lab.neighbour, "uplink", MACHINE),
        (&world.peer, "eth0", "10.50.0.1"),
        (&world.stranger, "eth0", "10.60.0.1"),
    ] {
        host.set("net.ipv4.conf.all.route_localnet", "1")?;
        host.ip("addr del 127.0.0.1/8 dev lo")?;
        host.ip(&format!("route add 127.0.0.1/32 via {gateway} dev {link} onlink"))?;
        for port in [8081, 6000] {
            let address = SocketAddr::new("127.0.0.1".parse()?, port);
            let server = if port == 6000 { &own } else { servers.of(cell)? };
            assert!(
                host.is_kept_from(server, address)?,
                "{} reached {address}",
                host.name()
            );
        }
    }
    drop((servers, own));
    world.daemon.finish()
}

/// CVE-2025-54410: networks are kept apart, internal ones from everything; also without a daemon.
#[test]
fn nw_02_networks_are_kept_apart() -> Result<()> {
    kept_apart(Layout::OneBridge)
}

/// The same where each of two containers of a network is at a bridge of its own.
#[test]
fn nw_02_networks_are_kept_apart_across_bridges() -> Result<()> {
    kept_apart(Layout::PeerBehind)
}

fn kept_apart(layout: Layout) -> Result<()> {
    let mut world = World::laid_out(layout)?;
    let daemon = &world.daemon;
    daemon.ok(&[
        "network",
        "create",
        "--internal",
        "--subnet",
        "10.70.0.0/24",
        "inside",
    ])?;
    daemon.ok(&[
        "network",
        "create",
        "--subnet",
        "10.71.0.0/24",
        "-o",
        "com.docker.network.bridge.enable_icc=false",
        "silent",
    ])?;
    for (name, network) in [
        ("i1", "inside"),
        ("i2", "inside"),
        ("s1", "silent"),
        ("s2", "silent"),
    ] {
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            network,
            "busybox",
            "sleep",
            "10000",
        ])?;
    }
    let address = |container: &str, network: &str| -> Result<SocketAddr> {
        let path = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        Ok(SocketAddr::new(daemon.inspect(container, &path)?.parse()?, 80))
    };
    let (i1, i2) = (host_of(daemon, "i1")?, host_of(daemon, "i2")?);
    let (s1, s2) = (host_of(daemon, "s1")?, host_of(daemon, "s2")?);
    let (at_i1, at_s1) = (address("i1", "inside")?, address("s1", "silent")?);
    let at_target = SocketAddr::new(TARGET.parse()?, 80);
    let outside = SocketAddr::new(CLIENT.parse()?, 80);
    let target = world.target.serve(Protocol::Tcp, at_target, "target")?;
    let client = world.lab.client.serve(Protocol::Tcp, outside, "client")?;
    let inner = i1.serve(Protocol::Tcp, at_i1, "i1")?;
    let silent = s1.serve(Protocol::Tcp, at_s1, "s1")?;
    world.lab.route_to_machine("10.70.0.0/24")?;
    for without_daemon in [false, true] {
        if without_daemon {
            world.daemon.kill()?;
        }
        assert!(world.stranger.is_kept_from(&target, at_target)?, "y reaches x");
        assert!(
            world.stranger.ask(&client, outside)?.is_some(),
            "y reaches the outside"
        );
        assert!(
            i2.ask(&inner, at_i1)?.is_some(),
            "an internal network is a network"
        );
        assert!(
            i2.is_kept_from(&client, outside)?,
            "an internal network reaches the outside"
        );
        assert!(
            i2.is_kept_from(&target, at_target)?,
            "an internal network reaches x"
        );
        assert!(
            world.stranger.is_kept_from(&inner, at_i1)?,
            "y reaches an internal network"
        );
        assert!(
            world.lab.neighbour.is_kept_from(&inner, at_i1)?,
            "the outside reaches an internal network"
        );
        assert!(s2.is_kept_from(&silent, at_s1)?, "icc=false lets containers talk");
        assert!(
            s2.ask(&client, outside)?.is_some(),
            "icc=false keeps from the outside"
        );
    }
    drop((target, client, inner, silent));
    world.daemon.launch()?;
    world.daemon.finish()
}

/// CVE-2024-32473, CVE-2020-10749: a network without IPv6 has none of it, and nobody takes routes from a container.
#[test]
fn nw_03_no_ipv6_that_was_not_asked_for() -> Result<()> {
    let world = World::new()?;
    world.daemon.ok(&["network", "create", "four"])?;
    let show = "cat /proc/net/if_inet6 | grep -v ' lo$'; \
        cat /proc/sys/net/ipv6/conf/eth0/accept_ra /proc/sys/net/ipv6/conf/eth0/disable_ipv6; \
        cat /proc/sys/net/ipv4/conf/eth0/proxy_arp";
    let four = world
        .daemon
        .ok(&["run", "--rm", "--network", "four", "busybox", "sh", "-c", show])?;
    assert!(!four.contains("eth0"), "{four}");
    // Without IPv6 the first parameter means nothing.
    let parameters: Vec<&str> = four.lines().skip(1).collect();
    assert_eq!(parameters, ["1", "0"], "{four}");
    let path = "/proc/sys/net/ipv6/conf/eth0/accept_ra";
    assert_eq!(world.daemon.ok(&["exec", "peer", "cat", path])?, "0");
    // On the machine's side of every network.
    for link in world.lab.machine.ip("-br link show type bridge")?.lines() {
        let link = link.split_whitespace().next().context("a link")?;
        for (parameter, value) in [
            (format!("ipv6/conf/{link}/accept_ra"), "0"),
            (format!("ipv4/conf/{link}/proxy_arp"), "0"),
        ] {
            let path = format!("/proc/sys/net/{parameter}");
            let read = world.lab.machine.run(&["cat", &path])?.text()?;
            assert_eq!(read, value, "{parameter}");
        }
    }
    world.daemon.finish()
}

/// CVE-2025-52889, CVE-2025-52890: an address that is not the container's own does not leave it.
#[test]
fn nw_04_containers_send_with_their_own_addresses() -> Result<()> {
    own_addresses_only(Layout::OneBridge)
}

/// The same where the container is at the second bridge of its network.
#[test]
fn nw_04_containers_of_further_bridges_send_with_their_own_addresses() -> Result<()> {
    own_addresses_only(Layout::PeerBehind)
}

fn own_addresses_only(layout: Layout) -> Result<()> {
    let world = World::laid_out(layout)?;
    let outside = SocketAddr::new(CLIENT.parse()?, 80);
    let outside6 = SocketAddr::new(CLIENT6.parse()?, 80);
    let servers = [
        world.lab.client.serve(Protocol::Udp, outside, "client")?,
        world.lab.client.serve(Protocol::Udp, outside6, "client6")?,
    ];
    for (server, address, stolen) in [
        (&servers[0], outside, "10.50.0.200/24"),
        (&servers[1], outside6, "fd50::200/64"),
    ] {
        assert!(world.peer.ask(server, address)?.is_some());
        let own = world.daemon.inspect(
            "peer",
            if address.is_ipv4() {
                "{{.NetworkSettings.Networks.x.IPAddress}}/24"
            } else {
                "{{.NetworkSettings.Networks.x.GlobalIPv6Address}}/64"
            },
        )?;
        let nodad = if address.is_ipv4() { "" } else { "nodad" };
        // An address that is there when the first one goes would go with it.
        world.peer.ip(&format!("addr del {own} dev eth0"))?;
        world.peer.ip(&format!("addr add {stolen} dev eth0 {nodad}"))?;
        let gateway = if address.is_ipv4() { "10.50.0.1" } else { "fd50::1" };
        world.peer.ip(&format!("route replace default via {gateway}"))?;
        assert!(
            world.peer.is_kept_from(server, address)?,
            "{stolen} was let through"
        );
    }
    drop(servers);
    world.daemon.finish()
}

/// A default-drop forward chain of the user, as ufw's, is obeyed, and none of its rules is touched.
#[test]
fn nw_06_the_users_own_rules_are_obeyed() -> Result<()> {
    let world = World::new()?;
    let servers = Servers::start(&world)?;
    let cell = Cell {
        v6: false,
        bind: Bind::Everywhere,
        source: Source::Client,
        protocol: Protocol::Tcp,
    };
    let server = servers.of(cell)?;
    assert!(world.lab.client.ask(server, cell.address())?.is_some());
    world.lab.machine.nft(
        "table inet filter { chain forward { type filter hook forward priority filter; policy drop; \
         ct state established,related accept; }; }\n",
    )?;
    let before = world
        .lab
        .machine
        .run(&["nft", "list", "table", "inet", "filter"])?
        .text()?;
    assert!(
        world.lab.client.is_kept_from(server, cell.address())?,
        "the user's rules were stepped over"
    );
    world.daemon.ok(&[
        "run", "-d", "--name", "more", "-p", "9000:80", "busybox", "sleep", "1000",
    ])?;
    world.daemon.ok(&["rm", "-f", "more"])?;
    let after = world
        .lab
        .machine
        .run(&["nft", "list", "table", "inet", "filter"])?
        .text()?;
    assert_eq!(before, after);
    world.lab.machine.nft(&format!(
        "add rule inet filter forward ip daddr {TARGET} tcp dport 80 accept"
    ))?;
    assert!(world.lab.client.ask(server, cell.address())?.is_some());
    drop(servers);
    world.daemon.finish()
}
