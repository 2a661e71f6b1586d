//! Terminals: the pair of a pty, made from a devpts instance of the caller's choice.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::error::{SyscallError, call};

/// The two ends of a pseudo-terminal; both close-on-exec and neither the caller's controlling terminal.
#[derive(Debug)]
pub struct Pty {
    /// The end that the engine holds.
    pub master: OwnedFd,
    /// The end that the program holds.
    pub terminal: OwnedFd,
}

/// Opens a new pty of the devpts instance whose root directory is `devpts`.
///
/// The terminal end is got through the master (TIOCGPTPEER), never through its path in a tree somebody else controls.
pub fn open_pty(devpts: impl AsFd) -> Result<Pty, SyscallError> {
    let master = call!(
        rustix::fs::openat(
            &devpts,
            "ptmx",
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty()
        ),
        "openat(devpts, \"ptmx\")"
    )?;
    call!(rustix::pty::unlockpt(&master), "ioctl(ptmx, TIOCSPTLCK, 0)")?;
    let terminal = call!(
        rustix::pty::ioctl_tiocgptpeer(
            &master,
            OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC
        ),
        "ioctl(ptmx, TIOCGPTPEER)"
    )?;
    Ok(Pty { master, terminal })
}

/// Sets the size of a terminal, given either end of it.
pub fn set_size(fd: impl AsFd, rows: u16, columns: u16) -> Result<(), SyscallError> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    call!(
        rustix::termios::tcsetwinsize(fd, size),
        "ioctl(TIOCSWINSZ, {rows}x{columns})"
    )
}

/// Makes `terminal` the controlling terminal of the calling session leader.
pub fn set_controlling(terminal: impl AsFd) -> Result<(), SyscallError> {
    call!(rustix::process::ioctl_tiocsctty(terminal), "ioctl(TIOCSCTTY)")
}
