//! Staying with a process: signals are passed on, a terminal is relayed, and its exit code becomes ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use sys::signal::SignalSet;

use crate::error::{CommandError, Context};

const SIGCHLD: i32 = 17;
const SIGWINCH: i32 = 28;
/// Signals that are about ourselves: faults and job control of our own terminal, and what reading it may raise.
const OWN: [i32; 9] = [4, 5, 7, 8, 11, 21, 22, 23, SIGCHLD];

/// Signals that are held back from before the process is made, so that none is lost.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: OwnedFd,
    former: SignalSet,
}

impl Signals {
    /// Holds signals back.
    pub(crate) fn hold() -> Result<Self, CommandError> {
        let held = OWN
            .iter()
            .fold(SignalSet::all(), |set, signal| set.without(*signal));
        let former = sys::signal::sigprocmask(held).plain()?;
        let fd = sys::signal::signalfd(held).plain()?;
        Ok(Self { fd, former })
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // The mask was valid when it was read; nothing else can fail.
        drop(sys::signal::sigprocmask(self.former));
    }
}

/// Waits for the child behind `pidfd` and returns its exit code.
pub(crate) fn wait(
    signals: &Signals,
    pidfd: BorrowedFd<'_>,
    console: Option<OwnedFd>,
) -> Result<u8, CommandError> {
    let stdin = sys::fd::borrow(0).plain()?;
    let stdout = sys::fd::borrow(1).plain()?;
    let _raw = console.as_ref().and_then(|_| Raw::set(stdin));
    let mut console = console;
    if let Some(master) = &console {
        copy_size(stdin, master.as_fd());
    }
    let mut reads_stdin = console.is_some();
    loop {
        let nothing = PollFlags::empty();
        // An end that is not read any more is left out: poll would report its hang-up for ever.
        let console_fd = console.as_ref().map_or(pidfd, AsFd::as_fd);
        let stdin_fd = if reads_stdin { stdin } else { pidfd };
        let mut fds = [
            PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.fd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(
                console_fd,
                if console.is_some() { PollFlags::IN } else { nothing },
            ),
            PollFd::from_borrowed_fd(stdin_fd, if reads_stdin { PollFlags::IN } else { nothing }),
        ];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            result => result.context(|| "wait for the container".to_owned())?,
        };
        let [ended, signalled, output, input] = fds.map(|fd| !fd.revents().is_empty());
        while signalled && let Some(received) = sys::signal::read_signalfd(signals.fd.as_fd()).plain()? {
            match (received.signal, &console) {
                (SIGWINCH, Some(master)) => copy_size(stdin, master.as_fd()),
                (signal, _) => pass_on(pidfd, signal)?,
            }
        }
        if console.is_some() && output {
            let master = console_fd;
            if !copy(master, stdout) {
                console = None;
                reads_stdin = false;
            }
        }
        if reads_stdin
            && input
            && let Some(master) = &console
        {
            reads_stdin = copy(stdin, master.as_fd());
        }
        // What the program wrote last is still in the terminal: it is read to its end first.
        if ended && (console.is_none() || !output) {
            let end = sys::process::wait_pidfd(pidfd).plain()?;
            return Ok(end.code());
        }
    }
}

fn pass_on(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), CommandError> {
    match sys::signal::pidfd_send_signal(pidfd, signal) {
        Err(error) if error.errno() != Errno::SRCH => Err(error).plain(),
        _ => Ok(()),
    }
}

/// Copies what is there; `false` at the end.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0u8; 8192];
    let count = match rustix::io::retry_on_intr(|| rustix::io::read(from, &mut buffer)) {
        Ok(0) => return false,
        Ok(count) => count,
        Err(Errno::AGAIN) => return true,
        // A terminal's master says EIO when the last program has closed it.
        Err(_end) => return false,
    };
    let mut rest = &buffer[..count];
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(to, rest)) {
            Ok(written) => rest = &rest[written..],
            Err(_closed) => return false,
        }
    }
    true
}

/// Gives the container's terminal the size of ours, if ours is one.
fn copy_size(own: BorrowedFd<'_>, master: BorrowedFd<'_>) {
    if let Ok(size) = tcgetwinsize(own) {
        // A terminal without a size still works.
        drop(sys::tty::set_size(master, size.ws_row, size.ws_col));
    }
}

/// Our own terminal in raw mode, until dropped.
struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    former: Termios,
}

impl<'a> Raw<'a> {
    fn set(terminal: BorrowedFd<'a>) -> Option<Self> {
        let former = tcgetattr(terminal).ok()?;
        let mut raw = former.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw).ok()?;
        Some(Self { terminal, former })
    }
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to restore.
        match tcsetattr(self.terminal, OptionalActions::Now, &self.former) {
            Ok(()) | Err(_) => {}
        }
    }
}
