//! Networks as a person uses them, by our command line and by docker's. Each daemon is on a host of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use testkit::lab::Protocol;
use testkit::{Daemon, Host, Start, command, has, skip, until};

fn daemon() -> Result<Daemon> {
    daemon_with(&[])
}

fn daemon_with(arguments: &[&str]) -> Result<Daemon> {
    Daemon::with_busybox_and(Start {
        host: Some(Host::new("machine")?),
        arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        ..Start::default()
    })
}

fn machine(daemon: &Daemon) -> Result<Host> {
    Host::of_process(daemon.pid()?, "machine")
}

const SLEEP: [&str; 3] = ["busybox", "sleep", "10000"];

#[test]
fn network_create_list_inspect_remove() -> Result<()> {
    let daemon = daemon()?;
    let list = daemon.ok(&["network", "ls"])?;
    let names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert_eq!(names, ["ID", "bridge", "host", "none"], "{list}");
    let create = [
        "network",
        "create",
        "--subnet",
        "10.9.0.0/24",
        "--gateway",
        "10.9.0.254",
        "--label",
        "a=b",
        "--internal",
        "n10",
    ];
    let id = daemon.ok(&create)?;
    assert_eq!(id.len(), 64);
    daemon.ok(&["network", "create", "n9"])?;
    let again = daemon.berth(&["network", "create", "n9"])?.expect(1)?;
    assert_eq!(
        again.stderr,
        "Error response from daemon: network with name n9 already exists\n"
    );
    assert_eq!(
        daemon.ok(&["network", "ls", "-q", "--no-trunc", "--filter", "label=a"])?,
        id
    );
    let listed = daemon.ok(&[
        "network",
        "ls",
        "--filter",
        "type=custom",
        "--format",
        "{{.Name}} {{.Internal}}",
    ])?;
    assert_eq!(listed, "n9 false\nn10 true", "numbers in names count");
    let format = "{{.Driver}} {{.Internal}} {{index .Labels \"a\"}} {{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}";
    assert_eq!(
        daemon.ok(&["network", "inspect", "-f", format, &id[..12]])?,
        "bridge true b 10.9.0.0/24 10.9.0.254"
    );
    assert_eq!(daemon.ok(&["inspect", "-f", "{{.Name}}", "n10"])?, "n10");
    assert_eq!(
        daemon.ok(&["inspect", "--type", "network", "-f", "{{.Scope}}", "n10"])?,
        "local"
    );
    let missing = daemon.berth(&["network", "inspect", "nothing"])?.expect(1)?;
    assert_eq!(
        (missing.stdout.trim(), missing.stderr.as_str()),
        ("[]", "Error response from daemon: network nothing not found\n")
    );
    let removed = daemon
        .berth(&["network", "rm", "n10", "nothing", "bridge"])?
        .expect(1)?;
    assert_eq!(removed.stdout, "n10\n");
    assert_eq!(
        removed.stderr,
        "Error response from daemon: network nothing not found\n\
         Error response from daemon: bridge is a pre-defined network and cannot be removed\n"
    );
    daemon.berth(&["network", "rm", "-f", "nothing"])?.expect(0)?;
    assert_eq!(daemon.ok(&["network", "prune", "-f"])?, "Deleted Networks:\nn9");
    assert_eq!(daemon.berth(&["network", "prune", "-f"])?.expect(0)?.stdout, "");
    daemon.finish()
}

/// The seed: a bridge, a cable, an address, a default route, a resolv.conf.
#[test]
fn n10_the_default_network_is_a_bridge_with_cables() -> Result<()> {
    let daemon = daemon()?;
    let said = daemon.ok(&[
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "ip -4 -o addr show eth0; ip route; cat /etc/resolv.conf",
    ])?;
    assert_eq!(said.matches("inet 172.17.0.2/16").count(), 1, "{said}");
    assert!(said.contains("default via 172.17.0.1 dev eth0"), "{said}");
    assert!(said.contains("nameserver "), "{said}");
    daemon.ok(&[&["run", "-d", "--name", "c1"], &SLEEP[..]].concat())?;
    let ports = machine(&daemon)?.ip("-br link show master berth0")?;
    assert_eq!(ports.lines().count(), 1, "{ports}");
    assert!(ports.starts_with("bv"), "{ports}");
    assert_eq!(
        daemon.inspect(
            "c1",
            "{{.NetworkSettings.IPPrefixLen}} {{.NetworkSettings.Gateway}} {{.HostConfig.NetworkMode}}"
        )?,
        "16 172.17.0.1 bridge"
    );
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.finish()
}

#[test]
fn n11_a_second_network_for_a_running_container() -> Result<()> {
    let daemon = daemon()?;
    daemon.ok(&["network", "create", "--subnet", "10.77.0.0/24", "n2"])?;
    daemon.ok(&[&["run", "-d", "--name", "c1"], &SLEEP[..]].concat())?;
    daemon.ok(&[&["run", "-d", "--name", "peer", "--network", "n2"], &SLEEP[..]].concat())?;
    daemon.ok(&["network", "connect", "--ip", "10.77.0.9", "n2", "c1"])?;
    let eth1 = daemon.ok(&["exec", "c1", "ip", "-4", "-o", "addr", "show", "eth1"])?;
    assert!(eth1.contains("inet 10.77.0.9/24"), "{eth1}");
    daemon.ok(&["exec", "peer", "ping", "-c", "1", "-w", "10", "10.77.0.9"])?;
    let twice = daemon.berth(&["network", "connect", "n2", "c1"])?.expect(1)?;
    assert!(
        twice
            .stderr
            .contains("endpoint with name c1 already exists in network n2"),
        "{}",
        twice.stderr
    );
    // It is there again after a restart, with the same address.
    daemon.ok(&["restart", "-t", "0", "c1"])?;
    let format = "{{(index .NetworkSettings.Networks \"n2\").IPAddress}}";
    assert_eq!(daemon.inspect("c1", format)?, "10.77.0.9");
    daemon.ok(&["exec", "peer", "ping", "-c", "1", "-w", "10", "10.77.0.9"])?;
    let used = daemon.berth(&["network", "rm", "n2"])?.expect(1)?;
    assert!(used.stderr.contains("has active endpoints"), "{}", used.stderr);
    daemon.ok(&["network", "disconnect", "n2", "c1"])?;
    assert_ne!(
        daemon.berth(&["exec", "c1", "ip", "link", "show", "eth1"])?.code,
        0
    );
    assert_eq!(daemon.inspect("c1", "{{len .NetworkSettings.Networks}}")?, "1");
    daemon.ok(&["rm", "-f", "c1", "peer"])?;
    daemon.finish()
}

#[test]
fn n13_subnets_keep_clear_of_the_machines_routes() -> Result<()> {
    let daemon = daemon()?;
    let machine = machine(&daemon)?;
    machine.ip("link add away type bridge")?;
    machine.ip("link set away up")?;
    for subnet in ["172.18.0.0/16", "172.19.5.0/24"] {
        machine.ip(&format!("route add {subnet} dev away"))?;
    }
    daemon.ok(&["network", "create", "x"])?;
    let subnet = daemon.ok(&[
        "network",
        "inspect",
        "-f",
        "{{range .IPAM.Config}}{{.Subnet}}{{end}}",
        "x",
    ])?;
    assert_eq!(subnet, "172.20.0.0/16");
    for subnet in ["172.16.0.0/12", "192.168.0.0/16"] {
        machine.ip(&format!("route add {subnet} dev away"))?;
    }
    let full = daemon.berth(&["network", "create", "y"])?.expect(1)?;
    assert!(
        full.stderr.contains("172.16.0.0/12"),
        "names the routes: {}",
        full.stderr
    );
    daemon.finish()
}

#[test]
fn n16_a_network_namespace_made_by_others() -> Result<()> {
    let daemon = daemon()?;
    daemon.ok(&[&["run", "-d", "--name", "c1"], &SLEEP[..]].concat())?;
    let pid = daemon.inspect("c1", "{{.State.Pid}}")?;
    let inside = daemon.ok(&["exec", "c1", "readlink", "/proc/self/ns/net"])?;
    assert_eq!(
        inside,
        std::fs::read_link(format!("/proc/{pid}/ns/net"))?.to_string_lossy()
    );
    // The key that inspect shows is one to join.
    let key = daemon.inspect("c1", "{{.NetworkSettings.SandboxKey}}")?;
    let joined = format!("ns:{key}");
    let said = daemon.ok(&[
        "run",
        "--rm",
        "--network",
        &joined,
        "busybox",
        "ip",
        "-4",
        "-o",
        "addr",
        "show",
        "eth0",
    ])?;
    assert!(said.contains("172.17.0.2/16"), "{said}");
    let said = daemon.ok(&[
        "run",
        "--rm",
        "--network",
        "container:c1",
        "busybox",
        "ip",
        "-4",
        "-o",
        "addr",
        "show",
        "eth0",
    ])?;
    assert!(said.contains("172.17.0.2/16"), "{said}");
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.finish()
}

#[test]
fn several_networks_at_the_start() -> Result<()> {
    let daemon = daemon()?;
    for (name, subnet) in [("a", "10.1.0.0/24"), ("b", "10.2.0.0/24")] {
        daemon.ok(&["network", "create", "--subnet", subnet, name])?;
    }
    let arguments = [
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "name=a,ip=10.1.0.9,alias=web",
        "--network",
        "name=b,gw-priority=5,mac-address=02:11:22:33:44:55",
    ];
    daemon.ok(&[&arguments[..], &SLEEP[..]].concat())?;
    let routes = daemon.ok(&["exec", "c1", "ip", "route"])?;
    assert!(
        routes.contains("default via 10.2.0.1"),
        "the priority decides: {routes}"
    );
    let links = daemon.ok(&["exec", "c1", "ip", "-o", "link"])?;
    assert!(links.contains("02:11:22:33:44:55"), "{links}");
    let settings = "{{range $name, $net := .NetworkSettings.Networks}}{{$name}}={{$net.IPAddress}} {{end}}";
    assert_eq!(daemon.inspect("c1", settings)?.trim(), "a=10.1.0.9 b=10.2.0.2");
    assert_eq!(daemon.ok(&["ps", "--format", "{{.Networks}}"])?, "a,b");
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.finish()
}

#[test]
fn ports_are_shown_and_refused_as_docker_does() -> Result<()> {
    let daemon = daemon()?;
    let arguments = [
        "run",
        "-d",
        "--name",
        "c1",
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1:53:53/udp",
        "-p",
        "7000-7002:7000-7002",
        "--expose",
        "90",
    ];
    daemon.ok(&[&arguments[..], &SLEEP[..]].concat())?;
    assert_eq!(
        daemon.ok(&["port", "c1"])?,
        "53/udp -> 127.0.0.1:53\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n7000/tcp -> 0.0.0.0:7000\n\
         7000/tcp -> [::]:7000\n7001/tcp -> 0.0.0.0:7001\n7001/tcp -> [::]:7001\n7002/tcp -> 0.0.0.0:7002\n\
         7002/tcp -> [::]:7002"
    );
    assert_eq!(daemon.ok(&["port", "c1", "80"])?, "0.0.0.0:8080\n[::]:8080");
    let none = daemon.berth(&["port", "c1", "81"])?.expect(1)?;
    assert_eq!(none.stderr, "Error: No public port '81' published for c1\n");
    assert_eq!(
        daemon.ok(&["ps", "--format", "{{.Ports}}"])?,
        "127.0.0.1:53->53/udp, 90/tcp, 0.0.0.0:7000-7002->7000-7002/tcp, [::]:7000-7002->7000-7002/tcp, \
         0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
    );
    let second = daemon
        .berth(&[&["run", "-d", "--name", "d1", "-p", "8080:80"], &SLEEP[..]].concat())?
        .expect(125)?;
    assert!(
        second
            .stderr
            .contains("Bind for 0.0.0.0:8080 failed: port is already allocated"),
        "{}",
        second.stderr
    );
    daemon.ok(&["rm", "-f", "d1"])?;
    // All exposed ports, each on one that is free.
    daemon.ok(&[
        &["run", "-d", "--name", "e1", "-P", "--expose", "80-82"],
        &SLEEP[..],
    ]
    .concat())?;
    assert_eq!(daemon.ok(&["port", "e1"])?.lines().count(), 6);
    daemon.ok(&["rm", "-f", "c1", "e1"])?;
    daemon.finish()
}

/// Runs of ports under other numbers, through the command line, the record, the packet filter and the next daemon. There
/// are too many for a listener each: IPv6 has none of them.
#[test]
fn ten_thousand_ports_in_one_command() -> Result<()> {
    let mut daemon = daemon()?;
    let many = ["run", "-d", "--name", "many", "-p", "20000-29999:30000-39999"];
    daemon.ok(&[&many[..], &SLEEP[..]].concat())?;
    for is_new in [false, true] {
        if is_new {
            daemon.crash()?;
        }
        let ports = daemon.ok(&["port", "many"])?;
        assert_eq!(ports.lines().count(), 10_000, "a new daemon: {is_new}");
        assert_eq!(daemon.ok(&["port", "many", "34567"])?, "0.0.0.0:24567");
        let asked = "{{len .HostConfig.PortBindings}} {{len .Config.ExposedPorts}}";
        assert_eq!(daemon.inspect("many", asked)?, "10000 10000");
        let container = Host::of_process(daemon.inspect("many", "{{.State.Pid}}")?.parse()?, "many")?;
        for (port, inside) in [(20_000, 30_000), (24_567, 34_567), (29_999, 39_999)] {
            let server = container.serve(Protocol::Tcp, SocketAddr::from(([0, 0, 0, 0], inside)), "many")?;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            assert!(machine(&daemon)?.ask(&server, address)?.is_some(), "{address}");
        }
        if !is_new {
            // Whoever watches the packet filter hears nothing of a change so large, and everything after it.
            machine(&daemon)?.nft("flush ruleset")?;
            let server = container.serve(Protocol::Tcp, SocketAddr::from(([0, 0, 0, 0], 31_000)), "many")?;
            until("the ports to be back", Duration::from_secs(10), || {
                let address = SocketAddr::from(([127, 0, 0, 1], 21_000));
                Ok(machine(&daemon)?.ask(&server, address)?.is_some())
            })?;
        }
        let publication = "29990-30010:80-100";
        let second = [&["run", "-d", "--name", "second", "-p", publication], &SLEEP[..]].concat();
        let refused = daemon.berth(&second)?.expect(125)?;
        let text = "Bind for 0.0.0.0:29990 failed: port is already allocated";
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
        daemon.ok(&["rm", "-f", "second"])?;
    }
    daemon.ok(&["rm", "-f", "many"])?;
    daemon.ok(&[&["run", "-d", "-p", "29990-30010:80-100"], &SLEEP[..]].concat())?;
    let all = daemon.ok(&["ps", "-q"])?;
    daemon.ok(&["rm", "-f", &all])?;
    daemon.finish()
}

#[test]
fn wrong_wishes_are_refused_by_name() -> Result<()> {
    let daemon = daemon()?;
    for (arguments, code, text) in [
        (
            &["run", "--network", "nothing", "busybox"][..],
            125,
            "network nothing not found",
        ),
        (
            &["run", "--network", "host", "--network-alias", "a", "busybox"],
            125,
            "network-scoped aliases are only supported",
        ),
        (
            &["run", "--ip", "172.17.0.9", "busybox"],
            125,
            "user specified IP address is supported on user defined networks only",
        ),
        (
            &["run", "-p", "80:70000", "busybox"],
            125,
            "invalid containerPort: 70000",
        ),
        (
            &["network", "create", "-d", "nothing", "x"],
            1,
            "plugin \"nothing\" not found",
        ),
        (
            &["network", "create", "--subnet", "10.0.0.0/33", "x"],
            1,
            "10.0.0.0/33",
        ),
        (&["network", "create", "--config-only", "x"], 1, "config"),
        (&["network", "create", "--scope", "swarm", "x"], 1, "--scope"),
        (
            &[
                "network",
                "create",
                "-o",
                "com.docker.network.bridge.nonsense=1",
                "x",
            ],
            1,
            "com.docker.network.bridge.nonsense",
        ),
        (&["network", "connect", "host", "x"], 1, ""),
    ] {
        let output = daemon.berth(arguments)?.expect(code)?;
        assert!(output.stderr.contains(text), "{arguments:?}: {}", output.stderr);
    }
    for left in daemon.ok(&["ps", "-aq"])?.lines() {
        daemon.ok(&["rm", left])?;
    }
    daemon.finish()
}

/// NW-09: what people write into names, labels and options is data, in the packet filter and in files.
#[test]
fn nw_09_hostile_words_are_data_or_refused() -> Result<()> {
    let daemon = daemon()?;
    for word in [
        "a\"b",
        "a\nb",
        "a;b",
        "a b",
        "a/b",
        "$(reboot)",
        "\u{202e}x",
        &"x".repeat(10_000),
    ] {
        let create = daemon.berth(&["network", "create", word])?;
        assert_eq!(create.code, 1, "{word:?}: {}{}", create.stdout, create.stderr);
        daemon.ok(&[
            "network",
            "create",
            "--label",
            &format!("l={word}"),
            "-o",
            &format!("my.own={word}"),
            "n",
        ])?;
        let shown = daemon.ok(&["network", "inspect", "-f", "{{json .Labels.l}}", "n"])?;
        assert_eq!(serde_json::from_str::<String>(&shown)?, word);
        let alias = daemon.berth(&[
            "run",
            "--rm",
            "--network",
            "n",
            "--network-alias",
            word,
            "busybox",
            "cat",
            "/etc/hosts",
            "/etc/resolv.conf",
        ])?;
        assert!(
            alias.code == 125 || !alias.stdout.contains(word),
            "{word:?}: {}",
            alias.stdout
        );
        daemon.ok(&["network", "rm", "n"])?;
    }
    for (flag, value) in [
        ("--add-host", "a\n6.6.6.6 b:1.2.3.4"),
        ("--dns-search", "a\nnameserver 6.6.6.6"),
        ("--dns-option", "ndots:1\nnameserver 6.6.6.6"),
        ("--hostname", "a\n6.6.6.6 b"),
    ] {
        let output = daemon.berth(&[
            "run",
            "--rm",
            flag,
            value,
            "busybox",
            "cat",
            "/etc/hosts",
            "/etc/resolv.conf",
        ])?;
        let forged = output
            .stdout
            .lines()
            .any(|line| line.starts_with("6.6.6.6") || line == "nameserver 6.6.6.6");
        assert!(!forged, "{flag} {value:?}: {}", output.stdout);
    }
    daemon.finish()
}

#[test]
fn dockers_client_uses_networks() -> Result<()> {
    if !has("docker") {
        return skip("docker's command line is not installed");
    }
    let daemon = daemon()?;
    let ok = |arguments: &[&str]| daemon.docker(arguments)?.text();
    let id = ok(&[
        "network",
        "create",
        "--subnet",
        "10.8.0.0/24",
        "--label",
        "x=y",
        "n",
    ])?;
    assert_eq!(id.len(), 64);
    ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "n",
        "--ip",
        "10.8.0.8",
        "--network-alias",
        "w",
        "-p",
        "8088:80",
        "busybox",
        "sleep",
        "10000",
    ])?;
    assert_eq!(
        ok(&["port", "web"])?,
        "80/tcp -> 0.0.0.0:8088\n80/tcp -> [::]:8088"
    );
    assert_eq!(
        ok(&["ps", "--format", "{{.Ports}}"])?,
        "0.0.0.0:8088->80/tcp, [::]:8088->80/tcp"
    );
    assert_eq!(
        ok(&["ps", "--format", "{{.Ports}}"])?,
        daemon.ok(&["ps", "--format", "{{.Ports}}"])?
    );
    let members = ok(&[
        "network",
        "inspect",
        "-f",
        "{{range .Containers}}{{.Name}} {{.IPv4Address}}{{end}}",
        "n",
    ])?;
    assert_eq!(members, "web 10.8.0.8/24");
    ok(&["network", "connect", "bridge", "web"])?;
    assert_eq!(
        ok(&["inspect", "-f", "{{len .NetworkSettings.Networks}}", "web"])?,
        "2"
    );
    ok(&["network", "disconnect", "n", "web"])?;
    assert_eq!(
        ok(&[
            "network",
            "ls",
            "--filter",
            "dangling=true",
            "--format",
            "{{.Name}}"
        ])?,
        "n"
    );
    assert_eq!(ok(&["network", "prune", "-f"])?, "Deleted Networks:\nn");
    ok(&["rm", "-f", "web"])?;
    daemon.finish()
}

#[test]
fn events_tell_of_networks() -> Result<()> {
    let daemon = daemon()?;
    let id = daemon.ok(&["network", "create", "n"])?;
    daemon.ok(&[&["run", "-d", "--name", "c1", "--network", "n"], &SLEEP[..]].concat())?;
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.ok(&["network", "rm", "n"])?;
    let now = daemon.ok(&["info", "--format", "{{.SystemTime}}"])?;
    let format = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.type}}";
    let events = daemon.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        &now,
        "--filter",
        "type=network",
        "--filter",
        &format!("network={id}"),
        "--format",
        format,
    ])?;
    let told: Vec<&str> = events.lines().collect();
    assert_eq!(
        told,
        [
            "create n bridge",
            "connect n bridge",
            "disconnect n bridge",
            "destroy n bridge"
        ],
        "{events}"
    );
    daemon.finish()
}

#[test]
fn the_daemons_options_shape_the_default_network() -> Result<()> {
    let daemon = daemon_with(&[
        "--bridge",
        "br9",
        "--bip",
        "10.9.0.1/24",
        "--fixed-cidr",
        "10.9.0.128/25",
        "--mtu",
        "1400",
        "--dns",
        "9.9.9.9",
        "--dns-search",
        "example.com",
        "--default-address-pool",
        "base=10.200.0.0/16,size=24",
        "--ip",
        "127.0.0.1",
    ])?;
    let said = daemon.ok(&[
        "run",
        "--rm",
        "-p",
        "80",
        "busybox",
        "sh",
        "-c",
        "ip -4 -o addr show eth0; cat /sys/class/net/eth0/mtu /etc/resolv.conf",
    ])?;
    assert!(
        said.contains("inet 10.9.0.128/24") || said.contains("inet 10.9.0.129/24"),
        "{said}"
    );
    assert!(said.contains("1400\n"), "{said}");
    assert!(
        said.contains("nameserver 9.9.9.9") && said.contains("search example.com"),
        "{said}"
    );
    daemon.ok(&["network", "create", "n"])?;
    let subnet = daemon.ok(&[
        "network",
        "inspect",
        "-f",
        "{{range .IPAM.Config}}{{.Subnet}}{{end}}",
        "n",
    ])?;
    assert_eq!(subnet, "10.200.0.0/24");
    daemon.ok(&[&["run", "-d", "--name", "c1", "-p", "80"], &SLEEP[..]].concat())?;
    assert!(daemon.ok(&["port", "c1"])?.starts_with("80/tcp -> 127.0.0.1:"));
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.finish()
}

/// Compose 1.29 as Debian has it.
#[test]
fn compose_makes_a_network_for_its_services() -> Result<()> {
    if !has("docker-compose") {
        return skip("docker-compose is not installed");
    }
    let daemon = daemon()?;
    let directory = daemon.directory().join("project");
    std::fs::create_dir(&directory)?;
    testkit::image::put(
        &directory.join("docker-compose.yml"),
        "version: '3'\nservices:\n  web:\n    image: busybox\n    command: sleep 10000\n    ports: ['8090:80']\n  \
         db:\n    image: busybox\n    command: sleep 10000\n    networks:\n      back:\n        aliases: [store]\n      default:\n\
         networks:\n  back:\n    ipam:\n      config: [{subnet: 10.55.0.0/24}]\n",
    )?;
    let compose = |arguments: &[&str]| -> Result<testkit::Output> {
        let mut program = std::process::Command::new("docker-compose");
        program
            .args(arguments)
            .current_dir(&directory)
            .env("DOCKER_HOST", daemon.place().host())
            .env("COMPOSE_API_VERSION", "1.41")
            .env("HOME", daemon.directory());
        command::run(&mut program, b"")
    };
    compose(&["up", "-d"])?.expect(0)?;
    let names = daemon.ok(&[
        "network",
        "ls",
        "--filter",
        "label=com.docker.compose.project=project",
        "--format",
        "{{.Name}}",
    ])?;
    assert_eq!(names, "project_back\nproject_default");
    let web = daemon.ok(&["ps", "-q", "--filter", "label=com.docker.compose.service=web"])?;
    assert!(daemon.ok(&["port", &web])?.contains("0.0.0.0:8090"));
    let db = daemon.ok(&["ps", "-q", "--filter", "label=com.docker.compose.service=db"])?;
    let networks = daemon.inspect(
        &db,
        "{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{end}}",
    )?;
    assert_eq!(networks.trim(), "project_back project_default");
    let aliases = daemon.inspect(
        &db,
        "{{(index .NetworkSettings.Networks \"project_back\").Aliases}}",
    )?;
    assert!(aliases.contains("store"), "{aliases}");
    // Its services find each other by their names.
    for (from, to) in [(&web, "db"), (&db, "web")] {
        daemon.ok(&["exec", from, "ping", "-c", "1", "-w", "10", to])?;
    }
    compose(&["down"])?.expect(0)?;
    assert_eq!(daemon.ok(&["ps", "-aq"])?, "");
    assert_eq!(
        daemon.ok(&["network", "ls", "--filter", "type=custom", "-q"])?,
        ""
    );
    daemon.finish()
}

/// The library that scripts and compose 1 stand on.
#[test]
fn docker_py_uses_networks() -> Result<()> {
    let usable = |python: &&str| {
        let mut import = std::process::Command::new(python);
        import
            .args(["-c", "import docker"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(usable) else {
        return skip("python has no docker module");
    };
    let daemon = daemon()?;
    let script = "
import docker
client = docker.from_env()
pool = docker.types.IPAMPool(subnet='10.44.0.0/24', gateway='10.44.0.1')
net = client.networks.create('n', driver='bridge', ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={'a': 'b'})
box = client.containers.run('busybox', 'sleep 10000', detach=True, network='n', ports={'80/tcp': ('127.0.0.1', 8070)}, name='c1')
box.reload()
assert box.attrs['NetworkSettings']['Networks']['n']['IPAddress'] == '10.44.0.2', box.attrs['NetworkSettings']
assert box.ports == {'80/tcp': [{'HostIp': '127.0.0.1', 'HostPort': '8070'}]}, box.ports
net.reload()
assert [c.name for c in net.containers] == ['c1'], net.attrs
other = client.networks.create('m')
other.connect(box, aliases=['x'])
box.reload()
assert 'x' in box.attrs['NetworkSettings']['Networks']['m']['Aliases'], box.attrs
other.disconnect(box)
try:
    net.remove()
    raise SystemExit('a network in use was removed')
except docker.errors.APIError as error:
    assert error.status_code == 403 and 'active endpoints' in error.explanation, error
box.remove(force=True)
assert [n.name for n in client.networks.list(filters={'label': 'a'})] == ['n']
assert sorted(client.networks.prune()['NetworksDeleted']) == ['m', 'n']
print('all good')
";
    let mut run = std::process::Command::new(python);
    run.args(["-c", script]).env("DOCKER_HOST", daemon.place().host());
    let output = command::run(&mut run, b"")?;
    assert!(
        output.stdout.ends_with("all good\n"),
        "{}\n{}",
        output.stdout,
        output.stderr
    );
    daemon.finish()
}
