//! `kill`: a signal for PID 1, or for every process.

use std::os::fd::AsFd;

use clap::{Arg, ArgAction, ArgMatches};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::command::{id, id_argument};
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::signals;
use crate::status::{Container, Status};

pub(super) fn arguments() -> Vec<Arg> {
    vec![
        Arg::new("all")
            .long("all")
            .short('a')
            .action(ArgAction::SetTrue)
            .help("send the signal to every process of the container"),
        id_argument(),
        Arg::new("signal").value_name("SIGNAL").default_value("SIGTERM"),
    ]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let container = Container::load(globals, id(matches))?;
    let signal = signals::parse(
        matches
            .get_one::<String>("signal")
            .map_or("SIGTERM", String::as_str),
    )?;
    if matches.get_flag("all") {
        // Processes may outlive PID 1 when the container shares the host's PID namespace.
        let group = container.need_cgroup("kill every process of")?;
        if signal == 9 {
            group.kill(Signal::KILL).plain()?;
        } else {
            for pid in group.processes().plain()? {
                match sys::signal::kill(pid, signal) {
                    Err(error) if error.errno() != Errno::SRCH => return Err(error).plain(),
                    _ => {}
                }
            }
        }
        return Ok(0);
    }
    // The text is what containerd and podman look for.
    let stopped = || CommandError::new("container not running");
    if container.status()? == Status::Stopped {
        return Err(stopped());
    }
    let pidfd = container.pidfd()?.ok_or_else(stopped)?;
    match sys::signal::pidfd_send_signal(pidfd.as_fd(), signal) {
        Err(error) if error.errno() == Errno::SRCH => Err(stopped()),
        result => result.plain().map(|()| 0),
    }
}
