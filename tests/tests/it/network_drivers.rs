//! Networks beside the bridge: interfaces of the machine, rates, and what the outside can reach.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testkit::lab::Protocol;
use testkit::{Daemon, Host, Lab, Start, until};

const SLEEP: [&str; 3] = ["busybox", "sleep", "10000"];

/// A network on an interface of the machine: its containers are hosts beside the machine.
#[test]
fn n12_macvlan_containers_are_neighbours_of_the_machine() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(lab.machine.clone()),
        ..Start::default()
    })?;
    daemon.ok(&[
        "network",
        "create",
        "-d",
        "macvlan",
        "-o",
        "parent=uplink",
        "--subnet",
        "198.51.100.0/24",
        "--gateway",
        "198.51.100.1",
        "--ip-range",
        "198.51.100.64/26",
        "street",
    ])?;
    daemon.ok(&[
        &[
            "run",
            "-d",
            "--name",
            "house",
            "--network",
            "street",
            "--ip",
            "198.51.100.70",
        ],
        &SLEEP[..],
    ]
    .concat())?;
    let house = Host::of_process(daemon.inspect("house", "{{.State.Pid}}")?.parse()?, "house")?;
    let address = "198.51.100.70:80".parse()?;
    let server = house.serve(Protocol::Tcp, address, "house")?;
    assert_eq!(
        lab.neighbour.ask(&server, address)?.as_deref(),
        Some("198.51.100.3")
    );
    assert_eq!(lab.client.ask(&server, address)?.as_deref(), Some("203.0.113.9"));
    drop(server);
    daemon.ok(&["rm", "-f", "house"])?;
    daemon.finish()
}

/// Whether the kernel has this kind of link; a module is loaded by being asked for.
fn has_links(machine: &Host, words: &str) -> Result<bool> {
    let words: Vec<&str> = words.split(' ').collect();
    let made = machine.run(
        &[
            &["ip", "link", "add", "link", "uplink", "name", "probe", "type"],
            &words[..],
        ]
        .concat(),
    )?;
    if made.code == 0 {
        machine.ip("link del probe")?;
    }
    Ok(made.code == 0)
}

/// As macvlan, in all three modes; only in the virtual machine of `tests/vm/run`, where the kernel has it.
#[test]
fn n12_ipvlan_containers_are_neighbours_of_the_machine() -> Result<()> {
    let lab = Lab::new()?;
    let has_ipvlan = has_links(&lab.machine, "ipvlan mode l2")?;
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(lab.machine.clone()),
        ..Start::default()
    })?;
    for (mode, subnet, address) in [
        ("l2", "198.51.100.0/24", "198.51.100.71"),
        ("l3", "10.5.0.0/24", "10.5.0.71"),
        ("l3s", "10.6.0.0/24", "10.6.0.71"),
    ] {
        let option = format!("ipvlan_mode={mode}");
        let create = [
            "network",
            "create",
            "-d",
            "ipvlan",
            "-o",
            "parent=uplink",
            "-o",
            &option,
            "--subnet",
            subnet,
        ];
        daemon.ok(&[&create[..], &[mode]].concat())?;
        let run = ["run", "-d", "--name", "house", "--network", mode, "--ip", address];
        let run = daemon.berth(&[&run[..], &SLEEP[..]].concat())?;
        if !has_ipvlan {
            ensure!(run.code == 125 && run.stderr.contains("ipvlan"), "{}", run.stderr);
            daemon.ok(&["rm", "-f", "house"])?;
            daemon.ok(&["network", "rm", mode])?;
            continue;
        }
        run.expect(0)?;
        let house = Host::of_process(daemon.inspect("house", "{{.State.Pid}}")?.parse()?, "house")?;
        let link = house.ip("-d link show eth0")?;
        ensure!(
            link.contains(&format!("ipvlan  mode {mode}")) || link.contains(&format!("ipvlan mode {mode}")),
            "{link}"
        );
        if mode != "l2" {
            // Its packets are routed: the others send them to the machine's interface.
            lab.neighbour
                .ip(&format!("route add {subnet} via {}", testkit::lab::MACHINE))?;
        }
        let at = format!("{address}:80").parse()?;
        let server = house.serve(Protocol::Tcp, at, "house")?;
        assert_eq!(
            lab.neighbour.ask(&server, at)?.as_deref(),
            Some("198.51.100.3"),
            "{mode}"
        );
        drop(server);
        drop(house);
        daemon.ok(&["rm", "-f", "house"])?;
        daemon.ok(&["network", "rm", mode])?;
    }
    daemon.finish()?;
    match has_ipvlan {
        true => Ok(()),
        false => testkit::skip("this kernel has no ipvlan: tests/vm/run it n12"),
    }
}

/// A VLAN of an interface is made for the network that wants it, lent or shared, and goes with the network.
#[test]
fn i16_a_vlan_is_made_for_a_network() -> Result<()> {
    let lab = Lab::new()?;
    let has_vlans = has_links(&lab.machine, "vlan id 7")?;
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(lab.machine.clone()),
        ..Start::default()
    })?;
    let create = [
        "network",
        "create",
        "-o",
        "parent=uplink.20",
        "--subnet",
        "10.20.0.0/24",
        "-d",
    ];
    if !has_vlans {
        let refused = daemon
            .berth(&[&create[..], &["macvlan", "street"]].concat())?
            .expect(1)?;
        ensure!(
            refused.stderr.contains("this kernel has no VLANs"),
            "{}",
            refused.stderr
        );
        assert_eq!(
            daemon.ok(&["network", "ls", "-q", "--filter", "type=custom"])?,
            ""
        );
        daemon.finish()?;
        return testkit::skip("this kernel has no VLANs: tests/vm/run it i16");
    }
    // The neighbour is on the same VLAN by a link of its own.
    lab.neighbour
        .ip("link add link uplink name uplink.20 type vlan id 20")?;
    lab.neighbour.ip("addr add 10.20.0.3/24 dev uplink.20")?;
    lab.neighbour.ip("link set uplink.20 up")?;
    // Each has an address of its own: the neighbour remembers where another was.
    for (driver, address) in [("macvlan", "10.20.0.70"), ("phys", "10.20.0.71")] {
        daemon.ok(&[&create[..], &[driver, "street"]].concat())?;
        ensure!(
            lab.machine
                .ip("-d link show uplink.20")?
                .contains("vlan protocol 802.1Q id 20")
        );
        daemon.ok(&[
            &[
                "run",
                "-d",
                "--name",
                "house",
                "--network",
                "street",
                "--ip",
                address,
            ],
            &SLEEP[..],
        ]
        .concat())?;
        let house = Host::of_process(daemon.inspect("house", "{{.State.Pid}}")?.parse()?, "house")?;
        let at = format!("{address}:80").parse()?;
        let server = house.serve(Protocol::Tcp, at, "house")?;
        assert_eq!(
            lab.neighbour.ask(&server, at)?.as_deref(),
            Some("10.20.0.3"),
            "{driver}"
        );
        drop(server);
        drop(house);
        daemon.ok(&["rm", "-f", "house"])?;
        // One that was lent is back.
        until("the VLAN to be back", Duration::from_secs(20), || {
            Ok(lab.machine.run(&["ip", "link", "show", "uplink.20"])?.code == 0)
        })?;
        daemon.ok(&["network", "rm", "street"])?;
        assert_ne!(
            lab.machine.run(&["ip", "link", "show", "uplink.20"])?.code,
            0,
            "{driver}: it stays"
        );
    }
    // One of the machine's own is used and stays.
    lab.machine
        .ip("link add link uplink name uplink.20 type vlan id 20")?;
    daemon.ok(&[&create[..], &["macvlan", "street"]].concat())?;
    daemon.ok(&["network", "rm", "street"])?;
    lab.machine.ip("link show uplink.20")?;
    for parent in ["nothing", "nothing.20", "uplink.0", "uplink.4095"] {
        let option = format!("parent={parent}");
        let wrong = ["network", "create", "-d", "macvlan", "-o", &option, "wrong"];
        let refused = daemon.berth(&wrong)?.expect(1)?;
        ensure!(refused.stderr.contains(parent), "{}", refused.stderr);
    }
    daemon.finish()
}

/// An interface of the machine moves into a container and comes back.
#[test]
fn i16_an_interface_of_the_machine_moves_in_and_back() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(lab.machine.clone()),
        ..Start::default()
    })?;
    lab.machine.wire("spare", &lab.neighbour, "behind")?;
    daemon.ok(&["network", "create", "-d", "phys", "-o", "parent=spare", "lend"])?;
    daemon.ok(&[&["run", "-d", "--name", "guest", "--network", "lend"], &SLEEP[..]].concat())?;
    assert_ne!(
        lab.machine.run(&["ip", "link", "show", "spare"])?.code,
        0,
        "it is still on the machine"
    );
    let guest = Host::of_process(daemon.inspect("guest", "{{.State.Pid}}")?.parse()?, "guest")?;
    assert_eq!(guest.ip("-br link show type veth")?.lines().count(), 1);
    drop(guest);
    daemon.ok(&["rm", "-f", "guest"])?;
    until("the interface to be back", Duration::from_secs(10), || {
        Ok(lab.machine.run(&["ip", "link", "show", "spare"])?.code == 0)
    })?;
    daemon.finish()
}

/// 8 Mbit/s are 7.5 to 8.2 both ways, and twice as much when it is told so.
#[test]
fn q4_rates_hold_both_ways_and_change_live() -> Result<()> {
    let machine = Host::new("machine")?;
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(machine.clone()),
        ..Start::default()
    })?;
    daemon.ok(&[
        &[
            "run",
            "-d",
            "--name",
            "slow",
            "--net-rate-in",
            "8mbit",
            "--net-rate-out",
            "8mbit",
        ],
        &SLEEP[..],
    ]
    .concat())?;
    let slow = Host::of_process(daemon.inspect("slow", "{{.State.Pid}}")?.parse()?, "slow")?;
    let address = SocketAddr::new(
        daemon
            .inspect("slow", "{{.NetworkSettings.IPAddress}}")?
            .parse()?,
        5001,
    );
    for (to, from, server, direction) in [
        (&slow, &machine, address, "in"),
        (&machine, &slow, "172.17.0.1:5001".parse()?, "out"),
    ] {
        let rates = measure_until(to, from, server, 7.5..=8.2)?;
        assert!(rates.is_empty(), "{direction}: {rates:?} Mbit/s");
    }
    daemon.ok(&["update", "--net-rate-out", "16mbit", "slow"])?;
    let rates = measure_until(&machine, &slow, "172.17.0.1:5002".parse()?, 15.0..=16.4)?;
    assert!(rates.is_empty(), "{rates:?} Mbit/s");
    let wrong = daemon
        .berth(&["update", "--net-rate-out", "8", "slow"])?
        .expect(125)?;
    assert!(wrong.stderr.contains("at least 8kbit"), "{}", wrong.stderr);
    daemon.ok(&["rm", "-f", "slow"])?;
    daemon.finish()
}

/// Measures up to five times, for a machine that is busy with other things blurs one of them; returns the rates if none was as
/// wanted.
fn measure_until(
    to: &Host,
    from: &Host,
    address: SocketAddr,
    wanted: std::ops::RangeInclusive<f64>,
) -> Result<Vec<f64>> {
    let mut rates = Vec::new();
    for attempt in 0..5 {
        let address = SocketAddr::new(address.ip(), address.port() + 10 * attempt);
        let rate = measure(to, from, address)?;
        if wanted.contains(&rate) {
            return Ok(Vec::new());
        }
        rates.push(rate);
    }
    Ok(rates)
}

/// Returns how many megabits per second of content reach `to`, after the first burst.
fn measure(to: &Host, from: &Host, address: SocketAddr) -> Result<f64> {
    let listener = to.inside(|| TcpListener::bind(address))??;
    let sender = from.inside(|| TcpStream::connect(address))??;
    let (mut receiver, _) = listener.accept()?;
    let sending = std::thread::spawn(move || {
        let mut sender = sender;
        while sender.write_all(&[0; 16 << 10]).is_ok() {}
    });
    let mut buffer = vec![0; 64 << 10];
    let mut take = |time: Duration| -> Result<(usize, Duration)> {
        let start = Instant::now();
        let mut bytes = 0;
        while start.elapsed() < time {
            bytes += receiver.read(&mut buffer)?;
        }
        Ok((bytes, start.elapsed()))
    };
    take(Duration::from_secs(1))?;
    let (bytes, time) = take(Duration::from_secs(4))?;
    drop(receiver);
    drop(sending.join());
    Ok(f64::from(u32::try_from(bytes)?) * 8.0 / 1e6 / time.as_secs_f64())
}

/// What is published, where, for whom, and which rule of somebody else stops it.
#[test]
fn network_audit_shows_what_the_outside_reaches() -> Result<()> {
    let machine = Host::new("machine")?;
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(machine.clone()),
        ..Start::default()
    })?;
    let run = [
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1:8081:81",
    ];
    daemon.ok(&[&run[..], &SLEEP[..]].concat())?;
    let format = "{{.Address}} {{.Port}}/{{.Protocol}} {{.Container}} {{.Reachable}}";
    let lines = daemon.ok(&["network", "audit", "--format", format])?;
    assert!(
        lines.lines().any(|line| line == "0.0.0.0 8080/tcp web yes"),
        "{lines}"
    );
    // What netd passes on is the container's too.
    assert!(lines.lines().any(|line| line == ":: 8080/tcp web yes"), "{lines}");
    assert!(!lines.contains("8081"), "{lines}");
    machine.nft(
        "table inet filter { chain forward { type filter hook forward priority filter; policy drop; }; }\n",
    )?;
    let blocked = daemon.ok(&["network", "audit", "--format", format])?;
    assert!(
        blocked.lines().any(|line| line == "0.0.0.0 8080/tcp web no"),
        "{blocked}"
    );
    daemon.ok(&["rm", "-f", "web"])?;
    daemon.finish()
}
