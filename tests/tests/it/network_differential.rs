//! The same requests about networks to dockerd and to Berth, each on a host of its own.
//!
//! `network_requests.jsonl` has one request a line: `call` (method, path, query), `body` (`raw:…` is sent as it is), `pick` (the
//! paths that are compared; all if there is none; `*` is each of a list) and, where the answers are known to differ, `differs`
//! with the reason. Ids, times and hardware addresses are masked, and so is what chance or the version decides (`mask`). A line that
//! is said to differ and does not is a mistake too.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use testkit::dockerd::Dockerd;
use testkit::{Daemon, Host, Start, http, image, skip};

const REQUESTS: &str = include_str!("network_requests.jsonl");

/// What dockerd 20.10 does not say yet and its successors do.
const NEWER: &[&str] = &["DNSNames", "EnableIPv4", "GwPriority"];

#[test]
fn networks_answer_as_dockerd_does() -> Result<()> {
    let Some(dockerd) = Dockerd::start_on(&Host::new("docker's machine")?)? else {
        return skip("dockerd is not installed");
    };
    let daemon = Daemon::with_busybox_and(Start {
        host: Some(Host::new("berth's machine")?),
        ..Start::default()
    })?;
    let tar = image::busybox_tar(dockerd.place().directory())?;
    let tar = tar.to_str().context("path")?;
    dockerd
        .docker(&["import", "--change", "CMD [\"sh\"]", tar, "busybox"], b"")?
        .expect(0)?;
    let mut wrong = Vec::new();
    for line in REQUESTS.lines() {
        let request: Value = serde_json::from_str(line)?;
        let docker = ask(&dockerd.place().socket(), &request)?;
        let berth = ask(&daemon.place().socket(), &request)?;
        match (docker == berth, request.get("differs")) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => wrong.push(format!(
                "{line}\n  docker {} {}\n  berth  {} {}",
                docker.0, docker.1, berth.0, berth.1
            )),
            (true, Some(_)) => wrong.push(format!("{line}\n  does not differ any more")),
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    daemon.finish()
}

/// Returns status and masked body.
fn ask(socket: &Path, request: &Value) -> Result<(u16, Value)> {
    let call = request["call"].as_str().context("a call")?;
    let (method, path) = call.split_once(' ').context("method and path")?;
    let body = match &request["body"] {
        Value::Null => None,
        Value::String(raw) => Some(raw.strip_prefix("raw:").unwrap_or(raw).to_owned()),
        body => Some(body.to_string()),
    };
    let path = format!("/v1.41{}", escape(path));
    let reply = http::request(socket, method, &path, body.as_deref()).with_context(|| call.to_owned())?;
    let mut answer = serde_json::from_str(&reply.body).unwrap_or(Value::String(reply.body));
    if let (Some(picks), 200) = (request["pick"].as_str(), reply.status) {
        let picked = picks.split(' ').map(|path| {
            let names: Vec<&str> = path.split('.').collect();
            (path.to_owned(), pick(&answer, &names))
        });
        answer = Value::Object(picked.collect());
    }
    if let Value::Array(list) = &mut answer {
        list.sort_by_key(|object| object["Name"].to_string());
    }
    Ok((reply.status, mask(answer)))
}

/// Escapes what stands in filters.
fn escape(path: &str) -> String {
    let Some((path, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let escaped = query.bytes().map(|byte| match byte {
        b'"' | b'{' | b'}' | b'[' | b']' | b' ' => format!("%{byte:02X}"),
        byte => char::from(byte).to_string(),
    });
    format!("{path}?{}", escaped.collect::<String>())
}

fn pick(value: &Value, names: &[&str]) -> Value {
    match (names, value) {
        ([], value) => value.clone(),
        (["*", rest @ ..], Value::Array(list)) => list.iter().map(|value| pick(value, rest)).collect(),
        ([name, rest @ ..], value) => pick(&value[*name], rest),
    }
}

fn mask(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let is_subnet = map.contains_key("Subnet");
            let kept = map.into_iter().filter(|(key, value)| {
                let is_first = |text: &str| text.ends_with(".1") || text.ends_with("::1");
                // Gateways that nobody chose are shown by newer ones only.
                let is_chosen_by_daemon =
                    is_subnet && key == "Gateway" && value.as_str().is_some_and(is_first);
                !NEWER.contains(&key.as_str()) && !is_chosen_by_daemon
            });
            Value::Object(
                kept.map(|(key, value)| (mask_text(&key), mask_member(&key, value)))
                    .collect(),
            )
        }
        Value::Array(list) => {
            let mut list: Vec<Value> = list.into_iter().map(mask).collect();
            if list
                .iter()
                .all(|value| value.get("HostPort").or(value.get("PrivatePort")).is_some())
            {
                list.sort_by_key(ToString::to_string);
            }
            Value::Array(list)
        }
        Value::String(text) => Value::String(mask_text(&text)),
        other => other,
    }
}

/// Masks what has several spellings of the same.
fn mask_member(key: &str, value: Value) -> Value {
    let value = match (key.rsplit('.').next(), value) {
        (Some("NetworkMode"), Value::String(mode)) if mode == "default" => "bridge".into(),
        (Some("PortBindings"), Value::Null) => Value::Object(Map::new()),
        (Some("IPAM"), Value::Object(mut ipam)) if ipam["Options"].is_null() => {
            ipam.insert("Options".to_owned(), Value::Object(Map::new()));
            Value::Object(ipam)
        }
        // By name, for the ids all become one.
        (Some("Containers"), Value::Object(containers)) => {
            let named = containers.into_iter().map(|(_, container)| {
                (
                    container["Name"].as_str().unwrap_or_default().to_owned(),
                    container,
                )
            });
            Value::Object(named.collect())
        }
        (_, value) => value,
    };
    match (key, mask(value)) {
        // Older daemons add the id when the container is first started, newer ones when they are asked.
        ("Aliases", Value::Array(names)) => {
            let names: Vec<Value> = names.into_iter().filter(|name| name != "<short id>").collect();
            if names.is_empty() {
                Value::Null
            } else {
                Value::Array(names)
            }
        }
        (_, masked) => masked,
    }
}

fn mask_text(text: &str) -> String {
    let is_hex = |character: char| character.is_ascii_hexdigit() && !character.is_ascii_uppercase();
    if text.len() > 19 && text.ends_with('Z') && text.get(10..11) == Some("T") {
        return "<time>".to_owned();
    }
    if (text.starts_with("/proc/") && text.ends_with("/ns/net")) || text.contains("/netns/") {
        return "<namespace>".to_owned();
    }
    if matches!(text, "docker0" | "berth0") {
        return "<bridge>".to_owned();
    }
    if text.len() == 17
        && text
            .split(':')
            .all(|part| part.len() == 2 && part.chars().all(is_hex))
    {
        return "<mac>".to_owned();
    }
    // Subnets that were not asked for: 20.10 loses some of them when a request fails.
    let address = text.split('/').next().unwrap_or_default().parse::<Ipv4Addr>();
    if let Ok([172, 18..=31, ..] | [192, 168, ..]) = address.map(|address| address.octets()) {
        return "<pool>".to_owned();
    }
    // docker lists them as its map has them, which is another order each eighth time.
    if let Some((before, names)) = text.split_once("cannot be connected to network endpoints: ") {
        let mut names: Vec<&str> = names.split(", ").collect();
        names.sort_unstable();
        return format!("{before}cannot be connected to {}", names.join(" and "));
    }
    let mut masked = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character| !is_hex(character)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(digits);
        masked.push_str(match run.len() {
            64 => "<id>",
            12 => "<short id>",
            _ => run,
        });
        let other = after.find(is_hex).unwrap_or(after.len());
        masked.push_str(&after[..other]);
        rest = &after[other..];
    }
    masked
}

#[test]
fn masks_hide_what_differs_by_chance_only() -> Result<()> {
    for (text, masked) in [
        ("2026-11-21T16:37:05.197432513Z", "<time>"),
        (&"ab12".repeat(16), "<id>"),
        (&format!("network {} has", "0".repeat(64)), "network <id> has"),
        ("0123456789ab", "<short id>"),
        ("02:42:ac:11:00:02", "<mac>"),
        ("172.17.0.2/16", "172.17.0.2/16"),
        ("fd77::2", "fd77::2"),
        ("/proc/12/ns/net", "<namespace>"),
        ("172.18.0.0/16", "<pool>"),
        (
            "Container cannot be connected to network endpoints: sub, plain",
            "Container cannot be connected to plain and sub",
        ),
    ] {
        if mask_text(text) != masked {
            bail!("{text} became {}", mask_text(text));
        }
    }
    Ok(())
}
