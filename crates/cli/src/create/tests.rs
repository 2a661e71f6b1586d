//! The requests that docker's own client sends for the same arguments, recorded with docker 28.2.2 against a socket that
//! answers everything.
//!
//! The first line of the file is the request of `docker create busybox`; every other line has arguments, the exit code,
//! and what differs from the first (or the first line of the error).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::Request;
use crate::command::create::COMMAND;
use crate::failure::Failure;
use crate::parse::{Parsed, parse};

const RECORDED: &str = include_str!("golden/docker-28.2.2.jsonl");

/// More lines of the same kind; here what is said of endpoints counts too.
const RECORDED_NETWORKS: &str = include_str!("golden/docker-28.2.2-network.jsonl");

/// Arguments by which a line is known to be refused by name, whatever docker makes of it.
const REFUSED: &[&str] = &[
    "--gpus",
    "--health-cmd",
    "--kernel-memory",
    "--storage-opt",
    "vendor.com/class=name",
];

/// What docker 28 has not and docker 29 has.
const NEWER: &str = "bind-create-src";

fn build(arguments: &[String]) -> Result<Request, Failure> {
    match parse(&COMMAND, arguments)? {
        Parsed::Run(arguments) => Request::build(&arguments),
        Parsed::Help => panic!("help for {arguments:?}"),
    }
}

fn text(failure: &Failure) -> String {
    let message = match failure {
        Failure::Usage { message, .. } | Failure::Message { message, .. } => message,
        other => panic!("{other:?}"),
    };
    message.replace("berth: ", "docker: ")
}

/// What a request says, without what means nothing: empty lists, `null` and empty objects are the same on the wire.
fn meaning(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().map(|(key, value)| (key.clone(), meaning(value)));
            let kept: serde_json::Map<String, Value> =
                kept.filter(|(_, value)| *value != Value::Null).collect();
            if kept.is_empty() {
                Value::Null
            } else {
                Value::Object(kept)
            }
        }
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => Value::Array(list.iter().map(meaning).collect()),
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Bool(false) => Value::Null,
        Value::Number(number) if number.as_i64() == Some(0) => Value::Null,
        other => other.clone(),
    }
}

/// Docker sends variables in an order of its own, which has no meaning.
fn sort_environment(body: &mut Value) {
    if let Some(Value::Array(variables)) = body.get_mut("Env") {
        variables.sort_by_key(ToString::to_string);
    }
}

#[test]
fn requests_are_dockers() {
    let files = Files::new();
    let mut lines = RECORDED.lines();
    let first: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let default = &first["default"];
    let mut wrong = BTreeMap::new();
    let lines = lines
        .map(|line| (line, false))
        .chain(RECORDED_NETWORKS.lines().map(|line| (line, true)));
    for (line, endpoints_count) in lines {
        let case: Value = serde_json::from_str(&files.fill_in(line)).unwrap();
        let arguments: Vec<String> = serde_json::from_value(case["args"].clone()).unwrap();
        if arguments.iter().any(|argument| argument.contains(NEWER)) {
            continue;
        }
        let name = arguments.join(" ");
        match (build(&arguments), case.get("body")) {
            (Ok(request), Some(body)) => {
                let mut expected = default.clone();
                for (key, value) in body.as_object().unwrap() {
                    if key == "HostConfig" {
                        for (key, value) in value.as_object().unwrap() {
                            expected["HostConfig"][key] = value.clone();
                        }
                    } else {
                        expected[key] = value.clone();
                    }
                }
                let mut sent = serde_json::to_value(&request.body).unwrap();
                if endpoints_count {
                    let names = |body: &Value| -> Vec<String> {
                        let endpoints = body["NetworkingConfig"]["EndpointsConfig"].as_object();
                        endpoints
                            .map(|endpoints| endpoints.keys().cloned().collect())
                            .unwrap_or_default()
                    };
                    if names(&sent) != names(&expected) {
                        wrong.insert(
                            name.clone(),
                            format!("endpoints {:?}, want {:?}", names(&sent), names(&expected)),
                        );
                    }
                } else {
                    expected.as_object_mut().unwrap().remove("NetworkingConfig");
                    sent.as_object_mut().unwrap().remove("NetworkingConfig");
                }
                sort_environment(&mut expected);
                sort_environment(&mut sent);
                if meaning(&sent) != meaning(&expected) {
                    wrong.insert(
                        name,
                        format!("sent {}\nwant {}", meaning(&sent), meaning(&expected)),
                    );
                }
            }
            (Err(failure), None) => {
                let expected = case["error"].as_str().unwrap();
                let text = text(&failure);
                if text.split('\n').next() != Some(expected) && !is_refused(&arguments) {
                    wrong.insert(name, format!("said {text}\nwant {expected}"));
                }
            }
            (Err(failure), Some(_)) if is_refused(&arguments) => {
                let text = text(&failure);
                assert!(text.contains("not supported"), "{name}: {text}");
            }
            (outcome, _) => {
                wrong.insert(name, format!("{outcome:?}"));
            }
        }
    }
    let report: Vec<String> = wrong
        .iter()
        .map(|(name, what)| format!("{name}\n{what}\n"))
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
}

fn is_refused(arguments: &[String]) -> bool {
    arguments
        .iter()
        .any(|argument| REFUSED.contains(&argument.as_str()))
}

/// The files that recorded arguments name, made anew; `@FILES@`, `@HERE@` and `@HOME@` stand for what differs by machine.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("berth-cli-golden-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (name, content) in [
            ("env.list", "A=1\n# c\nB\nHOME\n\nC=x y\n"),
            ("label.list", "l1=v1\nl2\n"),
            (
                "sec.json",
                "{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n \"syscalls\": []}",
            ),
        ] {
            let path = directory.join(name);
            base::file::write_atomic(&path, content.as_bytes(), 0o600, base::file::Durability::Crash)
                .unwrap();
        }
        Self(directory)
    }

    fn fill_in(&self, line: &str) -> String {
        let home = std::env::var("HOME").unwrap_or_default();
        line.replace("@FILES@", self.0.to_str().unwrap())
            .replace("@HERE@", std::env::current_dir().unwrap().to_str().unwrap())
            .replace("@HOME@", &home)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for name in ["env.list", "label.list", "sec.json"] {
            drop(std::fs::remove_file(self.0.join(name)));
        }
        drop(std::fs::remove_dir(&self.0));
    }
}
