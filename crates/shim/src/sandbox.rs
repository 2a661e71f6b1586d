//! A spare shim's sandbox: namespaces made before there is a container, and the words with which a shim tells their holder
//! what to make in them.
//!
//! ```text
//! shim                               holder
//! Assignment (the task) ───────────▶ decodes it
//! streams, cgroup, id maps
//! Go + descriptors ────────────────▶ plans, clones PID 1, waits
//! when there is time: Holder ──────▶ is ended
//! ```

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use cgroup::{Cgroup, Layout};
use runtime::{CreateError, Plug, Sandbox, Stdio, Step};
use serde::{Deserialize, Serialize};
use shim_api::frame::{self, Decoder, FrameError};
use shim_api::task::Task;

use crate::launch::{read_filter, request};
use crate::plug::Networks;

/// What is to be made.
#[derive(Debug, Serialize, Deserialize)]
struct Assignment<T> {
    task: T,
    console_size: Option<(u16, u16)>,
}

/// That it is to be made now. Carries the channel to the shim, then the streams, then the cgroup's directories.
#[derive(Debug, Serialize, Deserialize)]
struct Go {
    /// Whether there are streams: three, or none with a terminal.
    has_streams: bool,
    /// The cgroup's path, and in which hierarchies of the layout it is.
    cgroup: Option<(String, Vec<bool>)>,
}

/// Returns whether a container of `task` can be made in a sandbox.
pub(crate) fn fits(task: &Task) -> bool {
    task.keep.is_none() && task.joined.is_empty() && Sandbox::fits(&task.spec)
}

/// Tells the holder what will be made, so that it is ready for it.
pub(crate) fn assign(
    sandbox: &Sandbox,
    task: &Task,
    console_size: Option<(u16, u16)>,
) -> Result<(), FrameError> {
    sandbox.keep_beside();
    frame::send(sandbox.socket(), &Assignment { task, console_size }, &[])
}

/// Tells the holder to make it.
pub(crate) fn go(
    sandbox: &Sandbox,
    channel: BorrowedFd<'_>,
    stdio: &Stdio,
    cgroup: Option<&Cgroup>,
) -> Result<(), CreateError> {
    let mut fds = vec![channel];
    let has_streams = match stdio {
        Stdio::Fds {
            stdin,
            stdout,
            stderr,
        } => {
            fds.extend([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()]);
            true
        }
        Stdio::Terminal { .. } | Stdio::Inherit => false,
    };
    let cgroup = cgroup.map(|cgroup| {
        fds.extend(cgroup.all_directories().flatten());
        let is_there = cgroup.all_directories().map(|directory| directory.is_some());
        (cgroup.path().to_owned(), is_there.collect())
    });
    frame::send(sandbox.socket(), &Go { has_streams, cgroup }, &fds)
        .map_err(|error| CreateError::new(Step::Sync, 0, base::error::chain(&error).to_string()))
}

/// Waits for the assignment, and carries it out. Returns if there is none, or if it makes no sense, which the shim sees as
/// the end of the channel.
pub(crate) fn hold(socket: &OwnedFd, layout: Option<&Layout>) -> ExitCode {
    let mut decoder = Decoder::default();
    match decoder.wait_for::<Assignment<Box<Task>>>(socket.as_fd()) {
        Ok(Some(assignment)) => {
            carry_out(&assignment, &mut decoder, socket, layout);
            ExitCode::FAILURE
        }
        // The shim has no use for it.
        _ => ExitCode::SUCCESS,
    }
}

fn carry_out(
    assignment: &Assignment<Box<Task>>,
    decoder: &mut Decoder,
    socket: &OwnedFd,
    layout: Option<&Layout>,
) -> Option<Infallible> {
    let task = &*assignment.task;
    let filter = read_filter(task.seccomp_filter.as_deref()).ok()?;
    let networks = Networks::of(task);
    let Go { has_streams, cgroup } = decoder.wait_for(socket.as_fd()).ok()??;
    let channel = decoder.take_fds(1).ok()?.pop()?;
    let stdio = if has_streams {
        let [stdin, stdout, stderr] = <[OwnedFd; 3]>::try_from(decoder.take_fds(3).ok()?).ok()?;
        Stdio::Fds {
            stdin,
            stdout,
            stderr,
        }
    } else {
        Stdio::Terminal {
            size: assignment.console_size,
        }
    };
    let cgroup = match cgroup {
        Some((path, is_there)) => {
            let count = is_there.iter().filter(|is_there| **is_there).count();
            let mut directories = decoder.take_fds(count).ok()?.into_iter();
            let all = is_there
                .iter()
                .map(|is_there| is_there.then(|| directories.next()).flatten());
            Some(Cgroup::from_directories(layout?, &path, all.collect()).ok()?)
        }
        None => None,
    };
    let plug = networks.as_ref().map(|networks| networks as &dyn Plug);
    runtime::run_in(
        request(task, filter.as_deref(), stdio, cgroup.as_ref(), &[], plug),
        channel,
        socket.as_fd(),
    )
}
