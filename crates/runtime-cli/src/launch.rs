//! Making a container: what `create` and `run` share.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::clock::Timestamp;
use cgroup::{Cgroup, Limits};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use oci::rootfs::Rootfs;
use oci_spec::runtime::Spec;
use runtime::{BindIds, CreateRequest, Gate, MissingCapabilities, Stdio};

use crate::bundle::Bundle;
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::log::{self, Level};
use crate::status::{Container, start_time};
use crate::store::{Entry, Record};
use crate::{ambient, console, groups};

/// How long processes that are left in a cgroup may take to die.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What `create` and `run` are told.
#[derive(Debug)]
pub(crate) struct Options {
    id: String,
    bundle: PathBuf,
    console_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    preserve_fds: u32,
}

/// A container that waits for its start.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) container: Container,
    /// A pidfd of PID 1, which is a child of the caller.
    pub(crate) pidfd: OwnedFd,
    /// The terminal's master, if it was not sent away.
    pub(crate) console: Option<OwnedFd>,
}

/// Returns the arguments of `create` and `run`.
pub(crate) fn arguments() -> Vec<Arg> {
    let path = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    let flag = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
    };
    vec![
        path("bundle", "directory of the bundle")
            .short('b')
            .default_value("."),
        path("console-socket", "unix socket that gets the terminal's master"),
        path("pid-file", "file to write the process id to"),
        flag(
            "no-pivot",
            "not supported: the root file system is always pivoted to",
        ),
        flag(
            "no-new-keyring",
            "not supported: every container has a session keyring of its own",
        ),
        Arg::new("preserve-fds")
            .long("preserve-fds")
            .value_name("N")
            .value_parser(value_parser!(u32).range(0..=1024))
            .default_value("0")
            .help("pass N descriptors from 3 on, after those of LISTEN_FDS"),
        Arg::new("id").required(true).value_name("CONTAINER"),
    ]
}

impl Options {
    /// Reads the arguments.
    pub(crate) fn from_matches(matches: &ArgMatches) -> Result<Self, CommandError> {
        for refused in ["no-pivot", "no-new-keyring"] {
            if matches.get_flag(refused) {
                return Err(CommandError::new(format!("--{refused} is not supported")));
            }
        }
        let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        Ok(Self {
            id: matches.get_one::<String>("id").cloned().unwrap_or_default(),
            bundle: path("bundle").unwrap_or_default(),
            console_socket: path("console-socket"),
            pid_file: path("pid-file"),
            preserve_fds: preserved(matches.get_one::<u32>("preserve-fds").copied())?,
        })
    }

    /// Returns whether the terminal is sent away.
    pub(crate) fn sends_console(&self) -> bool {
        self.console_socket.is_some()
    }
}

/// Returns how many descriptors are passed on: those of `LISTEN_FDS` (sd_listen_fds(3)) and `extra` more.
pub(crate) fn preserved(extra: Option<u32>) -> Result<u32, CommandError> {
    let listen = match std::env::var("LISTEN_FDS") {
        Ok(text) => text
            .parse::<u32>()
            .ok()
            .filter(|count| *count <= 1024)
            .ok_or_else(|| CommandError::new(format!("LISTEN_FDS is \"{text:.40}\"")))?,
        Err(_absent) => 0,
    };
    Ok(listen + extra.unwrap_or(0))
}

/// Who gets the terminal's master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Console {
    /// The console socket only: there has to be one.
    Socket,
    /// The console socket, or the calling command if there is none.
    SocketOrCaller,
}

/// Makes the container up to the point where `start` lets it run. After a failure nothing of it is left.
pub(crate) fn create(
    globals: &Globals,
    options: &Options,
    console: Console,
) -> Result<Launched, CommandError> {
    let mut bundle = Bundle::load(&options.bundle)?;
    if let Some(process) = bundle.spec.process_mut() {
        ambient::drop_impossible(globals, process);
    }
    let has_terminal = bundle
        .spec
        .process()
        .as_ref()
        .is_some_and(|process| process.terminal().unwrap_or(false));
    match (has_terminal, &options.console_socket) {
        (true, None) if console == Console::Socket => {
            return Err(CommandError::new(
                "cannot allocate tty if runc will detach without setting console socket",
            ));
        }
        (false, Some(_)) => {
            return Err(CommandError::new(
                "cannot use console socket if runc will not detach or allocate tty",
            ));
        }
        _ => {}
    }
    let socket = options
        .console_socket
        .as_deref()
        .map(console::connect)
        .transpose()?;
    let entry = Entry::create(globals, &options.id)?;
    let mut group = None;
    let made = populate(globals, options, &bundle, has_terminal, &entry, &mut group);
    let launched = made.and_then(|(record, created)| {
        let container = Container { entry, record };
        let launched = Launched {
            container,
            pidfd: created.pidfd,
            console: created.console,
        };
        finish(options, launched, socket)
    });
    launched.inspect_err(|_| undo(globals, &options.id, group))
}

/// Makes cgroup, gate and PID 1, and writes the facts down.
fn populate(
    globals: &Globals,
    options: &Options,
    bundle: &Bundle,
    has_terminal: bool,
    entry: &Entry,
    group: &mut Option<Cgroup>,
) -> Result<(Record, runtime::Created), CommandError> {
    let spec = &bundle.spec;
    let path = groups::path(spec, &options.id, globals.cgroups)?;
    if let Some(path) = &path {
        let made = group.insert(Cgroup::create(&groups::layout()?, path).plain()?);
        let limits = limits(spec);
        for warning in &limits.warnings {
            log::write(globals, Level::Warning, warning);
        }
        made.apply(&limits).plain()?;
    }
    entry.save_spec(spec)?;
    let rootfs = Rootfs::Directory {
        path: bundle.rootfs.clone(),
        idmap: false,
    };
    // The cpuset of the cgroup says where a container runs, not what this command happens to be pinned to.
    sys::process::reset_cpu_affinity().plain()?;
    let created = runtime::create(CreateRequest {
        id: &options.id,
        spec,
        rootfs: &rootfs,
        user: None,
        groups: &[],
        seccomp_filter: None,
        init: false,
        stdio: if has_terminal {
            Stdio::Terminal {
                size: console_size(spec),
            }
        } else {
            Stdio::Inherit
        },
        gate: Gate::Held(entry.listen()?),
        cgroup: group.as_ref(),
        bundle: &bundle.path,
        preserve_fds: options.preserve_fds,
        parent_death_signal: None,
        missing_capabilities: MissingCapabilities::Drop,
        bind_ids: BindIds::AsSpecified,
        plug: None,
        pins: &[],
    })
    .map_err(|error| CommandError::new(error.message().to_owned()))?;
    for warning in &created.warnings {
        log::write(globals, Level::Warning, warning);
    }
    let pid = created.pid.as_raw_nonzero().get();
    let record = Record {
        oci_version: spec.version().clone(),
        id: options.id.clone(),
        pid,
        pid_start_time: start_time(pid)
            .ok_or_else(|| CommandError::new("the container's first process ended before it was started"))?,
        bundle: bundle.path.clone(),
        rootfs: bundle.rootfs.clone(),
        created: Timestamp::now(),
        cgroup: path,
        annotations: spec.annotations().clone().unwrap_or_default(),
    };
    entry.save(&record)?;
    Ok((record, created))
}

/// Sends the terminal away and writes the pid file, the last of all: whoever waits for it finds everything else there.
fn finish(
    options: &Options,
    mut launched: Launched,
    socket: Option<OwnedFd>,
) -> Result<Launched, CommandError> {
    if let Some(socket) = socket {
        let master = launched
            .console
            .take()
            .ok_or_else(|| CommandError::new("the container has no terminal to send"))?;
        console::send(socket, master)?;
    }
    if let Some(path) = &options.pid_file {
        write_pid(path, launched.container.record.pid)?;
    }
    Ok(launched)
}

/// Takes everything back that a failed creation may have left; the failure itself is what gets reported.
fn undo(globals: &Globals, id: &str, group: Option<Cgroup>) {
    if let Ok(entry) = Entry::open(globals, id) {
        if let Ok(record) = entry.load() {
            let container = Container { entry, record };
            if let Ok(Some(pidfd)) = container.pidfd() {
                drop(sys::signal::pidfd_send_signal(
                    std::os::fd::AsFd::as_fd(&pidfd),
                    9,
                ));
            }
            drop(container.entry.remove());
        } else {
            drop(entry.remove());
        }
    }
    if let Some(group) = group {
        drop(group.remove(PATIENCE));
    }
}

/// Returns the limits of the document; a container without a device list gets one, which opens the default devices only.
pub(crate) fn limits(spec: &Spec) -> Limits {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let mut resources = resources.unwrap_or_default();
    if resources.devices().is_none() {
        resources.set_devices(Some(Vec::new()));
    }
    Limits::from(&resources)
}

pub(crate) fn console_size(spec: &Spec) -> Option<(u16, u16)> {
    let size = spec.process().as_ref()?.console_size()?;
    Some((size.height().try_into().ok()?, size.width().try_into().ok()?))
}

/// Writes the process id where a supervisor looks for it: whole or not at all.
pub(crate) fn write_pid(path: &Path, pid: i32) -> Result<(), CommandError> {
    base::file::write_atomic(
        path,
        pid.to_string().as_bytes(),
        0o644,
        base::file::Durability::Crash,
    )
    .plain()
}
