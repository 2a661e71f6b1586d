//! A PID 1 that reaps orphans and passes signals on, for programs that were not written to be PID 1 (`--init`).
//!
//! It is this same process image, not another program: PID 1 forks, its child becomes the program, and PID 1 stays
//! in [`serve`] with the program's own credentials and filter.

use std::os::fd::AsFd;

use rustix::process::Pid;
use sys::clone::{Cloned, fork};
use sys::process::{Ended, exit_now};
use sys::signal::{SignalSet, kill, sigprocmask, sigtimedwait};

use crate::error::{AtStep, Result, Step};

/// Which side of the [`split`] the caller is.
#[derive(Debug)]
pub(crate) enum Side {
    /// PID 1, with the program's pid.
    Init(Pid),
    /// The program to be.
    Program,
}

/// Forks; the program gets a process group of its own, in the foreground of its terminal if it has one.
pub(crate) fn split(terminal: bool) -> Result<Side> {
    // Before the fork, so that no signal of the program's end is missed.
    sigprocmask(SignalSet::all()).at(Step::Process)?;
    match fork().at(Step::Process)? {
        Cloned::Parent { pid, .. } => Ok(Side::Init(pid)),
        Cloned::Child => {
            rustix::process::setpgid(None, None).at(Step::Process)?;
            if terminal {
                let stdin = sys::fd::borrow(0).at(Step::Terminal)?;
                // SIGTTOU is blocked here, without which a background process may not do this.
                rustix::termios::tcsetpgrp(stdin.as_fd(), rustix::process::getpid()).at(Step::Terminal)?;
            }
            Ok(Side::Program)
        }
    }
}

/// Reaps and forwards until the program ends, then ends with its status.
pub(crate) fn serve(program: Pid) -> ! {
    let waited = SignalSet::all()
        .without(libc::SIGKILL)
        .without(libc::SIGSTOP)
        .without(libc::SIGTTIN)
        .without(libc::SIGTTOU);
    loop {
        let signal = match sigtimedwait(waited, None) {
            Ok(Some(signal)) => signal,
            Ok(None) => continue,
            // A filter that forbids it: reaping is what is left.
            Err(_) => wait_only(program),
        };
        if signal == libc::SIGCHLD {
            reap(program);
        } else {
            // It may have ended just now; its status comes next.
            drop(kill(program, signal));
        }
    }
}

fn reap(program: Pid) {
    while let Ok(Some((pid, ended))) = sys::process::try_wait_any() {
        if pid == program {
            end_with(ended);
        }
    }
}

fn wait_only(program: Pid) -> ! {
    loop {
        match sys::process::wait_any() {
            Ok(Some((pid, ended))) if pid == program => end_with(ended),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => exit_now(255),
        }
    }
}

fn end_with(ended: Ended) -> ! {
    exit_now(ended.code().into())
}
