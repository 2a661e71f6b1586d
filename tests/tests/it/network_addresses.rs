//! Addresses that move between containers while they run (seed I17).

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use testkit::{Daemon, Host, Start};

const ADDRESS: &str = "10.9.0.50";
const ADDRESS6: &str = "fd00:9::50";

/// Sends numbered packets to `address` from `from` while `work` is done, and returns which of them arrived at each receiver.
fn during(
    from: &Host,
    address: &str,
    receivers: &[&UdpSocket],
    work: impl FnOnce() -> Result<()>,
) -> Result<(u32, Vec<BTreeSet<u32>>)> {
    let any = if address.contains(':') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let sender = from.inside(|| UdpSocket::bind(any))??;
    sender.connect((address, 5000))?;
    let done = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| -> Result<u32> {
        let sending = scope.spawn(|| {
            let (mut number, mut rest) = (0_u32, 50);
            while rest > 0 {
                drop(sender.send(&number.to_be_bytes()));
                number += 1;
                if done.load(Ordering::Relaxed) {
                    rest -= 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            number
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let sent = sending
            .join()
            .map_err(|_panic| anyhow::anyhow!("the sender panicked"))?;
        worked.map(|()| sent)
    })?;
    let mut all = Vec::new();
    for receiver in receivers {
        let mut got = BTreeSet::new();
        let mut buffer = [0; 4];
        while receiver.recv(&mut buffer).is_ok() {
            got.insert(u32::from_be_bytes(buffer));
        }
        all.push(got);
    }
    Ok((sent, all))
}

fn receiver(host: &Host) -> Result<UdpSocket> {
    let socket = host.inside(|| UdpSocket::bind("[::]:5000"))??;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    Ok(socket)
}

#[test]
fn i17_an_address_moves_and_at_most_one_packet_is_lost() -> Result<()> {
    let machine = Host::new("machine")?;
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(machine.clone()),
        ..Start::default()
    })?;
    let create = [
        "network",
        "create",
        "--subnet",
        "10.9.0.0/24",
        "--ipv6",
        "--subnet",
        "fd00:9::/64",
        "net",
    ];
    daemon.ok(&create)?;
    for name in ["one", "two", "peer"] {
        daemon.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--network",
            "net",
            "busybox",
            "sleep",
            "10000",
        ])?;
    }
    let host = |name: &str| -> Result<Host> {
        Host::of_process(daemon.inspect(name, "{{.State.Pid}}")?.parse()?, name)
    };
    let (one, two, peer) = (host("one")?, host("two")?, host("peer")?);
    let (at_one, at_two) = (receiver(&one)?, receiver(&two)?);
    for (address, moved) in [(ADDRESS, "10.9.0.50/32"), (ADDRESS6, "fd00:9::50/128")] {
        daemon.ok(&["ip", "move", address, "one"])?;
        ensure!(one.ip("addr show eth0")?.contains(moved));
        for (from, to, name) in [(&peer, 1, "two"), (&machine, 0, "one")] {
            let move_it = || {
                daemon
                    .ok(&["ip", "move", "--network", "net", address, name])
                    .map(drop)
            };
            let (sent, got) = during(from, address, &[&at_one, &at_two], move_it)?;
            let arrived = got[0].union(&got[1]).count();
            let sent = usize::try_from(sent)?;
            ensure!(arrived + 1 >= sent, "{address}: {arrived} of {sent} packets");
            let last: Vec<u32> = (u32::try_from(sent)? - 40..u32::try_from(sent)?).collect();
            ensure!(
                last.iter().all(|number| got[to].contains(number)),
                "{address}: not at {name}"
            );
        }
        ensure!(!two.ip("addr show eth0")?.contains(moved));
    }

    // It is part of what the container asks for, and nobody else gets it.
    daemon.ok(&["restart", "-t", "0", "one"])?;
    ensure!(host("one")?.ip("addr show eth0")?.contains("10.9.0.50/32"));
    assert_eq!(
        daemon.inspect(
            "one",
            "{{json .NetworkSettings.Networks.net.BerthFloatingAddresses}}"
        )?,
        r#"["10.9.0.50","fd00:9::50"]"#
    );
    let taken = [
        "run",
        "--rm",
        "--network",
        "net",
        "--ip",
        ADDRESS,
        "busybox",
        "true",
    ];
    let refused = daemon.berth(&taken)?.expect(125)?;
    ensure!(
        refused.stderr.contains("Address already in use"),
        "{}",
        refused.stderr
    );
    for (address, text) in [
        ("10.9.0.1", "it is that of the gateway"),
        (
            &*daemon.inspect("two", "{{.NetworkSettings.Networks.net.IPAddress}}")?,
            "container two itself",
        ),
        ("10.8.0.1", "no network has a subnet with address"),
        ("10.9", "invalid address"),
    ] {
        let refused = daemon.berth(&["ip", "move", address, "one"])?.expect(1)?;
        ensure!(refused.stderr.contains(text), "{address}: {}", refused.stderr);
    }
    daemon.ok(&["ip", "rm", ADDRESS])?;
    ensure!(!host("one")?.ip("addr show eth0")?.contains("10.9.0.50"));
    daemon.ok(&taken)?;
    drop((one, two, peer));
    daemon.ok(&["rm", "-f", "one", "two", "peer"])?;
    let rules = machine.nft("list ruleset")?;
    ensure!(!rules.contains("fd00:9::50"), "{rules}");
    daemon.ok(&["network", "rm", "net"])?;
    daemon.finish()
}
