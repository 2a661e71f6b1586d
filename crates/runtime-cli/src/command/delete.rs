//! `delete`: removes what a stopped container holds.

use std::os::fd::AsFd;

use cgroup::Cgroup;
use clap::{Arg, ArgAction, ArgMatches};
use runtime::HookKind;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::command::{id, id_argument};
use crate::error::{CommandError, Context};
use crate::globals::Globals;
use crate::groups;
use crate::launch::PATIENCE;
use crate::log::{self, Level};
use crate::status::{Container, Status};
use crate::store::Entry;

pub(super) fn arguments() -> Vec<Arg> {
    vec![
        Arg::new("force")
            .long("force")
            .short('f')
            .action(ArgAction::SetTrue)
            .help("kill the container if it still runs; no error if there is none"),
        id_argument(),
    ]
}

pub(super) fn run(globals: &Globals, matches: &ArgMatches) -> Result<u8, CommandError> {
    let force = matches.get_flag("force");
    let entry = match Entry::open(globals, id(matches)) {
        Err(_missing) if force => return Ok(0),
        entry => entry?,
    };
    let record = match entry.load() {
        Ok(record) => record,
        // A creation that was killed half-way leaves a directory without facts.
        Err(_incomplete) if force => {
            let path = entry
                .load_spec()
                .ok()
                .and_then(|spec| groups::path(&spec, entry.id(), globals.cgroups).ok().flatten());
            if let Some(path) = path {
                Cgroup::remove_path(&groups::layout()?, &path, PATIENCE).plain()?;
            }
            return entry.remove().map(|()| 0);
        }
        Err(error) => return Err(error),
    };
    let container = Container { entry, record };
    match container.status()? {
        Status::Stopped => {}
        // The program never ran: nothing is lost.
        Status::Created => kill_and_wait(&container)?,
        _ if force => kill_and_wait(&container)?,
        status => {
            return Err(CommandError::new(format!(
                "cannot delete container {} that is not stopped: {status}",
                container.entry.id()
            )));
        }
    }
    delete(globals, &container)?;
    Ok(0)
}

/// Removes cgroup and state of a container whose PID 1 has ended, and runs the last hooks.
pub(super) fn delete(globals: &Globals, container: &Container) -> Result<(), CommandError> {
    if let Some(path) = &container.record.cgroup {
        Cgroup::remove_path(&groups::layout()?, path, PATIENCE).plain()?;
    }
    let spec = container.entry.load_spec();
    let state = container.oci_state(Status::Stopped);
    container.entry.remove()?;
    // The specification: a failing poststop hook is logged, and the container is gone all the same.
    match spec {
        Ok(spec) => {
            if let Err(error) = runtime::run_hooks(HookKind::Poststop, spec.hooks().as_ref(), &state) {
                log::write(globals, Level::Warning, error.message());
            }
        }
        Err(error) => log::write(globals, Level::Warning, &error.to_string()),
    }
    Ok(())
}

/// Kills PID 1 and waits until it has ended.
fn kill_and_wait(container: &Container) -> Result<(), CommandError> {
    let Some(pidfd) = container.pidfd()? else {
        return Ok(());
    };
    match sys::signal::pidfd_send_signal(pidfd.as_fd(), 9) {
        Err(error) if error.errno() != Errno::SRCH => return Err(error).plain(),
        _ => {}
    }
    // A frozen process does not die before it is thawed.
    if let Some(group) = container.cgroup()? {
        group.thaw().plain()?;
    }
    let timeout = Timespec {
        tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap_or(10),
        tv_nsec: 0,
    };
    let ready = loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            ready => break ready.context(|| "wait for the container".to_owned())?,
        }
    };
    if ready == 0 {
        return Err(CommandError::new(format!(
            "container {} does not end although it was killed",
            container.entry.id()
        )));
    }
    Ok(())
}
