//! `registry serve` and `registry garbage-collect`: a registry of one's own. Neither needs a daemon.

use std::path::PathBuf;
use std::time::Duration;

use base::error::chain;
use base::secret::Secret;
use base::size::{HumanSize, parse_bytes};
use registry::client::{ClientConfig, Credentials};
use registry::server::{
    AccessConfig, Collected, Deletion, GarbageOptions, Log, Mode, ServerConfig, TlsConfig, UpstreamConfig,
};

use crate::check;
use crate::failure::Failure;
use crate::flag::{Command, Flag, Order, Positionals, State, one, switch};
use crate::output;
use crate::parse::Arguments;
use crate::session::Session;

/// Where a registry is unless it is told.
const ROOT: Flag = one("root", "directory", "Where the registry is kept").default("/var/lib/berth-registry");

/// The largest password file of an upstream.
const PASSWORD_LIMIT: u64 = 4096;

/// The table entry of `registry serve`.
pub(crate) static SERVE: Command = Command {
    path: &["registry", "serve"],
    aliases: &[],
    usage: "[OPTIONS]",
    about: "Serve images to others: an OCI registry",
    flags: &[&[
        one("addr", "address", "Address and port to listen on").default("127.0.0.1:5000"),
        switch("delete", "Let clients remove tags, manifests and blobs"),
        one(
            "gc-interval",
            "duration",
            "How often garbage is collected (0: only by 'registry garbage-collect')",
        )
        .default("0s")
        .check(duration_check),
        one(
            "htpasswd",
            "file",
            "Let in who is in this file of names and bcrypt hashes",
        ),
        one("max-blob-size", "bytes", "Largest blob that is taken")
            .default("128g")
            .check(check::size),
        one("proxy", "URL", "Be a cache of this registry"),
        one(
            "proxy-fresh",
            "duration",
            "How long a tag is served before the upstream is asked again",
        )
        .default("0s")
        .check(duration_check),
        one(
            "proxy-password-file",
            "file",
            "File of the password for the upstream",
        ),
        one("proxy-username", "string", "Name for the upstream"),
        switch("read-only", "Take and remove nothing"),
        ROOT,
        one(
            "tls-cert",
            "file",
            "Certificate, and those that vouch for it, in PEM form",
        ),
        one("tls-key", "file", "Private key of the certificate in PEM form"),
        one("token-issuer", "string", "Name of the token server in tokens"),
        one(
            "token-key",
            "file",
            "Let in who has a token signed with one of these public keys or certificates",
        ),
        one("token-realm", "URL", "Where clients get tokens"),
        one("token-service", "string", "Name of this registry in tokens"),
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(serve(arguments, session))),
};

/// The table entry of `registry garbage-collect`.
pub(crate) static COLLECT: Command = Command {
    path: &["registry", "garbage-collect"],
    aliases: &[&["registry", "gc"]],
    usage: "[OPTIONS]",
    about: "Remove what no tag of a registry needs; the registry may be served meanwhile",
    flags: &[&[
        switch("delete-untagged", "Remove manifests without a tag too").short('m'),
        switch("dry-run", "Only tell what would be removed").short('d'),
        one(
            "grace",
            "duration",
            "Leave what is younger alone: it may be in the middle of a push",
        )
        .default("1h")
        .check(duration_check),
        ROOT,
    ]],
    positionals: Positionals::Exactly(0),
    order: Order::Mixed,
    state: State::Ready(|arguments, session| Box::pin(collect(arguments, session))),
};

async fn serve(arguments: &Arguments, _session: &Session<'_>) -> Result<u8, Failure> {
    let config = config(arguments)?;
    let log = Log::new(output::err_line);
    // The server has a runtime of its own, with as many threads as there are processors.
    let (ended, end) = tokio::sync::oneshot::channel();
    let server = std::thread::Builder::new()
        .name("registry".to_owned())
        .spawn(move || {
            // Who waits for it waits until this process ends.
            drop(ended.send(registry::server::serve(config, log)));
        })
        .map_err(|error| Failure::io("start the server", &error))?;
    let served = end.await;
    // It has said all that it had to say.
    drop(server.join());
    match served {
        Ok(Ok(())) => Ok(0),
        Ok(Err(error)) => Err(Failure::message(chain(&error).to_string())),
        Err(_gone) => Err(Failure::message("the server failed")),
    }
}

fn config(arguments: &Arguments) -> Result<ServerConfig, Failure> {
    let interval = duration(arguments, "gc-interval")?;
    let config = ServerConfig {
        root: PathBuf::from(arguments.text("root")),
        address: arguments.text("addr").to_owned(),
        access: access(arguments)?,
        tls: match (file(arguments, "tls-cert"), file(arguments, "tls-key")) {
            (Some(certificate), Some(key)) => Some(TlsConfig { certificate, key }),
            (None, None) => None,
            _ => return Err(Failure::usage("--tls-cert and --tls-key belong together")),
        },
        mode: if arguments.switch("read-only") {
            Mode::ReadOnly
        } else {
            Mode::ReadWrite
        },
        deletion: if arguments.switch("delete") {
            Deletion::Allowed
        } else {
            Deletion::Refused
        },
        upstream: upstream(arguments)?,
        blob_limit: parse_bytes(arguments.text("max-blob-size"))
            .map_err(|error| Failure::invalid(format!("--max-blob-size: {error}")))?,
        garbage_interval: Some(interval).filter(|interval| !interval.is_zero()),
    };
    let takes_nothing = config.mode == Mode::ReadOnly || config.upstream.is_some();
    if takes_nothing && config.deletion == Deletion::Allowed {
        return Err(Failure::usage(
            "--delete has no meaning with --read-only or --proxy",
        ));
    }
    Ok(config)
}

fn access(arguments: &Arguments) -> Result<AccessConfig, Failure> {
    const TOKEN: [&str; 4] = ["token-key", "token-realm", "token-service", "token-issuer"];
    let given = TOKEN
        .iter()
        .filter(|name| !arguments.text(name).is_empty())
        .count();
    match (file(arguments, "htpasswd"), file(arguments, "token-key")) {
        (Some(_), _) if given > 0 => Err(Failure::usage("--htpasswd and --token-key exclude each other")),
        (Some(path), _) => Ok(AccessConfig::Htpasswd(path)),
        (None, Some(key)) if given == TOKEN.len() => Ok(AccessConfig::Token {
            key,
            realm: arguments.text("token-realm").to_owned(),
            service: arguments.text("token-service").to_owned(),
            issuer: arguments.text("token-issuer").to_owned(),
        }),
        (None, None) if given == 0 => Ok(AccessConfig::Open),
        _ => Err(Failure::usage(
            "--token-key, --token-realm, --token-service and --token-issuer belong together",
        )),
    }
}

fn upstream(arguments: &Arguments) -> Result<Option<UpstreamConfig>, Failure> {
    const OTHERS: [&str; 3] = ["proxy-fresh", "proxy-password-file", "proxy-username"];
    let url = arguments.text("proxy");
    if url.is_empty() {
        return match OTHERS.iter().find(|name| arguments.is_set(name)) {
            Some(name) => Err(Failure::usage(format!("--{name} needs --proxy"))),
            None => Ok(None),
        };
    }
    let credentials = match (
        arguments.text("proxy-username"),
        file(arguments, "proxy-password-file"),
    ) {
        ("", None) => Credentials::Anonymous,
        (name, Some(path)) if !name.is_empty() => Credentials::Basic {
            username: name.to_owned(),
            password: password(&path)?,
        },
        _ => {
            return Err(Failure::usage(
                "--proxy-username and --proxy-password-file belong together",
            ));
        }
    };
    let mut client = ClientConfig::standard(env!("CARGO_PKG_VERSION"));
    // Somebody waits for the answer, and what is known can be served instead.
    client.timeouts.connect = Duration::from_secs(5);
    client.timeouts.attempts = 2;
    Ok(Some(UpstreamConfig {
        url: url.to_owned(),
        credentials,
        client,
        fresh: duration(arguments, "proxy-fresh")?,
    }))
}

fn password(path: &std::path::Path) -> Result<Secret, Failure> {
    let bytes = base::file::read_optional(path, PASSWORD_LIMIT)
        .map_err(|error| Failure::message(chain(&error).to_string()))?
        .ok_or_else(|| Failure::message(format!("password file \"{}\" does not exist", path.display())))?;
    let text = String::from_utf8(bytes).map_err(|_not_text| {
        Failure::message(format!("password file \"{}\" is not UTF-8", path.display()))
    })?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn collect(arguments: &Arguments, _session: &Session<'_>) -> Result<u8, Failure> {
    let options = GarbageOptions {
        root: PathBuf::from(arguments.text("root")),
        untagged: arguments.switch("delete-untagged"),
        grace: duration(arguments, "grace")?,
        is_trial: arguments.switch("dry-run"),
    };
    let collected = registry::server::collect_garbage(&options)
        .map_err(|error| Failure::message(chain(&error).to_string()))?;
    output::out(&report(&collected, options.is_trial))?;
    Ok(0)
}

fn report(collected: &Collected, is_trial: bool) -> String {
    let removed = if is_trial { "would be removed" } else { "removed" };
    let mut text = format!(
        "untagged manifests {removed}: {}\nunneeded blobs {removed}: {}\nempty repositories {removed}: {}\n",
        collected.manifests, collected.blobs, collected.repositories
    );
    if !is_trial {
        text.push_str(&format!(
            "files removed: {}\nspace reclaimed: {}\n",
            collected.files,
            HumanSize(collected.bytes)
        ));
    }
    text
}

fn file(arguments: &Arguments, name: &str) -> Option<PathBuf> {
    Some(arguments.text(name))
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

fn duration(arguments: &Arguments, name: &str) -> Result<Duration, Failure> {
    parse_duration(arguments.text(name)).map_err(|problem| Failure::invalid(format!("--{name}: {problem}")))
}

fn duration_check(text: &str) -> Result<(), String> {
    parse_duration(text).map(drop)
}

/// Reads `90s`, `15m`, `24h`, `7d` or `1h30m`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration \"{text}\"");
    let mut seconds: u64 = 0;
    let mut rest = text;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_not_a_number| invalid())?;
        let factor = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(invalid()),
        };
        seconds = number
            .checked_mul(factor)
            .and_then(|part| seconds.checked_add(part))
            .ok_or_else(invalid)?;
        rest = &rest[digits + 1..];
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Parsed, parse};

    fn serve_config(line: &str) -> Result<ServerConfig, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let Ok(Parsed::Run(arguments)) = parse(&SERVE, &words) else {
            return Err("not parsed".to_owned());
        };
        config(&arguments).map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("0", 0), ("0s", 0), ("90s", 90), ("1h30m", 5400), ("7d", 604_800)] {
            assert_eq!(parse_duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "s",
            "1",
            "1x",
            "-1s",
            "1.5h",
            "1hm",
            "99999999999999999999s",
            "999999999999999999d",
            "1é",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn options_that_belong_together() {
        let token = "--token-key k --token-realm r --token-service s --token-issuer i";
        assert!(serve_config("").is_ok());
        assert!(serve_config("--tls-cert a --tls-key b --htpasswd c --delete").is_ok());
        assert!(matches!(
            serve_config(token).unwrap().access,
            AccessConfig::Token { .. }
        ));
        for wrong in [
            "--tls-cert a",
            "--tls-key a",
            "--token-key k",
            "--token-realm r",
            &format!("{token} --htpasswd c"),
            "--proxy-fresh 1m",
            "--proxy http://x.test --proxy-username u",
            "--read-only --delete",
            "--proxy http://x.test --delete",
        ] {
            assert!(serve_config(wrong).is_err(), "{wrong}");
        }
    }
}
