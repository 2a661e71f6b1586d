//! `version`: of this program and of the daemon.

use std::fmt::Write;

use api_types::system::Version;
use client::ApiVersion;

use crate::failure::{Failure, describe};
use crate::flag::{Command, Order, Positionals, State, one};
use crate::format::template::{Program, from_json};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// The table entry.
pub(crate) static COMMAND: Command = Command {
    path: &["version"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Show the versions of client and daemon",
    flags: &[&[one(
        "format",
        "string",
        "Format of the output: 'json' or 'TEMPLATE' (a Go template)",
    )
    .short('f')]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(run(arguments, session))),
};

async fn run(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let program = match arguments.text("format") {
        "" => None,
        "json" => Some(Program::parse("{{json .}}")?),
        // The field's name in Go; in JSON only its first letter is a capital.
        template => Some(Program::parse_renamed(template, &[("APIVersion", "ApiVersion")])?),
    };
    // The client's own version is worth showing without a daemon.
    let (version, server) = match session.connect().await {
        Ok(client) => (
            client.version(),
            client.version_info().await.map_err(Failure::Call),
        ),
        Err(failure) => (ApiVersion::NEWEST, Err(failure)),
    };
    let client = serde_json::json!({
        "Platform": {"Name": "Berth"},
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": version.to_string(),
        "DefaultAPIVersion": ApiVersion::NEWEST.to_string(),
        "Os": std::env::consts::OS,
        "Arch": architecture(),
        "Context": "default",
    });
    let (document, failure) = match server {
        Ok(document) => (Some(document), None),
        Err(failure) => (None, Some(failure)),
    };
    let undecodable =
        |error: serde_json::Error| Failure::message(format!("decode the daemon's answer: {error}"));
    match (program, document) {
        (Some(program), document) => {
            let server: serde_json::Value = match document {
                Some(document) => serde_json::from_str(document.get()).map_err(undecodable)?,
                None => serde_json::Value::Null,
            };
            let data = serde_json::json!({"Client": client, "Server": server});
            output::out_line(&program.execute(&from_json(&data))?)?;
        }
        (None, document) => {
            let mut text = String::from("Client: Berth\n");
            row(&mut text, 1, "Version", env!("CARGO_PKG_VERSION"));
            row(&mut text, 1, "API version", &version.to_string());
            row(
                &mut text,
                1,
                "OS/Arch",
                &format!("{}/{}", std::env::consts::OS, architecture()),
            );
            if let Some(document) = document {
                let server: Version = serde_json::from_str(document.get()).map_err(undecodable)?;
                text.push_str(&server_text(&server));
            }
            output::out(&text)?;
        }
    }
    match failure {
        None => Ok(0),
        Some(Failure::Call(error)) => {
            output::err_line(&describe(&error));
            Ok(1)
        }
        Some(failure) => Err(failure),
    }
}

fn server_text(server: &Version) -> String {
    let mut text = format!("\nServer: {}\n", server.platform.name);
    let engine = server
        .components
        .iter()
        .find(|component| component.name == "Engine");
    text.push_str(" Engine:\n");
    row(
        &mut text,
        2,
        "Version",
        engine.map_or(&server.version, |engine| &engine.version),
    );
    let api = format!(
        "{} (minimum version {})",
        server.api_version, server.min_api_version
    );
    row(&mut text, 2, "API version", &api);
    let language = if server.go_version.starts_with("go") {
        "Go version"
    } else {
        "Rust version"
    };
    row(&mut text, 2, language, &server.go_version);
    row(&mut text, 2, "Git commit", &server.git_commit);
    row(&mut text, 2, "Built", &server.build_time);
    row(&mut text, 2, "OS/Arch", &format!("{}/{}", server.os, server.arch));
    row(&mut text, 2, "Kernel", &server.kernel_version);
    for component in server
        .components
        .iter()
        .filter(|component| component.name != "Engine")
    {
        let _infallible = writeln!(text, " {}:", component.name);
        row(&mut text, 2, "Version", &component.version);
    }
    text
}

fn row(text: &mut String, indent: usize, name: &str, value: &str) {
    if !value.is_empty() {
        let label = format!("{:indent$}{name}:", "");
        let _infallible = writeln!(text, "{label:<19}{value}");
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
