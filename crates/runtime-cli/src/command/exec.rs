//! `exec`: another process in a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec, User};
use runtime::{ExecRequest, MissingCapabilities, Stdio};

use crate::command::id_argument;
use crate::error::{CommandError, Context};
use crate::foreground::{self, Signals};
use crate::globals::Globals;
use crate::launch::{preserved, write_pid};
use crate::log::{self, Level};
use crate::status::{Container, Status};
use crate::{ambient, command, console};

/// The greatest document that is read, in bytes.
const MAX_DOCUMENT: u64 = 1 << 20;
/// Options of runc that have no meaning here; refused by name.
const REFUSED: [&str; 3] = ["process-label", "apparmor", "cgroup"];

pub(super) fn arguments() -> Vec<Arg> {
    let option =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).value_name("VALUE").help(help);
    let path =
        |name: &'static str, help: &'static str| option(name, help).value_parser(value_parser!(PathBuf));
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    let many = |name: &'static str, help: &'static str| option(name, help).action(ArgAction::Append);
    vec![
        path("process", "file with the process of the specification").short('p'),
        path("console-socket", "unix socket that gets the terminal's master"),
        path("pid-file", "file to write the process id to"),
        option("cwd", "working directory"),
        many("env", "environment variable, NAME=VALUE").short('e'),
        flag("tty", "give it a terminal").short('t'),
        option("user", "UID[:GID]").short('u'),
        many("additional-gids", "more groups, by number").short('g'),
        flag("detach", "return when the program has started").short('d'),
        flag("no-new-privs", "set no_new_privs"),
        many("cap", "give it a capability").short('c'),
        flag("ignore-paused", "also in a paused container"),
        option("preserve-fds", "pass N descriptors from 3 on")
            .value_parser(value_parser!(u32).range(0..=1024)),
        option("process-label", "not supported"),
        option("apparmor", "not supported"),
        option("cgroup", "not supported"),
        id_argument(),
        Arg::new("command")
            .value_name("COMMAND")
            .num_args(0..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true),
    ]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    for name in REFUSED {
        if matches
            .get_one::<String>(name)
            .is_some_and(|value| !value.is_empty())
        {
            return Err(CommandError::new(format!("--{name} is not supported")));
        }
    }
    let container = Container::load(globals, command::id(matches))?;
    match container.status()? {
        Status::Stopped => return Err(CommandError::new("cannot exec in a stopped container")),
        Status::Paused if !matches.get_flag("ignore-paused") => {
            return Err(CommandError::new(
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let spec = container.entry.load_spec()?;
    let mut process = process(&spec, matches)?;
    ambient::drop_impossible(globals, &mut process);
    let path = |name: &str| matches.get_one::<PathBuf>(name);
    let detach = matches.get_flag("detach");
    let has_terminal = process.terminal().unwrap_or(false);
    let socket = match (has_terminal, path("console-socket")) {
        (true, Some(path)) => Some(console::connect(path)?),
        (true, None) if detach => {
            return Err(CommandError::new(
                "cannot allocate tty if runc will detach without setting console socket",
            ));
        }
        (false, Some(_)) => {
            return Err(CommandError::new(
                "cannot use console socket if runc will not detach or allocate tty",
            ));
        }
        (_, None) => None,
    };
    let signals = if detach { None } else { Some(Signals::hold()?) };
    let created = start(
        &container,
        &spec,
        &process,
        preserved(matches.get_one::<u32>("preserve-fds").copied())?,
    )?;
    for warning in &created.warnings {
        log::write(globals, Level::Warning, warning);
    }
    finish(created, socket, path("pid-file"), signals)
}

/// Runs the process.
fn start(
    container: &Container,
    spec: &Spec,
    process: &Process,
    preserve_fds: u32,
) -> Result<runtime::Created, CommandError> {
    let stopped = || CommandError::new("cannot exec in a stopped container");
    let target = container.pidfd()?.ok_or_else(stopped)?;
    let group = container.cgroup()?;
    let size = process
        .console_size()
        .and_then(|size| Some((size.height().try_into().ok()?, size.width().try_into().ok()?)));
    runtime::exec(ExecRequest {
        target: target.as_fd(),
        spec,
        process,
        user: None,
        groups: &[],
        privileged: false,
        seccomp_filter: None,
        stdio: if process.terminal().unwrap_or(false) {
            Stdio::Terminal { size }
        } else {
            Stdio::Inherit
        },
        cgroup: group.as_ref(),
        preserve_fds,
        parent_death_signal: None,
        missing_capabilities: MissingCapabilities::Drop,
    })
    .map_err(|error| CommandError::new(format!("exec failed: {}", error.message())))
}

fn finish(
    mut created: runtime::Created,
    socket: Option<OwnedFd>,
    pid_file: Option<&PathBuf>,
    signals: Option<Signals>,
) -> Result<u8, CommandError> {
    if let Some(socket) = socket {
        let master = created.console.take();
        let master = master.ok_or_else(|| CommandError::new("the process has no terminal to send"))?;
        console::send(socket, master)?;
    }
    if let Some(path) = pid_file {
        write_pid(path, created.pid.as_raw_nonzero().get())?;
    }
    match signals {
        None => Ok(0),
        Some(signals) => foreground::wait(&signals, created.pidfd.as_fd(), created.console),
    }
}

/// Returns the process: the file's, or the container's own with what the options change.
fn process(spec: &Spec, matches: &ArgMatches) -> Result<Process, CommandError> {
    if let Some(path) = matches.get_one::<PathBuf>("process") {
        let document = base::file::read_optional(path, MAX_DOCUMENT)
            .plain()?
            .ok_or_else(|| CommandError::new(format!("\"{}\" does not exist", path.display())))?;
        return serde_json::from_slice(&document).context(|| format!("read \"{}\"", path.display()));
    }
    let words: Vec<String> = matches
        .get_many::<String>("command")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    if words.is_empty() {
        return Err(CommandError::new("process args cannot be empty"));
    }
    let mut process = spec.process().clone().unwrap_or_default();
    process
        .set_args(Some(words))
        .set_terminal(Some(matches.get_flag("tty")));
    if let Some(cwd) = matches.get_one::<String>("cwd") {
        process.set_cwd(cwd.into());
    }
    if let Some(variables) = matches.get_many::<String>("env") {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.extend(variables.cloned());
        process.set_env(Some(environment));
    }
    if matches.get_flag("no-new-privs") {
        process.set_no_new_privileges(Some(true));
    }
    if let Some(names) = matches.get_many::<String>("cap") {
        let capabilities = process.capabilities().clone().unwrap_or_default();
        process.set_capabilities(Some(with_capabilities(capabilities, names)?));
    }
    let mut user = process.user().clone();
    if let Some(text) = matches.get_one::<String>("user") {
        user = parse_user(text)?;
    }
    if let Some(groups) = matches.get_many::<String>("additional-gids") {
        let mut all = user.additional_gids().clone().unwrap_or_default();
        for group in groups.flat_map(|text| text.split(',')) {
            let group = group
                .parse()
                .context(|| format!("read the group \"{group:.40}\""))?;
            all.push(group);
        }
        user.set_additional_gids(Some(all));
    }
    process.set_user(user);
    Ok(process)
}

/// Adds to all sets but the inheritable and ambient one, as runc does.
fn with_capabilities<'a>(
    mut capabilities: LinuxCapabilities,
    names: impl Iterator<Item = &'a String>,
) -> Result<LinuxCapabilities, CommandError> {
    let mut extra = Vec::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let capability = Capability::from_str(bare).or_else(|_| Capability::from_str(&format!("CAP_{bare}")));
        extra.push(
            capability.map_err(|_unknown| CommandError::new(format!("unknown capability \"{name:.40}\"")))?,
        );
    }
    let add = |set: &Option<oci_spec::runtime::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(extra.iter().copied());
        Some(set)
    };
    let (bounding, effective, permitted) = (
        add(capabilities.bounding()),
        add(capabilities.effective()),
        add(capabilities.permitted()),
    );
    capabilities
        .set_bounding(bounding)
        .set_effective(effective)
        .set_permitted(permitted);
    Ok(capabilities)
}

/// Reads `UID[:GID]`; without a group it is 0, as runc has it.
fn parse_user(text: &str) -> Result<User, CommandError> {
    let number = |part: &str| {
        part.parse::<u32>()
            .context(|| format!("read the user \"{text:.40}\""))
    };
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (number(uid)?, number(gid)?),
        None => (number(text)?, 0),
    };
    let mut user = User::default();
    user.set_uid(uid).set_gid(gid);
    Ok(user)
}
