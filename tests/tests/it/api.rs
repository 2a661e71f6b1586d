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
    let body = r#"{"Image":"busybox","HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"80"}]}}}"#;
    let reply = daemon.api("POST", "/v1.50/containers/create", Some(body))?;
    assert!(reply.status >= 400, "{}", reply.body);
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
