//! The user's terminal: raw mode that is always undone, and its size.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Mutex;

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// What the terminal was like before; also read by the panic hook, which has no other way to it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Returns whether standard input is a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    isatty(rustix::stdio::stdin())
}

/// Returns whether standard output is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    isatty(rustix::stdio::stdout())
}

/// Returns whether standard error is a terminal.
pub(crate) fn stderr_is_terminal() -> bool {
    isatty(rustix::stdio::stderr())
}

/// Returns rows and columns of the terminal on standard output, (0, 0) if there is none.
pub(crate) fn size() -> (u16, u16) {
    size_of(rustix::stdio::stdout())
        .or_else(|| size_of(rustix::stdio::stdin()))
        .unwrap_or((0, 0))
}

fn size_of(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = tcgetwinsize(fd).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// Raw mode of the terminal on standard input, until dropped.
#[derive(Debug)]
pub(crate) struct RawMode(());

impl RawMode {
    /// Switches raw mode on; `None` if standard input is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !stdin_is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(rustix::stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        *lock() = Some(before);
        // With panic = "abort" no destructor runs.
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            previous(info);
        }));
        tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(before) = lock().take() {
        // Nothing can be done about a terminal that is gone.
        let _gone = tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &before);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<Termios>> {
    BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
