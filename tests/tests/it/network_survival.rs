//! Killed at any moment, the daemon leaves nothing of its networks behind, and what ran goes on (F-16).

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::{Daemon, Host, Start};

/// Starts the daemon on its host so that it is killed at `step`.
fn relaunch_with(daemon: &mut Daemon, host: &Host, arguments: &[String], step: Option<&str>) -> Result<()> {
    daemon.set_start(Start {
        arguments: arguments.to_vec(),
        environment: step
            .map(|step| ("BERTH_FAILPOINT".to_owned(), step.to_owned()))
            .into_iter()
            .collect(),
        host: Some(host.clone()),
    });
    daemon.launch().map(drop)
}

/// What is there of a network: links but those that stay, and elements of the packet filter that name a container.
fn leftovers(host: &Host) -> Result<String> {
    let links = host.ip("-o link show")?;
    let mut found: Vec<String> = links
        .lines()
        .filter_map(|line| line.split(": ").nth(1))
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .filter(|name| !matches!(name.as_str(), "lo" | "berth0"))
        .collect();
    let rules = host.nft("list ruleset").unwrap_or_default();
    found.extend(
        rules
            .lines()
            .filter(|line| line.contains("\"bv"))
            .map(str::to_owned),
    );
    Ok(found.join("\n"))
}

/// Dying namespaces take a moment.
fn nothing_is_left(host: &Host, after: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let found = leftovers(host)?;
        if found.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left after {after}:\n{found}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn f16_killed_at_every_step_of_networks() -> Result<()> {
    killed_at_every_step(&[])
}

/// The same where a bridge has two containers, and there are two before.
#[test]
fn f16_killed_at_every_step_of_networks_of_several_bridges() -> Result<()> {
    killed_at_every_step(&["--ports-per-bridge".to_owned(), "3".to_owned()])
}

fn killed_at_every_step(arguments: &[String]) -> Result<()> {
    let host = Host::new("machine")?;
    let mut daemon = Daemon::with_busybox_and(Start {
        host: Some(host.clone()),
        arguments: arguments.to_vec(),
        ..Start::default()
    })?;
    let fill = |daemon: &Daemon| -> Result<()> {
        for name in ["first", "second"].iter().filter(|_| !arguments.is_empty()) {
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
        Ok(())
    };
    let steps = engine::failpoint::STEPS
        .iter()
        .filter(|step| step.starts_with("network."));
    for step in steps {
        let verb = step.split('.').nth(1).context("a step has a verb")?;
        if verb != "create" {
            daemon.ok(&["network", "create", "net"])?;
        }
        if matches!(verb, "connect" | "disconnect") {
            fill(&daemon)?;
        }
        daemon.ok(&[
            "run", "-d", "--name", "c1", "-p", "8080:80", "busybox", "sleep", "10000",
        ])?;
        if verb == "disconnect" {
            daemon.ok(&["network", "connect", "net", "c1"])?;
        }
        let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
        daemon.terminate()?;
        relaunch_with(&mut daemon, &host, arguments, Some(step))?;
        let act: &[&str] = match verb {
            "create" => &["network", "create", "net"],
            "remove" => &["network", "rm", "net"],
            "connect" => &["network", "connect", "net", "c1"],
            _ => &["network", "disconnect", "net", "c1"],
        };
        // It is killed meanwhile.
        daemon.berth(act)?.expect(1)?;
        daemon
            .wait_for_end(Duration::from_secs(10))
            .with_context(|| format!("the daemon was not killed at {step}"))?;
        relaunch_with(&mut daemon, &host, arguments, None)?;

        assert_eq!(daemon.inspect("c1", "{{.State.Pid}}")?, pid, "{step}");
        cables_are_recorded(&daemon, step)?;
        let there = daemon.ok(&[
            "network",
            "ls",
            "--filter",
            "type=custom",
            "--format",
            "{{.Name}}",
        ])?;
        assert_eq!(there, "net", "{step}");
        // What is there can be used: another container joins, and finds its way.
        let text = daemon.ok(&["run", "--rm", "--network", "net", "busybox", "ip", "route"])?;
        ensure!(text.contains("default via"), "{step}: {text}");
        if !matches!(verb, "connect" | "disconnect") {
            fill(&daemon)?;
            daemon.ok(&["run", "--rm", "--network", "net", "busybox", "true"])?;
        }
        let running = daemon.ok(&["ps", "-q"])?;
        daemon.ok(&[&["rm", "-f"], &running.lines().collect::<Vec<_>>()[..]].concat())?;
        daemon.ok(&["network", "rm", "net"])?;
        nothing_is_left(&host, step)?;
    }
    daemon.finish()
}

/// A container is on the networks that it is said to be on, and no others.
fn cables_are_recorded(daemon: &Daemon, when: &str) -> Result<()> {
    let networks = daemon.inspect(
        "c1",
        "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}",
    )?;
    let links = daemon.ok(&["exec", "c1", "ip", "-o", "link"])?;
    let cables = links.lines().filter(|line| line.contains(": eth")).count();
    ensure!(
        networks.split_whitespace().count() == cables,
        "{when}: on {networks} with\n{links}"
    );
    Ok(())
}

/// Kills inside of connect, disconnect and publish, at any moment (`BERTH_KILLS`: how many of each three).
#[test]
fn f16_kills_inside_connect_disconnect_and_publish() -> Result<()> {
    let kills: u64 = std::env::var("BERTH_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(12);
    let host = Host::new("machine")?;
    let mut daemon = Daemon::with_busybox_and(Start {
        host: Some(host.clone()),
        ..Start::default()
    })?;
    daemon.ok(&["network", "create", "net"])?;
    daemon.ok(&["run", "-d", "--name", "c1", "busybox", "sleep", "100000"])?;
    let acts: [&[&str]; 3] = [
        &["network", "connect", "net", "c1"],
        &["network", "disconnect", "net", "c1"],
        &[
            "run",
            "--rm",
            "-p",
            "8080:80",
            "-p",
            "9000-9099:9000-9099",
            "busybox",
            "true",
        ],
    ];
    for kill in 0..kills {
        let act = acts[usize::try_from(kill % 3)?];
        let mut acting = daemon
            .command(act)?
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()?;
        // A connect takes a few milliseconds, a start some more.
        std::thread::sleep(Duration::from_micros(
            kill * 379 % if kill % 3 == 2 { 20_000 } else { 9_000 },
        ));
        daemon.crash()?;
        acting.wait()?;
        cables_are_recorded(&daemon, &format!("kill {kill} inside {act:?}"))?;
        // The next one finds what it needs, whatever came of this one.
        daemon.berth(&[
            "network",
            ["connect", "disconnect", "disconnect"][usize::try_from(kill % 3)?],
            "net",
            "c1",
        ])?;
    }
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.ok(&["network", "rm", "net"])?;
    nothing_is_left(&host, "many kills")?;
    daemon.ok(&[
        "run",
        "--rm",
        "-p",
        "8080:80",
        "-p",
        "9000-9099:9000-9099",
        "busybox",
        "true",
    ])?;
    daemon.finish()
}

#[test]
fn f16_runs_and_kills_leave_nothing() -> Result<()> {
    let host = Host::new("machine")?;
    let mut daemon = Daemon::with_busybox_and(Start {
        host: Some(host.clone()),
        ..Start::default()
    })?;
    daemon.ok(&["network", "create", "net"])?;
    let cycles: usize = std::env::var("BERTH_CYCLES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    for cycle in 0..cycles {
        let network = ["bridge", "net"][cycle % 2];
        daemon.ok(&[
            "run",
            "--rm",
            "--network",
            network,
            "-p",
            "8080:80",
            "busybox",
            "true",
        ])?;
        if cycle % 10 == 9 {
            // In the middle of a start, and of a connect.
            let mut starting = daemon
                .command([
                    "run",
                    "--rm",
                    "--network",
                    "net",
                    "-p",
                    "8081:80",
                    "busybox",
                    "true",
                ])?
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()?;
            std::thread::sleep(Duration::from_millis(u64::try_from(cycle % 23)?));
            daemon.crash()?;
            starting.wait()?;
        }
    }
    daemon.ok(&["network", "rm", "net"])?;
    nothing_is_left(&host, "many runs")?;
    // No address and no port is lost either.
    let address = daemon.ok(&["run", "--rm", "-p", "8080:80", "busybox", "hostname", "-i"])?;
    ensure!(address.trim().starts_with("172.17."), "{address}");
    daemon.finish()
}
