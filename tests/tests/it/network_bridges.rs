//! Networks with more containers than a Linux bridge has ports. Here a bridge has three: one is kept for the cable, and two
//! are containers'.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::lab::{CLIENT, MACHINE, Protocol};
use testkit::{Daemon, Host, Lab, Start, until};

const SLEEP: [&str; 3] = ["busybox", "sleep", "10000"];

fn start(host: &Host, ports: Option<&str>) -> Start {
    Start {
        host: Some(host.clone()),
        arguments: ports
            .into_iter()
            .flat_map(|ports| ["--ports-per-bridge".to_owned(), ports.to_owned()])
            .collect(),
        ..Start::default()
    }
}

fn run(daemon: &Daemon, name: &str, more: &[&str]) -> Result<String> {
    daemon.ok(&[
        &["run", "-d", "--name", name, "--network", "big"],
        more,
        &SLEEP[..],
    ]
    .concat())
}

fn host_of(daemon: &Daemon, container: &str) -> Result<Host> {
    Host::of_process(daemon.inspect(container, "{{.State.Pid}}")?.parse()?, container)
}

fn address_of(daemon: &Daemon, container: &str) -> Result<IpAddr> {
    let address = daemon.inspect(container, "{{.NetworkSettings.Networks.big.IPAddress}}")?;
    address.parse().with_context(|| format!("{container}: {address}"))
}

/// Returns the number and the name of the machine's end of a container's only cable, as `ip` shows them.
fn cable_of(machine: &Host, pid: &str) -> Result<String> {
    let container = Host::of_process(pid.parse()?, "a container")?;
    // eth0 is "7: eth0@if12", and its other end 12.
    let own = container.ip("-o link show eth0")?;
    let other = own.split_once("@if").context("a cable")?.1;
    let number = other.split_once(':').context("its other end")?.0;
    let links = machine.ip("-o link")?;
    let line = links
        .lines()
        .find(|line| line.starts_with(&format!("{number}: ")));
    let end = line
        .and_then(|line| line.split_once('@'))
        .context("the other end")?;
    Ok(end.0.to_owned())
}

/// Returns the cables of containers at each bridge, the first one's first.
fn cables(machine: &Host) -> Result<Vec<usize>> {
    let mut bridges: Vec<String> = Vec::new();
    for line in machine.ip("-br link show type bridge")?.lines() {
        let name = line.split_whitespace().next().context("a link")?;
        if name != "berth0" {
            bridges.push(name.to_owned());
        }
    }
    // br-… before bx01…, bx02….
    bridges.sort();
    bridges
        .iter()
        .map(|bridge| {
            let ports = machine.ip(&format!("-br link show master {bridge}"))?;
            Ok(ports.lines().filter(|line| line.starts_with("bv")).count())
        })
        .collect()
}

#[test]
fn a_network_is_larger_than_a_bridge() -> Result<()> {
    let lab = Lab::new()?;
    let machine = lab.machine.clone();
    let mut daemon = Daemon::with_busybox_and(start(&machine, Some("3")))?;
    daemon.ok(&["network", "create", "big"])?;
    run(&daemon, "c1", &[])?;
    run(&daemon, "c2", &[])?;
    assert_eq!(cables(&machine)?, [2]);
    run(&daemon, "c3", &["-p", "8080:80", "--restart", "always"])?;
    daemon.ok(&[&["run", "-d", "--name", "c4"], &SLEEP[..]].concat())?;
    daemon.ok(&["network", "connect", "--alias", "late", "big", "c4"])?;
    assert_eq!(cables(&machine)?, [2, 2]);

    // The machine's ends are ports and nothing else.
    let addresses = machine.ip("-6 -o address")?;
    ensure!(
        !addresses.contains("bv") && !addresses.contains("bu01"),
        "{addresses}"
    );
    // They find each other, in both directions.
    for (from, to) in [
        ("c1", "c3"),
        ("c3", "c1"),
        ("c3", "late"),
        ("c2", "c4"),
        ("c4", "c1"),
    ] {
        daemon.ok(&["exec", from, "ping", "-c", "1", "-w", "10", to])?;
    }
    // The outside sees nothing of it.
    let server = host_of(&daemon, "c3")?.serve(
        Protocol::Tcp,
        SocketAddr::new(address_of(&daemon, "c3")?, 80),
        "c3",
    )?;
    let published = SocketAddr::new(MACHINE.parse()?, 8080);
    assert_eq!(lab.client.ask(&server, published)?.as_deref(), Some(CLIENT));
    for peer in ["c1", "c4", "c3"] {
        ensure!(
            host_of(&daemon, peer)?.ask(&server, published)?.is_some(),
            "{peer} does not reach the published port"
        );
    }
    let format = "{{.Address}} {{.Port}}/{{.Protocol}} {{.Container}} {{.Reachable}}";
    let audit = daemon.ok(&["network", "audit", "--format", format])?;
    ensure!(
        audit.lines().any(|line| line == "0.0.0.0 8080/tcp c3 yes"),
        "{audit}"
    );
    let stats = daemon.ok(&["stats", "--no-stream", "--format", "{{.NetIO}}", "c3"])?;
    ensure!(!stats.starts_with("0B"), "{stats}");
    daemon.ok(&["update", "--net-rate-out", "8mbit", "c3"])?;
    let port = machine.ip("-br link show type ifb")?;
    ensure!(port.starts_with("ibv"), "{port}");
    daemon.ok(&["update", "--net-rate-out", "none", "c3"])?;

    // There is an end to it, and what leaves makes room.
    let full = daemon
        .berth(&[&["run", "-d", "--network", "big"], &SLEEP[..]].concat())?
        .expect(125)?;
    ensure!(
        full.stderr
            .contains("network big has no port left: each of its 2 bridges has 2 containers"),
        "{}",
        full.stderr
    );
    daemon.ok(&["network", "disconnect", "big", "c4"])?;
    assert_eq!(cables(&machine)?, [2, 1]);
    daemon.ok(&["network", "connect", "big", "c4"])?;
    daemon.ok(&["exec", "c4", "ping", "-c", "1", "-w", "10", "c1"])?;
    daemon.ok(&["rm", "-f", "c1"])?;
    run(&daemon, "c5", &[])?;
    until(
        "the first bridge to be used again",
        Duration::from_secs(10),
        || Ok(cables(&machine)? == [2, 2]),
    )?;

    // Somebody takes the rules away; then the daemon, and the container, which comes back without one.
    machine.nft("flush ruleset")?;
    until("the rules to be back", Duration::from_secs(10), || {
        let rules = machine.nft("list ruleset")?;
        // nft shows no names in a set that has nothing else.
        Ok(rules.contains("\"bu01"))
    })?;
    ensure!(
        lab.client.ask(&server, published)?.is_some(),
        "after the rules are back"
    );
    drop(server);
    let address = address_of(&daemon, "c3")?.to_string();
    let pid = daemon.inspect("c3", "{{.State.Pid}}")?;
    // A namespace answers for a little while after the last process in it.
    let cable = cable_of(&machine, &pid)?;
    daemon.kill()?;
    let first = rustix::process::Pid::from_raw(pid.parse()?).context("a process")?;
    rustix::process::kill_process(first, rustix::process::Signal::KILL)?;
    until("the container to be back", Duration::from_secs(20), || {
        let is_gone = !machine.ip("-o link")?.contains(&cable);
        Ok(is_gone
            && machine
                .run(&["busybox", "ping", "-c", "1", "-W", "1", &address])?
                .code
                == 0)
    })?;
    assert_eq!(cables(&machine)?, [2, 2]);
    daemon.launch()?;
    daemon.ok(&["exec", "c5", "ping", "-c", "1", "-w", "10", "c3"])?;

    // With the network goes all of it.
    let all = daemon.ok(&["ps", "-aq"])?;
    daemon.ok(&[&["rm", "-f"], &all.lines().collect::<Vec<_>>()[..]].concat())?;
    daemon.ok(&["network", "rm", "big"])?;
    let links = machine.ip("-br link")?;
    ensure!(!links.contains("bx01") && !links.contains("bu01"), "{links}");
    let rules = machine.nft("list ruleset")?;
    ensure!(!rules.contains("\"bu01"), "{rules}");
    daemon.finish()
}

/// As many containers as a bridge of the kernel's size cannot hold: their cables are real.
#[test]
#[ignore = "runs 1,100 containers"]
fn a_network_of_eleven_hundred_containers() -> Result<()> {
    const CONTAINERS: usize = 1100;
    let lab = Lab::new()?;
    let machine = lab.machine.clone();
    let mut daemon = Daemon::with_busybox_and(start(&machine, None))?;
    daemon.ok(&["network", "create", "big"])?;
    for number in 0..CONTAINERS {
        run(&daemon, &format!("c{number}"), &[]).with_context(|| format!("container {number}"))?;
    }
    assert_eq!(cables(&machine)?, [960, CONTAINERS - 960]);
    let last = format!("c{}", CONTAINERS - 1);
    for (from, to) in [("c0", last.as_str()), (&last, "c0"), (&last, "c1000")] {
        daemon.ok(&["exec", from, "ping", "-c", "1", "-w", "10", to])?;
    }
    daemon.terminate()?;
    daemon.launch()?;
    daemon.ok(&["exec", "c1", "ping", "-c", "1", "-w", "10", &last])?;
    for chunk in (0..CONTAINERS).collect::<Vec<_>>().chunks(100) {
        let names: Vec<String> = chunk.iter().map(|number| format!("c{number}")).collect();
        let names = names.iter().map(String::as_str);
        daemon.ok(&["rm", "-f"].into_iter().chain(names).collect::<Vec<_>>())?;
    }
    daemon.ok(&["network", "rm", "big"])?;
    until("the cables to be gone", Duration::from_secs(60), || {
        let links = machine.ip("-br link")?;
        Ok(!links.lines().any(|line| line.starts_with('b')))
    })?;
    daemon.finish()
}
