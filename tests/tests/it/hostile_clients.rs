//! The API socket under clients that break the rules or never read (AP-03 to AP-05, DS-01, F-10).

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use testkit::{Daemon, Start};

use crate::wire;

/// The daemon answers another client at once.
fn answers(daemon: &Daemon, what: &str) -> Result<()> {
    let start = Instant::now();
    let reply = daemon.api("GET", "/_ping", None)?;
    assert_eq!(reply.status, 200, "{what}");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{what}: {:?}",
        start.elapsed()
    );
    Ok(())
}

/// AP-03: no request of the corpus kills the daemon, is answered twice, or brings a hidden second request.
#[test]
fn ap_03_hostile_http() -> Result<()> {
    let daemon = Daemon::start()?;
    let huge = "x".repeat(1 << 20);
    let many = (0..2000).fold(String::new(), |all, index| format!("{all}X-{index}: y\r\n"));
    let hidden = "GET /version HTTP/1.1\r\nHost: hidden\r\nConnection: close\r\n\r\n";
    let with = |head: &str, body: &str| {
        format!("POST /containers/create HTTP/1.1\r\nHost: b\r\n{head}\r\n\r\n{body}")
    };
    let corpus: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("NULs", vec![0; 4096]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()),
        ("HTTP/0.9", b"GET /_ping\r\n\r\n".to_vec()),
        ("HTTP/9", b"GET /_ping HTTP/9.9\r\n\r\n".to_vec()),
        ("no host", b"GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec()),
        ("method of junk", b"G\x01T /_ping HTTP/1.1\r\nHost: b\r\n\r\n".to_vec()),
        ("absolute URI", b"GET http://evil/_ping HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".to_vec()),
        ("asterisk", b"OPTIONS * HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".to_vec()),
        ("CONNECT", b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".to_vec()),
        ("huge line", format!("GET /{huge} HTTP/1.1\r\nHost: b\r\n\r\n").into_bytes()),
        ("huge header", format!("GET /_ping HTTP/1.1\r\nHost: b\r\nX: {huge}\r\n\r\n").into_bytes()),
        ("many headers", format!("GET /_ping HTTP/1.1\r\nHost: b\r\n{many}\r\n").into_bytes()),
        ("space before colon", b"GET /_ping HTTP/1.1\r\nHost : b\r\n\r\n".to_vec()),
        ("folded header", b"GET /_ping HTTP/1.1\r\nHost: b\r\n X: y\r\n\r\n".to_vec()),
        ("bare LF", b"GET /_ping HTTP/1.1\nHost: b\nConnection: close\n\n".to_vec()),
        ("NUL in header", b"GET /_ping HTTP/1.1\r\nHost: b\r\nX: a\0b\r\n\r\n".to_vec()),
        ("negative length", with("Content-Length: -1", "").into_bytes()),
        ("length of letters", with("Content-Length: 0x10", "").into_bytes()),
        ("length that wraps", with("Content-Length: 18446744073709551616", "").into_bytes()),
        ("huge length", with("Content-Type: application/json\r\nContent-Length: 9223372036854775807", "{").into_bytes()),
        ("two lengths", with("Content-Length: 0\r\nContent-Length: 70", hidden).into_bytes()),
        ("list of lengths", with("Content-Length: 0, 70", hidden).into_bytes()),
        ("length and chunked", with("Content-Length: 4\r\nTransfer-Encoding: chunked", &format!("0\r\n\r\n{hidden}")).into_bytes()),
        ("unknown coding", with("Transfer-Encoding: xchunked", hidden).into_bytes()),
        ("chunked twice", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", hidden).into_bytes()),
        ("obscured coding", with("Transfer-Encoding: \x0bchunked", hidden).into_bytes()),
        ("chunk size of junk", with("Transfer-Encoding: chunked", "zz\r\n").into_bytes()),
        ("chunk size that wraps", with("Transfer-Encoding: chunked", "fffffffffffffffff\r\n").into_bytes()),
        ("huge chunk", with("Content-Type: application/json\r\nTransfer-Encoding: chunked", "7fffffff\r\n{").into_bytes()),
        ("chunk extension", with("Transfer-Encoding: chunked", &format!("1;{huge}\r\n{{\r\n0\r\n\r\n")).into_bytes()),
        ("trailers", with("Transfer-Encoding: chunked", &format!("0\r\n{many}\r\n")).into_bytes()),
        ("cut chunk", with("Transfer-Encoding: chunked", "a\r\n{").into_bytes()),
        ("percent", b"GET /containers/%/json HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".to_vec()),
        ("dots", b"GET /../../etc/passwd HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".to_vec()),
        ("query of junk", b"GET /containers/json?filters=%ff%00&all=x&limit=99999999999999999999 HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".to_vec()),
        ("upgrade of a plain request", b"GET /_ping HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n".to_vec()),
        ("attach with two lengths", b"POST /containers/x/attach HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n".to_vec()),
        ("attach with a huge length", b"POST /exec/x/start HTTP/1.1\r\nHost: b\r\nContent-Length: 99999999\r\n\r\n".to_vec()),
        ("attach with junk", b"POST /containers/x/attach HTTP/1.1\r\nHost: b\r\n\0\0\0\r\n\r\n".to_vec()),
    ];
    let before = wire::memory(&daemon, "VmRSS")?;
    for (name, bytes) in corpus {
        let answer = wire::exchange(&daemon, &bytes, Duration::from_secs(5))?;
        let answers_given = answer.matches("HTTP/1.1 ").count();
        assert!(
            answers_given <= 1,
            "{name} was answered {answers_given} times: {answer}"
        );
        assert!(
            !answer.contains("\"ApiVersion\""),
            "{name}: the hidden request was answered"
        );
        assert!(
            wire::status(&answer) < 500 || wire::status(&answer) == 501,
            "{name}: {answer}"
        );
        answers(&daemon, name)?;
    }
    assert!(wire::memory(&daemon, "VmRSS")? < before + (64 << 10));
    assert!(!daemon.log_tail().contains("panicked"), "{}", daemon.log_tail());
    daemon.finish()
}

/// AP-03: clients that send one byte and wait take no memory and no turn of others.
#[test]
fn ap_03_slow_heads_and_bodies() -> Result<()> {
    let daemon = Daemon::start()?;
    let before = (wire::memory(&daemon, "VmRSS")?, wire::descriptors(&daemon)?);
    let mut clients: Vec<UnixStream> = Vec::new();
    for index in 0..300 {
        let mut client = wire::connect(&daemon)?;
        let start: &[u8] = match index % 4 {
            0 => b"G",
            1 => b"POST /containers/x/attach HTTP/1.1\r\nHost: b\r\nX: ",
            2 => b"POST /containers/create HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\nContent-Length: 8000000\r\n\r\n{",
            _ => b"GET /events HTTP/1.1\r\nHost: b\r\n\r\n",
        };
        client.write_all(start)?;
        clients.push(client);
    }
    for round in 0..30 {
        for client in clients.iter_mut().skip(round).step_by(30) {
            // Events and refused clients may be closed already.
            drop(client.write_all(b" "));
        }
        answers(&daemon, "beside slow clients")?;
    }
    assert!(wire::memory(&daemon, "VmRSS")? < before.0 + (64 << 10));
    drop(clients);
    testkit::until(
        "the slow clients' descriptors to be closed",
        Duration::from_secs(5),
        || Ok(wire::descriptors(&daemon)? <= before.1 + 2),
    )?;
    daemon.finish()
}

/// AP-04: a wrong type in any field of create is a 4xx that comes at once, never a fault of the daemon.
#[test]
fn ap_04_wrong_types_in_every_field() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&["create", "--name", "model", "busybox", "true"])?;
    let model = daemon.api("GET", "/v1.50/containers/model/json", None)?.json()?;
    let wrong = [
        json!("text"),
        json!(""),
        json!("a\u{0}b"),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(true),
        json!([]),
        json!([null]),
        json!([1, "a", {}]),
        json!({}),
        json!({"": {}}),
        json!({"a": [1]}),
        json!("0-4294967295"),
        json!({"../../etc": {}, "a\nb": null}),
    ];
    let mut sent = 0;
    let mut accepted = 0;
    for part in ["Config", "HostConfig", "NetworkingConfig"] {
        let mut names: Vec<String> = model[part]
            .as_object()
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default();
        names.extend(
            [
                "Healthcheck",
                "EndpointsConfig",
                "Mounts",
                "Ulimits",
                "DeviceRequests",
                "Tmpfs",
                "Sysctls",
                "LogConfig",
                "RestartPolicy",
                "PortBindings",
            ]
            .map(str::to_owned),
        );
        for name in names {
            for value in &wrong {
                let mut body = json!({ "Image": "busybox", "Cmd": ["true"] });
                if part == "Config" {
                    body[&name] = value.clone();
                } else {
                    body[part] = json!({ &name: value });
                }
                let start = Instant::now();
                let reply = daemon.api("POST", "/v1.50/containers/create", Some(&body.to_string()))?;
                assert!(
                    reply.status < 500 || reply.status == 501,
                    "{body}: {} {}",
                    reply.status,
                    reply.body
                );
                assert!(
                    start.elapsed() < Duration::from_secs(2),
                    "{body} took {:?}",
                    start.elapsed()
                );
                sent += 1;
                if reply.status == 201 {
                    accepted += 1;
                    let id = reply.json()?["Id"].as_str().unwrap_or_default().to_owned();
                    let removed = daemon.api("DELETE", &format!("/v1.50/containers/{id}?force=1"), None)?;
                    assert_eq!(removed.status, 204, "{body}: {}", removed.body);
                }
            }
        }
    }
    assert!(
        sent > 1000 && accepted < sent / 2,
        "{accepted} of {sent} accepted"
    );
    assert!(!daemon.log_tail().contains("panicked"), "{}", daemon.log_tail());
    daemon.finish()
}

/// AP-04: documents that are too deep, too long, or no JSON.
#[test]
fn ap_04_documents_out_of_bounds() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let keys: String = (0..300_000).map(|index| format!("\"k{index}\":1,")).collect();
    let labels: String = (0..50_000).map(|index| format!("\"k{index}\":\"\",")).collect();
    for (name, body) in [
        ("deep arrays", "[".repeat(100_000).into_bytes()),
        ("deep objects", "{\"a\":".repeat(100_000).into_bytes()),
        (
            "deep in a field",
            format!("{{\"Image\":\"busybox\",\"Labels\":{}", "{\"a\":".repeat(100_000)).into_bytes(),
        ),
        (
            "many unknown keys",
            format!("{{{keys}\"Image\":\"nope\"}}").into_bytes(),
        ),
        (
            "many labels",
            format!("{{\"Image\":\"nope\",\"Labels\":{{{labels}\"z\":\"\"}}}}").into_bytes(),
        ),
        ("too long", vec![b' '; 100 << 20]),
        ("NaN", b"{\"Image\":NaN}".to_vec()),
        (
            "two values",
            b"{\"Image\":\"nope\"}{\"Image\":\"busybox\"}".to_vec(),
        ),
        (
            "key twice",
            b"{\"Image\":\"busybox\",\"Image\":\"nope\"}".to_vec(),
        ),
        ("not UTF-8", b"{\"Image\":\"\xff\xfe\"}".to_vec()),
        ("lone surrogate", b"{\"Image\":\"\\ud800\"}".to_vec()),
        ("byte order mark", b"\xef\xbb\xbf{\"Image\":\"busybox\"}".to_vec()),
        (
            "long number",
            format!(
                "{{\"Image\":\"nope\",\"HostConfig\":{{\"Memory\":{}}}}}",
                "9".repeat(100_000)
            )
            .into_bytes(),
        ),
        (
            "many processors",
            b"{\"Image\":\"busybox\",\"HostConfig\":{\"CpusetCpus\":\"0-4294967295\"}}".to_vec(),
        ),
        (
            "endless list of processors",
            format!(
                "{{\"Image\":\"busybox\",\"HostConfig\":{{\"CpusetCpus\":\"{}\"}}}}",
                "0,".repeat(1_000_000)
            )
            .into_bytes(),
        ),
    ] {
        let start = Instant::now();
        let (status, answer) = wire::post(&daemon, "/v1.50/containers/create", "application/json", &body)?;
        // Of a body that is refused early the client may see nothing but the closed connection.
        assert!(
            (400..500).contains(&status) || status == 0 && name == "too long",
            "{name}: {answer}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{name} took {:?}",
            start.elapsed()
        );
        answers(&daemon, name)?;
    }
    assert!(wire::memory(&daemon, "VmHWM")? < 256 << 10);
    daemon.finish()
}

/// AP-05: whatever stands where an id or a name belongs, no file outside is made, read or removed.
#[test]
fn ap_05_ids_and_names_are_no_paths() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    testkit::image::put(&daemon.directory().join("precious"), "kept\n")?;
    let top = || -> Result<Vec<String>> {
        let mut names = Vec::new();
        for directory in [
            daemon.directory().to_owned(),
            daemon.place().data_root(),
            daemon.place().exec_root(),
        ] {
            for entry in std::fs::read_dir(directory)? {
                names.push(entry?.path().display().to_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    };
    let before = top()?;
    let long = "a".repeat(5000);
    let names = [
        "..%2f..%2fprecious",
        "%2e%2e%2fprecious",
        "..",
        ".",
        "%2e%2e",
        "a%2fb",
        "%2fetc%2fpasswd",
        "%00",
        "a%00b",
        "-rf",
        "--help",
        "a%0ab",
        "%20",
        "%ff%fe",
        "sha256:..%2f..%2fprecious",
        "sha256:%2e%2e",
        "*",
        "$(id)",
        "%60id%60",
        "a;b",
        long.as_str(),
    ];
    for name in names {
        for (method, path) in [
            ("GET", "/containers/NAME/json"),
            ("POST", "/containers/NAME/start"),
            ("DELETE", "/containers/NAME?force=1&v=1"),
            ("GET", "/containers/NAME/logs?stdout=1"),
            ("POST", "/containers/NAME/rename?name=NAME"),
            ("GET", "/images/NAME/json"),
            ("DELETE", "/images/NAME?force=1"),
            ("POST", "/images/busybox/tag?repo=NAME&tag=NAME"),
            ("GET", "/images/NAME/get"),
            ("GET", "/volumes/NAME"),
            ("DELETE", "/volumes/NAME?force=1"),
            ("GET", "/exec/NAME/json"),
            ("GET", "/networks/NAME"),
            ("GET", "/images/get?names=NAME"),
        ] {
            let reply = daemon.api(method, &format!("/v1.50{}", path.replace("NAME", name)), None)?;
            // `volumes?force` says 204 for what is not there, as docker does.
            let harmless = reply.status == 204 && path.starts_with("/volumes");
            let is_tag = path.contains("/tag?");
            assert!(
                (400..500).contains(&reply.status)
                    || reply.status == 301
                    || harmless
                    || is_tag && reply.status == 201,
                "{method} {path} {name}: {} {}",
                reply.status,
                reply.body
            );
        }
    }
    for name in ["../../precious", "..", "a/b", "a\u{0}b", "-x", "a\nb", "", "ü"] {
        for (path, body) in [
            ("/volumes/create", json!({ "Name": name })),
            (
                "/containers/create",
                json!({ "Image": "busybox", "HostConfig": { "Binds": [format!("{name}:/x")] } }),
            ),
            (
                "/containers/create",
                json!({ "Image": "busybox", "HostConfig": { "Mounts": [{ "Type": "volume", "Source": name, "Target": "/x" }] } }),
            ),
            ("/containers/create", json!({ "Image": name })),
            (
                "/containers/create",
                json!({ "Image": "busybox", "HostConfig": { "CgroupParent": name } }),
            ),
            (
                "/containers/create",
                json!({ "Image": "busybox", "HostConfig": { "ContainerIDFile": name, "LogConfig": { "Type": name } } }),
            ),
            (
                "/containers/create",
                json!({ "Image": "busybox", "Hostname": name }),
            ),
        ] {
            let reply = daemon.api("POST", &format!("/v1.50{path}"), Some(&body.to_string()))?;
            assert!(
                reply.status < 500 || reply.status == 501,
                "{path} {body}: {} {}",
                reply.status,
                reply.body
            );
        }
    }
    for id in daemon.ok(&["ps", "-aq"])?.lines() {
        daemon.ok(&["rm", "-f", "-v", id])?;
    }
    assert_eq!(top()?, before);
    assert_eq!(
        std::fs::read_to_string(daemon.directory().join("precious"))?,
        "kept\n"
    );
    daemon.finish()
}

fn stream(daemon: &Daemon, request: &str) -> Result<UnixStream> {
    let mut stream = wire::connect(daemon)?;
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// DS-01 and F-10: clients that ask for streams and never read, and those that come and go, cost the daemon nothing that
/// stays and the container no time.
#[test]
fn ds_01_f_10_clients_that_do_not_read() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let program = "yes 0123456789012345678901234567890123456789012345678901234567890123456789";
    daemon.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "loud",
        "--log-opt",
        "max-size=1m",
        "busybox",
        "sh",
        "-c",
        program,
    ])?;
    daemon.ok(&[
        "run",
        "-d",
        "--name",
        "quiet",
        "busybox",
        "sh",
        "-c",
        "i=0; while :; do i=$((i+1)); echo $i > /count; done",
    ])?;
    for _ in 0..5 {
        daemon.ok(&["exec", "quiet", "true"])?;
    }
    let before = (wire::memory(&daemon, "VmRSS")?, wire::descriptors(&daemon)?);
    let mut clients = Vec::new();
    for index in 0..60 {
        let path = match index % 5 {
            0 => "POST /v1.50/containers/loud/attach?stream=1&stdout=1&logs=0 HTTP/1.1\r\nHost: b\r\n",
            1 => "GET /v1.50/containers/loud/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: b\r\n",
            2 => "GET /v1.50/events HTTP/1.1\r\nHost: b\r\n",
            3 => "GET /v1.50/containers/loud/stats?stream=1 HTTP/1.1\r\nHost: b\r\n",
            _ => {
                "POST /v1.50/containers/loud/attach?stream=1&stdout=1&stdin=1 HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
            }
        };
        clients.push(stream(&daemon, &format!("{path}\r\n"))?);
    }
    let count = || -> Result<u64> {
        Ok(daemon
            .ok(&["exec", "quiet", "cat", "/count"])?
            .trim()
            .parse()
            .unwrap_or(0))
    };
    let start = count()?;
    for _ in 0..20 {
        answers(&daemon, "beside clients that do not read")?;
        daemon.ok(&["exec", "quiet", "true"])?;
    }
    testkit::until("another container to go on", Duration::from_secs(10), || {
        Ok(count()? > start)
    })?;
    // The log goes on: its reader is the shim, whoever else does not read.
    let size = |name: &str| {
        daemon
            .berth(&["logs", "--tail", "1", name])
            .map(|output| output.stdout.len())
    };
    assert!(size("loud")? > 0);
    drop(clients);
    for _ in 0..60 {
        drop(stream(
            &daemon,
            "POST /v1.50/containers/loud/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: b\r\n\r\n",
        )?);
        daemon.api("POST", "/v1.50/containers/loud/resize?h=40&w=80", None)?;
    }
    testkit::until(
        "descriptors of gone clients to be closed",
        Duration::from_secs(10),
        || Ok(wire::descriptors(&daemon)? <= before.1 + 3),
    )?;
    let grown = wire::memory(&daemon, "VmRSS")?.saturating_sub(before.0);
    assert!(grown < 64 << 10, "the daemon grew by {grown} KiB");
    daemon.finish()
}

/// F-26: a handler that panics costs its own call a 500; everything else goes on. (The failpoint panics once.)
#[test]
fn f_26_a_panic_is_one_calls_failure() -> Result<()> {
    let daemon = Daemon::with_busybox_and(Start {
        arguments: Vec::new(),
        environment: vec![("BERTH_FAILPOINT".to_owned(), "create.reserve=panic".to_owned())],
        host: None,
    })?;
    let body = Some(r#"{"Image":"busybox","Cmd":["true"]}"#);
    let reply = daemon.api("POST", "/v1.50/containers/create?name=c1", body)?;
    assert_eq!(reply.status, 500, "{}", reply.body);
    assert!(
        reply.json()?["message"]
            .as_str()
            .is_some_and(|text| text.contains("fault"))
    );
    // The same name: what the panicking call held is free again.
    let reply = daemon.api("POST", "/v1.50/containers/create?name=c1", body)?;
    assert_eq!(reply.status, 201, "{}", reply.body);
    assert_eq!(daemon.ok(&["run", "--rm", "busybox", "echo", "on"])?, "on");
    daemon.finish()
}
