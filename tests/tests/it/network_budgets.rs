//! Budgets: bytes that a container may receive and send in a time (seed Q4).

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::{Daemon, Host, Start};

/// A machine with a container "box" on the default network that has budgets.
struct World {
    machine: Host,
    daemon: Daemon,
}

impl World {
    fn new(budgets: &[&str]) -> Result<Self> {
        let machine = Host::new("machine")?;
        let daemon = Daemon::with_busybox_and(Start {
            host: Some(machine.clone()),
            ..Start::default()
        })?;
        let run = ["run", "-d", "--name", "box", "--restart", "on-failure"];
        daemon.ok(&[&run[..], budgets, &["busybox", "sleep", "10000"]].concat())?;
        Ok(Self { machine, daemon })
    }

    fn container(&self) -> Result<(Host, IpAddr)> {
        let pid = self.daemon.inspect("box", "{{.State.Pid}}")?.parse()?;
        let address = self.daemon.inspect("box", "{{.NetworkSettings.IPAddress}}")?;
        Ok((Host::of_process(pid, "box")?, address.parse()?))
    }

    /// Sends packets of 1,000 bytes to the container; returns how many arrive.
    fn passes_in(&self, packets: usize) -> Result<usize> {
        let (container, address) = self.container()?;
        pass(&self.machine, &container, address, packets)
    }

    /// Sends packets from the container.
    fn passes_out(&self, packets: usize) -> Result<usize> {
        let (container, _) = self.container()?;
        pass(&container, &self.machine, "172.17.0.1".parse()?, packets)
    }

    /// Returns how many bytes are spent, received and sent.
    fn spent(&self) -> Result<[u64; 2]> {
        let stats = self
            .daemon
            .api("GET", "/containers/box/stats?stream=0&one-shot=1", None)?
            .json()?;
        let used = |field: &str| stats[field]["used"].as_u64().context("no budget in stats");
        Ok([used("berth_net_budget_in")?, used("berth_net_budget_out")?])
    }
}

fn pass(from: &Host, to: &Host, address: IpAddr, packets: usize) -> Result<usize> {
    let receiver = to.inside(|| UdpSocket::bind((address, 0)))??;
    let sender = from.inside(|| UdpSocket::bind("0.0.0.0:0"))??;
    let address: SocketAddr = receiver.local_addr()?;
    for _ in 0..packets {
        sender.send_to(&[7; 972], address)?;
    }
    receiver.set_read_timeout(Some(Duration::from_millis(300)))?;
    let mut buffer = [0; 1000];
    Ok((0..packets)
        .take_while(|_| receiver.recv(&mut buffer).is_ok())
        .count())
}

/// What is used up stays used up: through restarts, a killed daemon, and a packet filter that somebody empties.
#[test]
fn q4_a_budget_outlives_runs_and_daemons_and_changes_live() -> Result<()> {
    let mut world = World::new(&["--net-budget-in", "20k/1h", "--net-budget-out", "10k"])?;
    assert_eq!(
        world
            .daemon
            .inspect("box", "{{json .HostConfig.BerthNetBudgetIn}}")?,
        r#"{"Bytes":20480,"Seconds":3600}"#
    );
    // The neighbours' questions for each other are counted too.
    let (received, sent) = (world.passes_in(40)?, world.passes_out(40)?);
    ensure!(
        (19..=20).contains(&received) && (9..=10).contains(&sent),
        "{received} {sent}"
    );
    assert_eq!(world.spent()?, [20_480, 10_240]);
    let is_used_up = |world: &World, after: &str| -> Result<()> {
        assert_eq!((world.passes_in(2)?, world.passes_out(2)?), (0, 0), "{after}");
        assert_eq!(world.spent()?, [20_480, 10_240], "{after}");
        Ok(())
    };
    world.daemon.crash()?;
    is_used_up(&world, "a killed daemon")?;
    world.daemon.ok(&["restart", "-t", "0", "box"])?;
    is_used_up(&world, "a restart")?;
    // Nobody is there when its policy restarts it.
    let pid = world.daemon.inspect("box", "{{.State.Pid}}")?;
    world.daemon.kill()?;
    let killed = std::process::Command::new("kill").args(["-9", &pid]).status()?;
    ensure!(killed.success());
    world.daemon.launch()?;
    world.daemon.wait_for("box", "{{.RestartCount}}", "1")?;
    world.daemon.wait_for("box", "{{.State.Running}}", "true")?;
    is_used_up(&world, "a restart by its policy")?;
    world.daemon.ok(&["stop", "-t", "0", "box"])?;
    assert_eq!(world.spent()?, [20_480, 10_240], "of a container that is stopped");
    ensure!(!world.machine.nft("list ruleset")?.contains("budgets"));
    world.daemon.ok(&["start", "box"])?;
    is_used_up(&world, "a stop and a start")?;

    world.daemon.ok(&[
        "update",
        "--net-budget-in",
        "30k/1h",
        "--net-budget-out",
        "none",
        "box",
    ])?;
    let received = world.passes_in(40)?;
    // Those that waited for the container's hardware address are on their way too.
    ensure!((6..=10).contains(&received), "{received}");
    // On another network it is the same budget.
    world.daemon.ok(&["network", "create", "other"])?;
    world.daemon.ok(&["network", "connect", "other", "box"])?;
    let (container, _) = world.container()?;
    let address = world
        .daemon
        .inspect("box", "{{.NetworkSettings.Networks.other.IPAddress}}")?;
    assert_eq!(pass(&world.machine, &container, address.parse()?, 5)?, 0);
    drop(container);
    world.daemon.ok(&["network", "disconnect", "other", "box"])?;
    world.daemon.ok(&["update", "--net-budget-in", "none", "box"])?;
    assert_eq!(world.passes_in(40)?, 40);
    // Not before: who receives nothing does not learn where to send to.
    assert_eq!(world.passes_out(40)?, 40);
    world.daemon.ok(&["rm", "-f", "box"])?;
    let rules = world.machine.nft("list ruleset")?;
    ensure!(!rules.contains("budgets"), "{rules}");
    world.daemon.ok(&["network", "rm", "other"])?;
    world.daemon.finish()
}

/// When its time is over, a budget begins anew, whether a daemon is there or not.
#[test]
fn q4_a_budget_begins_anew_without_a_daemon() -> Result<()> {
    let mut world = World::new(&["--net-budget-in", "8k/4s"])?;
    let (container, address) = world.container()?;
    let began = std::time::Instant::now();
    world.daemon.kill()?;
    let received = pass(&world.machine, &container, address, 20)?;
    ensure!((7..=8).contains(&received), "{received}");
    testkit::until("another time", Duration::from_secs(30), || {
        Ok(pass(&world.machine, &container, address, 1)? == 1)
    })?;
    ensure!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    drop(container);
    world.daemon.launch()?;
    world.daemon.ok(&["rm", "-f", "box"])?;
    world.daemon.finish()
}

/// Where nothing could be counted, nothing is promised.
#[test]
fn q4_a_budget_without_a_cable_is_refused() -> Result<()> {
    let machine = Host::new("machine")?;
    machine.ip("link add uplink type bridge")?;
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(machine.clone()),
        ..Start::default()
    })?;
    let create = [
        "network",
        "create",
        "-d",
        "macvlan",
        "-o",
        "parent=uplink",
        "street",
    ];
    daemon.ok(&create)?;
    for network in ["host", "street"] {
        let run = [
            "run",
            "--network",
            network,
            "--net-budget-in",
            "1g",
            "busybox",
            "true",
        ];
        let refused = daemon.berth(&run)?.expect(125)?;
        ensure!(
            refused.stderr.contains("need a network with a bridge"),
            "{}",
            refused.stderr
        );
    }
    let run = [
        "run",
        "-d",
        "--name",
        "box",
        "--net-budget-in",
        "1g",
        "busybox",
        "sleep",
        "10000",
    ];
    daemon.ok(&run)?;
    let refused = daemon
        .berth(&["network", "connect", "street", "box"])?
        .expect(1)?;
    ensure!(
        refused.stderr.contains("need a network with a bridge"),
        "{}",
        refused.stderr
    );
    let wrong = daemon
        .berth(&["update", "--net-budget-in", "1g/0s", "box"])?
        .expect(125)?;
    ensure!(wrong.stderr.contains("invalid budget"), "{}", wrong.stderr);
    daemon.ok(&["rm", "-f", "box"])?;
    daemon.finish()
}
