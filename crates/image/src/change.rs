//! `--change`: Dockerfile instructions that alter an image's configuration.

use base::error::{Kind, Kinded};
use oci::image::{Empty, Healthcheck, RunConfig};

use crate::words;

/// Why a change was refused. The texts are Docker's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Not one of the instructions that change a configuration.
    #[error("{instruction} is not a valid change command")]
    NotAChange {
        /// The instruction.
        instruction: String,
    },
    /// The instruction's arguments are wrong.
    #[error("{instruction} {problem}")]
    Arguments {
        /// The instruction.
        instruction: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Kinded for ChangeError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// Applies changes in their order.
pub(crate) fn apply(config: &mut RunConfig, changes: &[String]) -> Result<(), ChangeError> {
    let (entrypoint, cmd) = (config.entrypoint.clone(), config.cmd.clone());
    let mut command_set = CommandSet::No;
    for change in changes {
        let change = change.trim();
        if change.is_empty() || change.starts_with('#') {
            continue;
        }
        let (instruction, rest) = change.split_once(char::is_whitespace).unwrap_or((change, ""));
        apply_one(
            config,
            &instruction.to_ascii_uppercase(),
            rest.trim(),
            &mut command_set,
        )?;
    }
    // As docker: an entry point that was taken away leaves the one that was there, with its arguments.
    if config.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = cmd;
        }
        config.entrypoint = entrypoint;
    }
    Ok(())
}

/// Whether one of the changes has set the command.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CommandSet {
    No,
    Yes,
}

fn apply_one(
    config: &mut RunConfig,
    instruction: &str,
    rest: &str,
    command_set: &mut CommandSet,
) -> Result<(), ChangeError> {
    let instruction = INSTRUCTIONS
        .iter()
        .find(|own| **own == instruction)
        .ok_or_else(|| ChangeError::NotAChange {
            instruction: instruction.to_ascii_lowercase().chars().take(40).collect(),
        })?;
    let wrong = |problem: String| ChangeError::Arguments { instruction, problem };
    if rest.is_empty() {
        return Err(wrong("requires at least one argument".to_owned()));
    }
    let env = config.env.clone().unwrap_or_default();
    let words = |text: &str| words::split(text, &env).map_err(wrong);
    let one = |text: &str| match words(text)?.as_slice() {
        [word] => Ok(word.clone()),
        _ => Err(wrong("requires exactly one argument".to_owned())),
    };
    match *instruction {
        "CMD" => {
            let command = command(config, rest);
            if !command.is_empty() {
                *command_set = CommandSet::Yes;
            }
            config.cmd = Some(command);
        }
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(config, rest));
            // A new entry point forgets arguments that were meant for the old one.
            if *command_set == CommandSet::No {
                config.cmd = None;
            }
        }
        "ENV" => {
            let list = config.env.get_or_insert_default();
            for (key, value) in pairs(rest, &env).map_err(wrong)? {
                let prefix = format!("{key}=");
                list.retain(|own| !own.starts_with(&prefix));
                list.push(format!("{key}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest, &env).map_err(wrong)?),
        "EXPOSE" => {
            for word in words(rest)? {
                for port in ports(&word).ok_or_else(|| wrong(format!("invalid port: {word}")))? {
                    config.exposed_ports.insert(port, Empty {});
                }
            }
        }
        "VOLUME" => {
            let list = match json_array(rest) {
                Some(list) => list,
                None => words(rest)?,
            };
            if list.iter().any(|path| path.trim().is_empty()) {
                return Err(wrong("specified can not be an empty string".to_owned()));
            }
            config
                .volumes
                .extend(list.into_iter().map(|path| (path, Empty {})));
        }
        "USER" => config.user = one(rest)?,
        "WORKDIR" => {
            config.working_dir = working_dir(&config.working_dir, &words::expand(rest, &env).map_err(wrong)?);
        }
        "STOPSIGNAL" => {
            config.stop_signal =
                Some(signal(&one(rest)?).ok_or_else(|| wrong(format!("invalid signal: {rest}")))?);
        }
        "ONBUILD" => {
            let trigger = rest
                .split_whitespace()
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            if matches!(trigger.as_str(), "ONBUILD" | "MAINTAINER" | "FROM") {
                return Err(wrong(format!("{trigger} isn't allowed as an ONBUILD trigger")));
            }
            config.on_build.get_or_insert_default().push(rest.to_owned());
        }
        _ => config.healthcheck = Some(healthcheck(rest).map_err(wrong)?),
    }
    Ok(())
}

const INSTRUCTIONS: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

fn json_array(text: &str) -> Option<Vec<String>> {
    if text.starts_with('[') {
        serde_json::from_str(text).ok()
    } else {
        None
    }
}

/// The exec form is a JSON array; anything else is a line for the shell.
fn command(config: &RunConfig, text: &str) -> Vec<String> {
    json_array(text).unwrap_or_else(|| {
        let default = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        let mut shell = config.shell.clone().unwrap_or_else(default);
        shell.push(text.to_owned());
        shell
    })
}

/// Reads `key=value…`, or the old form `key value with blanks`.
fn pairs(text: &str, env: &[String]) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    let found = if first.contains('=') {
        let words = words::split(text, env)?;
        let parse = |word: &String| {
            let (key, value) = word
                .split_once('=')
                .ok_or(format!("can't find = in \"{word}\""))?;
            Ok::<_, String>((key.to_owned(), value.to_owned()))
        };
        words.iter().map(parse).collect::<Result<Vec<_>, _>>()?
    } else {
        let (key, value) = text
            .split_once(char::is_whitespace)
            .ok_or("must have two arguments")?;
        vec![(key.to_owned(), words::expand(value.trim(), env)?)]
    };
    if found.iter().any(|(key, _)| key.is_empty()) {
        return Err("names can not be blank".to_owned());
    }
    Ok(found)
}

/// Reads `80`, `80/udp`, `80-82/tcp`.
fn ports(text: &str) -> Option<Vec<String>> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    if first == 0 || first > last {
        return None;
    }
    Some((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn working_dir(present: &str, new: &str) -> String {
    let joined = if new.starts_with('/') {
        new.to_owned()
    } else {
        format!("/{present}/{new}")
    };
    let mut components: Vec<&str> = Vec::new();
    for component in joined.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    format!("/{}", components.join("/"))
}

/// Accepts a number from 1 to 64 or a name; which names there are is `sys`'s business when the container is stopped.
fn signal(text: &str) -> Option<String> {
    let is_number = text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number));
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let is_name = !name.is_empty()
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-'));
    (is_number || is_name).then(|| text.to_owned())
}

fn healthcheck(text: &str) -> Result<Healthcheck, String> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        let (name, value) = flag.split_once('=').ok_or(format!("flag {flag} needs a value"))?;
        let time = || duration(value).ok_or(format!("invalid duration \"{value}\""));
        match name {
            "--interval" => check.interval = time()?,
            "--timeout" => check.timeout = time()?,
            "--start-period" => check.start_period = time()?,
            "--start-interval" => check.start_interval = time()?,
            "--retries" => {
                check.retries = value
                    .parse()
                    .map_err(|_text| format!("invalid number \"{value}\""))?;
            }
            _ => return Err(format!("unknown flag: {name}")),
        }
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    check.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err("NONE takes no arguments".to_owned()),
        "CMD" if command.trim().is_empty() => return Err("missing command after HEALTHCHECK CMD".to_owned()),
        "CMD" => match json_array(command.trim()) {
            Some(mut list) => {
                list.insert(0, "CMD".to_owned());
                list
            }
            None => vec!["CMD-SHELL".to_owned(), command.trim().to_owned()],
        },
        _ => return Err(format!("unknown type \"{kind}\" (try CMD)")),
    };
    Ok(check)
}

/// Reads a duration as Go writes it (`1m30s`, `500ms`) into nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let nanos = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        total += number * nanos;
        rest = &rest[unit..];
    }
    if !(0.0..9.2e18).contains(&total) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
    let total = total as i64;
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(changes: &[&str]) -> Result<RunConfig, ChangeError> {
        let mut config = RunConfig::default();
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        apply(&mut config, &changes).map(|()| config)
    }

    /// What dockerd 20.10 makes of a container with the entry point `/e0` and the command `c0`.
    #[test]
    fn entry_points_and_commands_are_as_with_docker() {
        type Words = &'static [&'static str];
        let table: [(Words, Words, Words); 8] = [
            (&[], &["/e0"], &["c0"]),
            (&["ENTRYPOINT [\"/e\"]"], &["/e"], &[]),
            (&["CMD [\"c\"]"], &["/e0"], &["c"]),
            (&["ENTRYPOINT [\"/e\"]", "CMD [\"c\"]"], &["/e"], &["c"]),
            (&["CMD [\"c\"]", "ENTRYPOINT [\"/e\"]"], &["/e"], &["c"]),
            (
                &["CMD [\"c\"]", "ENTRYPOINT [\"/e\"]", "CMD [\"d\"]"],
                &["/e"],
                &["d"],
            ),
            (&["CMD []", "ENTRYPOINT [\"/e\"]"], &["/e"], &[]),
            (&["ENTRYPOINT []"], &["/e0"], &["c0"]),
        ];
        for (changes, entrypoint, cmd) in table {
            let mut config = RunConfig {
                entrypoint: Some(vec!["/e0".to_owned()]),
                cmd: Some(vec!["c0".to_owned()]),
                ..RunConfig::default()
            };
            let list: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
            apply(&mut config, &list).unwrap();
            assert_eq!(config.entrypoint.unwrap_or_default(), entrypoint, "{changes:?}");
            assert_eq!(config.cmd.unwrap_or_default(), cmd, "{changes:?}");
        }
    }

    #[test]
    fn every_instruction_changes_its_field() {
        let config = changed(&[
            "ENV A=1 B=\"two words\"",
            "ENV C three  words",
            "env PATH=$A:/bin",
            "LABEL x=y \"z z\"=w",
            "EXPOSE 80 53/udp 8000-8001",
            "VOLUME [\"/a\", \"/b c\"]",
            "VOLUME /d /e",
            "USER me:us",
            "WORKDIR /x",
            "WORKDIR y/../z",
            "STOPSIGNAL SIGINT",
            "ENTRYPOINT [\"/bin/e\"]",
            "CMD run me",
            "ONBUILD RUN x",
            "HEALTHCHECK --interval=1m30s --retries=3 CMD curl localhost",
        ])
        .unwrap();
        assert_eq!(
            config.env.unwrap(),
            ["A=1", "B=two words", "C=three  words", "PATH=1:/bin"]
        );
        assert_eq!(config.labels.get("z z").map(String::as_str), Some("w"));
        let ports: Vec<&String> = config.exposed_ports.keys().collect();
        assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]);
        assert_eq!(config.volumes.len(), 4);
        assert_eq!(
            (config.user.as_str(), config.working_dir.as_str()),
            ("me:us", "/x/z")
        );
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!(config.entrypoint.unwrap(), ["/bin/e"]);
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "run me"]);
        assert_eq!(config.on_build.unwrap(), ["RUN x"]);
        let check = config.healthcheck.unwrap();
        assert_eq!((check.interval, check.retries), (90_000_000_000, 3));
        assert_eq!(check.test, ["CMD-SHELL", "curl localhost"]);
    }

    #[test]
    fn wrong_changes_are_refused() {
        assert_eq!(
            changed(&["RUN x"]).unwrap_err().to_string(),
            "run is not a valid change command"
        );
        for change in [
            "CMD",
            "ENV A",
            "ENV =1",
            "EXPOSE 0",
            "EXPOSE 80/xyz",
            "EXPOSE 9-1",
            "VOLUME [\"\"]",
            "USER a b",
            "STOPSIGNAL 99",
            "STOPSIGNAL ../x",
            "ONBUILD FROM x",
            "HEALTHCHECK WHAT",
            "HEALTHCHECK --interval=1y CMD x",
            "HEALTHCHECK CMD",
            "LABEL 'x",
        ] {
            assert!(changed(&[change]).is_err(), "{change}");
        }
    }
}
