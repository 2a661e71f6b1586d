//! `inspect`: all that is known of an object, as the daemon wrote it.

use base::error::{Kind, Kinded};
use client::{Client, ClientError};
use serde_json::value::RawValue;

use crate::failure::{Failure, describe};
use crate::flag::{Command, Flag, Order, Positionals, State, one, switch};
use crate::format::json;
use crate::format::template::{Program, from_json};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

const INSPECT_FORMAT: Flag = one(
    "format",
    "string",
    "Format of the output: 'json' or 'TEMPLATE' (a Go template)",
)
.short('f');

const SIZE: Flag = switch("size", "Show the sizes of containers").short('s');

/// The table entry of `inspect`.
pub(crate) static ANY: Command = Command {
    path: &["inspect"],
    aliases: &[],
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Show objects in detail",
    flags: &[&[
        INSPECT_FORMAT,
        SIZE,
        one("type", "string", "Only objects of that type"),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(any(arguments, session))),
};

/// The table entry of `container inspect`.
pub(crate) static CONTAINER: Command = Command {
    path: &["container", "inspect"],
    aliases: &[],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Show containers in detail",
    flags: &[&[INSPECT_FORMAT, SIZE]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(container(arguments, session))),
};

/// The table entry of `image inspect`.
pub(crate) static IMAGE: Command = Command {
    path: &["image", "inspect"],
    aliases: &[],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Show images in detail",
    flags: &[&[
        INSPECT_FORMAT,
        one("platform", "string", "Only that platform").not_yet("images have one platform"),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(image(arguments, session))),
};

/// The table entry of `network inspect`.
pub(crate) static NETWORK: Command = Command {
    path: &["network", "inspect"],
    aliases: &[],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Show networks in detail",
    flags: &[&[
        INSPECT_FORMAT,
        switch("verbose", "Also what helps to find faults").short('v'),
    ]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(network(arguments, session))),
};

/// The table entry of `volume inspect`.
pub(crate) static VOLUME: Command = Command {
    path: &["volume", "inspect"],
    aliases: &[],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Show volumes in detail",
    flags: &[&[INSPECT_FORMAT]],
    positionals: Positionals::AtLeast(1),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(volume(arguments, session))),
};

/// What an object may be, in the order in which a name is looked for.
#[derive(Clone, Copy)]
enum Type {
    Container { size: bool },
    Image,
    Network { verbose: bool },
    Volume,
}

async fn any(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let size = arguments.switch("size");
    let types: &[Type] = match arguments.text("type") {
        "" => &[
            Type::Container { size },
            Type::Image,
            Type::Network { verbose: false },
            Type::Volume,
        ],
        "container" => &[Type::Container { size }],
        "image" => &[Type::Image],
        "network" => &[Type::Network { verbose: false }],
        "volume" => &[Type::Volume],
        kind @ ("plugin" | "node" | "service" | "task" | "secret" | "config") => {
            return Err(Failure::invalid(format!(
                "--type={kind} is not supported yet: there are no objects of that type"
            )));
        }
        kind => {
            return Err(Failure::message(format!(
                "\"{kind}\" is not a valid value for --type"
            )));
        }
    };
    inspect(arguments, session, types).await
}

async fn container(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let size = arguments.switch("size");
    inspect(arguments, session, &[Type::Container { size }]).await
}

async fn image(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    inspect(arguments, session, &[Type::Image]).await
}

async fn network(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    let verbose = arguments.switch("verbose");
    inspect(arguments, session, &[Type::Network { verbose }]).await
}

async fn volume(arguments: &Arguments, session: &Session<'_>) -> Result<u8, Failure> {
    inspect(arguments, session, &[Type::Volume]).await
}

async fn inspect(arguments: &Arguments, session: &Session<'_>, types: &[Type]) -> Result<u8, Failure> {
    let format = arguments.text("format");
    let program = match format {
        "" | "json" => None,
        template => Some(Program::parse_renamed(template, NAMES)?),
    };
    let client = session.connect().await?;
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    for name in &arguments.positionals {
        match find(&client, name, types).await {
            Ok(document) => documents.push(document),
            Err(message) => errors.push(message),
        }
    }
    let listed: Vec<&str> = documents.iter().map(|document| document.get()).collect();
    match program {
        None if format == "json" => output::out_line(&format!("[{}]", listed.join(",")))?,
        None => output::out_line(&json::indent(&format!("[{}]", listed.join(","))))?,
        Some(program) => {
            for document in listed {
                let mut value: serde_json::Value = serde_json::from_str(document)
                    .map_err(|error| Failure::message(format!("decode the daemon's answer: {error}")))?;
                fill_in(&mut value);
                output::out_line(&program.execute(&from_json(&value))?)?;
            }
        }
    }
    for error in &errors {
        output::err_line(error);
    }
    Ok(u8::from(!errors.is_empty()))
}

/// Fields whose names in Go and in JSON differ; docker takes both.
const NAMES: &[(&str, &str)] = &[
    ("ID", "Id"),
    ("CPUShares", "CpuShares"),
    ("NanoCPUs", "NanoCpus"),
    ("CPUPeriod", "CpuPeriod"),
    ("CPUQuota", "CpuQuota"),
    ("CPURealtimePeriod", "CpuRealtimePeriod"),
    ("CPURealtimeRuntime", "CpuRealtimeRuntime"),
    ("CPUCount", "CpuCount"),
    ("CPUPercent", "CpuPercent"),
];

async fn find(client: &Client, name: &str, types: &[Type]) -> Result<Box<RawValue>, String> {
    if name.trim().is_empty() {
        return Err("invalid name or ID: value is empty".to_owned());
    }
    for kind in types {
        let found = match kind {
            Type::Container { size } => client.inspect_container(name, *size).await,
            Type::Image => client.inspect_image(name).await,
            Type::Network { verbose } => client.inspect_network(name, *verbose).await,
            Type::Volume => client.inspect_volume(name).await,
        };
        match found {
            Ok(document) => return Ok(document),
            // A name that cannot be one of an image may still be one of a volume.
            Err(error) if types.len() > 1 && is_elsewhere(&error) => {}
            Err(error) => return Err(describe(&error)),
        }
    }
    Err(format!("Error: No such object: {name}"))
}

fn is_elsewhere(error: &ClientError) -> bool {
    error.status().is_some() && matches!(error.kind(), Kind::NotFound | Kind::Invalid)
}

/// Adds the fields that the API leaves out when they are empty, so that a template may ask for them.
fn fill_in(document: &mut serde_json::Value) {
    const LEFT_OUT: &[(&str, &[&str])] = &[
        ("", &["SizeRw", "SizeRootFs"]),
        ("/State", &["Health"]),
        (
            "/Config",
            &[
                "ExposedPorts",
                "Healthcheck",
                "OnBuild",
                "StopSignal",
                "StopTimeout",
                "Shell",
            ],
        ),
        (
            "/HostConfig",
            &["Annotations", "StorageOpt", "Tmpfs", "Sysctls", "Mounts", "Init"],
        ),
    ];
    for (parent, keys) in LEFT_OUT {
        let Some(serde_json::Value::Object(map)) = document.pointer_mut(parent) else {
            continue;
        };
        for key in *keys {
            map.entry(*key).or_insert(serde_json::Value::Null);
        }
    }
}
