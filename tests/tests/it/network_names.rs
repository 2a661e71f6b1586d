//! Containers that find each other by name, and real programs that do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Result;
use testkit::{Daemon, Host, Start, has, skip, until};

fn daemon() -> Result<Daemon> {
    Daemon::with_busybox_and(Start {
        host: Some(Host::new("machine")?),
        ..Start::default()
    })
}

const SLEEP: [&str; 3] = ["busybox", "sleep", "10000"];

/// Returns what `nslookup` says inside of a container.
fn lookup(daemon: &Daemon, container: &str, name: &str) -> Result<String> {
    Ok(daemon.berth(&["exec", container, "nslookup", name])?.stdout)
}

#[test]
fn containers_find_each_other_by_name_and_alias() -> Result<()> {
    let mut daemon = daemon()?;
    daemon.ok(&["network", "create", "--subnet", "10.30.0.0/24", "n"])?;
    daemon.ok(&["network", "create", "--subnet", "10.31.0.0/24", "m"])?;
    let run = |name: &str, network: &str, more: &[&str]| {
        daemon.ok(&[
            &["run", "-d", "--name", name, "--network", network],
            more,
            &SLEEP[..],
        ]
        .concat())
    };
    run("one", "n", &[])?;
    run(
        "two",
        "n",
        &["--ip", "10.30.0.22", "--network-alias", "web", "-h", "host2"],
    )?;
    run("three", "n", &["--ip", "10.30.0.33", "--network-alias", "web"])?;
    run("far", "m", &["--ip", "10.31.0.44"])?;
    for (name, address) in [
        ("two", "10.30.0.22"),
        ("two.n", "10.30.0.22"),
        ("host2", "10.30.0.22"),
        ("TWO", "10.30.0.22"),
    ] {
        assert!(lookup(&daemon, "one", name)?.contains(address), "{name}");
    }
    let web = lookup(&daemon, "one", "web")?;
    assert!(web.contains("10.30.0.22") && web.contains("10.30.0.33"), "{web}");
    let back = lookup(&daemon, "one", "10.30.0.22")?;
    assert!(back.contains("two.n"), "{back}");
    assert!(!lookup(&daemon, "one", "far")?.contains("10.31.0.44"));
    assert!(
        daemon
            .ok(&["exec", "one", "cat", "/etc/resolv.conf"])?
            .contains("nameserver 127.0.0.11")
    );
    daemon.ok(&["exec", "one", "ping", "-c", "1", "-w", "10", "two"])?;
    // Connected while it runs, and gone again.
    daemon.ok(&["network", "connect", "--alias", "near", "n", "far"])?;
    assert!(lookup(&daemon, "one", "near")?.contains("10.30.0."));
    daemon.ok(&["network", "disconnect", "n", "far"])?;
    assert!(!lookup(&daemon, "one", "near")?.contains("10.30.0."));
    // The names are there while no daemon is, and after the next has started.
    let pid = daemon.inspect("one", "{{.State.Pid}}")?;
    daemon.kill()?;
    let nsenter = [
        "nsenter",
        "-t",
        &pid,
        "-n",
        "busybox",
        "nslookup",
        "two",
        "127.0.0.11",
    ];
    let answer = testkit::command::run(std::process::Command::new(nsenter[0]).args(&nsenter[1..]), b"")?;
    assert!(
        answer.stdout.contains("10.30.0.22"),
        "{}{}",
        answer.stdout,
        answer.stderr
    );
    daemon.launch()?;
    assert!(lookup(&daemon, "one", "two")?.contains("10.30.0.22"));
    daemon.ok(&["rm", "-f", "two"])?;
    assert!(!lookup(&daemon, "one", "two")?.contains("10.30.0.22"));
    daemon.finish()
}

#[test]
fn hosts_and_links() -> Result<()> {
    let daemon = daemon()?;
    daemon.ok(&[&["run", "-d", "--name", "base"], &SLEEP[..]].concat())?;
    let hosts = daemon.ok(&[
        "run",
        "--rm",
        "--link",
        "base:db",
        "--add-host",
        "gate:host-gateway",
        "--add-host",
        "x:1.2.3.4",
        "-h",
        "me",
        "busybox",
        "cat",
        "/etc/hosts",
    ])?;
    for line in [
        "172.17.0.2\tdb ",
        "172.17.0.1\tgate",
        "1.2.3.4\tx",
        "172.17.0.3\tme",
    ] {
        assert!(hosts.contains(line), "{line:?} in {hosts}");
    }
    daemon.ok(&["rm", "-f", "base"])?;
    daemon.finish()
}

/// Two services and a client that knows them by name alone, as on a user's machine.
#[test]
fn redis_is_found_by_its_name() -> Result<()> {
    if !has("redis-server") || !has("redis-cli") {
        return skip("redis is not installed");
    }
    let daemon = daemon()?;
    daemon.ok(&["image", "pack", "-t", "redis", "redis-server", "redis-cli"])?;
    daemon.ok(&["network", "create", "back"])?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "cache",
        "--network",
        "back",
        "-p",
        "6390:6379",
        "redis",
        "redis-server",
        "--protected-mode",
        "no",
        "--save",
        "",
    ])?;
    daemon.wait_for_log("cache", "Ready to accept connections")?;
    let client = |arguments: &[&str]| {
        let run = [
            "run",
            "--rm",
            "--network",
            "back",
            "redis",
            "redis-cli",
            "-h",
            "cache",
        ];
        daemon.ok(&[&run[..], arguments].concat())
    };
    assert_eq!(client(&["set", "a", "b"])?, "OK");
    assert_eq!(client(&["get", "a"])?, "b");
    // From the machine, by the published port.
    let machine = Host::of_process(daemon.pid()?, "machine")?;
    assert_eq!(
        machine.run(&["redis-cli", "-p", "6390", "get", "a"])?.text()?,
        "b"
    );
    daemon.ok(&["rm", "-f", "cache"])?;
    daemon.finish()
}

#[test]
fn postgres_is_found_by_its_name() -> Result<()> {
    if !has("postgres") || !has("initdb") || !has("psql") {
        return skip("postgres is not installed");
    }
    let daemon = daemon()?;
    daemon.ok(&["network", "create", "back"])?;
    let script = "initdb -D /tmp/db -A trust -U me >/dev/null && echo 'host all all all trust' >> /tmp/db/pg_hba.conf && \
        exec postgres -D /tmp/db -k /tmp -c listen_addresses='*' -c fsync=off";
    let user = [
        "--rootfs",
        "/:O",
        "-u",
        "postgres",
        "-e",
        "PATH=/usr/local/bin:/usr/bin:/bin",
    ];
    daemon.ok(&[
        &["run", "-d", "--name", "db", "--network", "back"],
        &user[..],
        &["sh", "-c", script],
    ]
    .concat())?;
    let query = [
        &["run", "--rm", "--network", "back"],
        &user[..],
        &[
            "psql",
            "-h",
            "db",
            "-U",
            "me",
            "-d",
            "postgres",
            "-Atc",
            "select 6*7",
        ],
    ]
    .concat();
    until("postgres to answer", Duration::from_secs(60), || {
        Ok(daemon.berth(&query)?.stdout.trim() == "42")
    })?;
    daemon.ok(&["rm", "-f", "db"])?;
    daemon.finish()
}

const NGINX: &str = "daemon off; user root; pid /tmp/pid; error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
    server { listen 80; location / { return 200 hello; } }
}
";

#[test]
fn a_web_server_behind_a_published_port() -> Result<()> {
    let daemon = daemon()?;
    let machine = Host::of_process(daemon.pid()?, "machine")?;
    // It needs no more of a package than the program: one that was unpacked somewhere in the search path will do.
    let configuration = daemon.directory().join("nginx.conf");
    testkit::image::put(&configuration, NGINX)?;
    let volume = format!("{}:/nginx.conf:ro", configuration.display());
    let server: &[&str] = if has("nginx") {
        daemon.ok(&["image", "pack", "-t", "web", "nginx"])?;
        &[
            "--tmpfs",
            "/tmp",
            "-v",
            &volume,
            "web",
            "nginx",
            "-e",
            "stderr",
            "-c",
            "/nginx.conf",
        ]
    } else {
        let script = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
        &["busybox", "sh", "-c", script]
    };
    daemon.ok(&[&["run", "-d", "--name", "web", "-p", "8099:80"], server].concat())?;
    let get = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", 8099))?;
        stream.write_all(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        Ok(page)
    };
    until("the page", Duration::from_secs(20), || {
        Ok(machine
            .inside(get)?
            .is_ok_and(|page| page.starts_with("HTTP/1.") && page.contains(" 200 OK")))
    })?;
    daemon.ok(&["rm", "-f", "web"])?;
    daemon.finish()
}
