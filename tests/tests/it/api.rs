//! The HTTP API as a client that is not ours sees it: versions, headers, statuses, error texts.

use anyhow::Result;
use testkit::Daemon;

#[test]
fn ping_names_versions() -> Result<()> {
    let daemon = Daemon::start()?;
    let reply = daemon.api("GET", "/_ping", None)?;
    assert_eq!((reply.status, reply.body.as_str()), (200, "OK"));
    assert_eq!(reply.header("Api-Version"), Some("1.50"));
    assert_eq!(reply.header("Ostype"), Some("linux"));
    let reply = daemon.api("HEAD", "/_ping", None)?;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""));
    daemon.finish()
}

#[test]
fn versions_from_1_24_to_1_50() -> Result<()> {
    let daemon = Daemon::start()?;
    for version in ["v1.24", "v1.41", "v1.50"] {
        assert_eq!(
            daemon
                .api("GET", &format!("/{version}/containers/json"), None)?
                .status,
            200,
            "{version}"
        );
    }
    for (version, word) in [("v1.23", "too old"), ("v1.99", "too new")] {
        let reply = daemon.api("GET", &format!("/{version}/info"), None)?;
        assert_eq!(reply.status, 400, "{version}");
        let message = reply.json()?["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(word), "{message}");
    }
    daemon.finish()
}

#[test]
fn errors_are_json_with_dockers_status() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for (method, path, body, status, text) in [
        (
            "GET",
            "/containers/nope/json",
            None,
            404,
            "No such container: nope",
        ),
        (
            "POST",
            "/containers/nope/start",
            None,
            404,
            "No such container: nope",
        ),
        ("GET", "/images/nope/json", None, 404, "No such image: nope"),
        ("GET", "/no/such/route", None, 404, "page not found"),
        ("POST", "/containers/create", Some("{"), 400, ""),
        (
            "POST",
            "/containers/create",
            Some("{\"Image\":\"nope\"}"),
            404,
            "No such image: nope",
        ),
        ("GET", "/exec/nope/json", None, 404, "No such exec instance: nope"),
    ] {
        let reply = daemon.api(method, path, body)?;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.body);
        let message = reply.json()?["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(text), "{method} {path}: {message}");
    }
    daemon.finish()
}

#[test]
fn create_start_inspect_remove() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let body = r#"{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{"NetworkMode":"none"}}"#;
    let reply = daemon.api("POST", "/v1.50/containers/create?name=c1", Some(body))?;
    assert_eq!(reply.status, 201, "{}", reply.body);
    let id = reply.json()?["Id"].as_str().unwrap_or_default().to_owned();
    assert!(reply.json()?["Warnings"].is_array());
    assert_eq!(
        daemon
            .api("POST", "/v1.50/containers/create?name=c1", Some(body))?
            .status,
        409
    );
    assert_eq!(
        daemon.api("POST", "/v1.50/containers/c1/start", None)?.status,
        204
    );
    assert_eq!(
        daemon.api("POST", "/v1.50/containers/c1/start", None)?.status,
        304
    );
    let inspect = daemon.api("GET", "/v1.50/containers/c1/json", None)?.json()?;
    assert_eq!(inspect["Id"], id.as_str());
    assert_eq!(inspect["Name"], "/c1");
    assert_eq!(inspect["State"]["Running"], true);
    assert_eq!(inspect["Config"]["Cmd"], serde_json::json!(["sleep", "1000"]));
    assert_eq!(daemon.api("DELETE", "/v1.50/containers/c1", None)?.status, 409);
    assert_eq!(
        daemon.api("POST", "/v1.50/containers/c1/stop?t=0", None)?.status,
        204
    );
    assert_eq!(
        daemon.api("POST", "/v1.50/containers/c1/stop?t=0", None)?.status,
        304
    );
    assert_eq!(daemon.api("POST", "/v1.50/containers/c1/kill", None)?.status, 409);
    assert_eq!(daemon.api("DELETE", "/v1.50/containers/c1", None)?.status, 204);
    daemon.finish()
}

#[test]
fn fields_that_are_not_done_are_refused_by_name() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let body = r#"{"Image":"busybox","HostConfig":{"StorageOpt":{"size":"1G"}}}"#;
    let reply = daemon.api("POST", "/v1.50/containers/create", Some(body))?;
    assert!(
        reply.status >= 400 && reply.body.contains("storage-opt"),
        "{}",
        reply.body
    );
    daemon.finish()
}

/// AP-04: hostile bodies are refused quickly and the daemon lives.
#[test]
fn ap_04_hostile_json() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    let deep = "[".repeat(100_000);
    let wrong = r#"{"Image":["busybox"],"Cmd":{"a":1},"HostConfig":{"Memory":"lots"}}"#;
    let negative = r#"{"Image":"busybox","HostConfig":{"Memory":-5,"PidsLimit":99999999999999999999}}"#;
    let cpus = r#"{"Image":"busybox","HostConfig":{"CpusetCpus":"0-4294967295"}}"#;
    for body in [deep.as_str(), wrong, negative, cpus, "null", "NaN"] {
        let reply = daemon.api("POST", "/v1.50/containers/create", Some(body))?;
        assert!(
            (400..500).contains(&reply.status),
            "{}: {}",
            &body[..body.len().min(60)],
            reply.status
        );
    }
    assert_eq!(daemon.api("GET", "/_ping", None)?.status, 200);
    daemon.finish()
}

/// AP-05: names are checked before they become anything.
#[test]
fn ap_05_hostile_names() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    for name in ["..%2f..%2fetc", "a%2fb", "%00", "-leading", "a%0ab", "%2e%2e"] {
        let body = r#"{"Image":"busybox"}"#;
        let reply = daemon.api(
            "POST",
            &format!("/v1.50/containers/create?name={name}"),
            Some(body),
        )?;
        assert_eq!(reply.status, 400, "{name}: {}", reply.body);
        assert!(
            daemon
                .api("GET", &format!("/v1.50/containers/{name}/json"), None)?
                .status
                >= 400
        );
    }
    daemon.finish()
}

/// What dockerode, compose 1.29, and people with curl stumble over; dockerd 20.10 was the model.
#[test]
fn details_that_clients_depend_on() -> Result<()> {
    let daemon = Daemon::with_busybox()?;
    daemon.ok(&[
        "run",
        "-d",
        "--init",
        "--name",
        "c1",
        "busybox",
        "sh",
        "-c",
        "sleep 100; true",
    ])?;
    let reply = daemon.api("GET", r#"/v1.41/containers/json?filters={"name":["c1"]}"#, None)?;
    assert_eq!(reply.status, 200, "quotes that are not escaped");
    let list = reply.json()?;
    assert_eq!(list[0]["Command"], "sh -c 'sleep 100; true'");
    let inspect = daemon.api("GET", "/containers/c1/json", None)?.json()?;
    let id = inspect["Id"].as_str().unwrap_or_default();
    assert_eq!(inspect["Config"]["Hostname"], id[..12]);
    assert!(inspect["Config"].get("OnBuild").is_some());
    let resize = daemon.api("POST", "/containers/c1/resize?h=10&w=20", None)?;
    assert_eq!((resize.status, resize.body.as_str()), (200, ""), "no terminal");
    let top = daemon
        .api("GET", "/containers/c1/top?ps_args=-o%20pid,args", None)?
        .json()?;
    assert_eq!(top["Processes"][0][1], "berth-init");
    let old = daemon.api("GET", "/v1.41/images/busybox/json", None)?.json()?;
    assert!(old.get("ContainerConfig").is_some() && old.get("VirtualSize").is_some());
    let new = daemon.api("GET", "/v1.50/images/busybox/json", None)?.json()?;
    assert!(new.get("ContainerConfig").is_none() && new.get("VirtualSize").is_none());
    let swarm = daemon.api("POST", "/swarm/init", Some("{}"))?;
    assert_eq!(
        (swarm.status, swarm.body.contains("swarm is not supported")),
        (501, true),
        "{}",
        swarm.body
    );
    daemon.ok(&["rm", "-f", "c1"])?;
    daemon.api("POST", "/containers/prune", None)?;
    let events = daemon.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=prune",
    ])?;
    assert!(events.contains("container prune"), "{events}");
    daemon.finish()
}
