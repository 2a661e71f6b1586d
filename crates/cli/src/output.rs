//! The only place that writes: standard output is data, standard error everything else.
//!
//! Text is written at once and unbuffered. [`Sink`] is for streams: it never sets `O_NONBLOCK`, which would change the
//! terminal of the shell too, and yet never blocks the runtime on a slow pipe.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::failure::Failure;

/// What a pipe takes without blocking once it is writable (`PIPE_BUF`, pipe(7)).
const PIPE_PIECE: usize = 4096;

/// Writes text to standard output.
pub(crate) fn out(text: &str) -> Result<(), Failure> {
    write_all(io::stdout().lock(), text.as_bytes())
}

/// Writes text and a line feed to standard output.
pub(crate) fn out_line(text: &str) -> Result<(), Failure> {
    let mut line = String::with_capacity(text.len() + 1);
    line.push_str(text);
    line.push('\n');
    out(&line)
}

/// Writes text and a line feed to standard error; nobody can be told when that fails.
pub(crate) fn err_line(text: &str) {
    let mut line = String::with_capacity(text.len() + 1);
    line.push_str(text);
    line.push('\n');
    let _unreported = io::stderr().lock().write_all(line.as_bytes());
}

/// Writes text to standard error without a line feed.
pub(crate) fn err(text: &str) {
    let _unreported = io::stderr().lock().write_all(text.as_bytes());
}

fn write_all(mut stream: impl Write, bytes: &[u8]) -> Result<(), Failure> {
    stream
        .write_all(bytes)
        .and_then(|()| stream.flush())
        .map_err(|error| Failure::io("write to standard output", &error))
}

/// Returns standard input as something to upload; it is read on a thread of its own.
pub(crate) fn stdin_file() -> io::Result<tokio::fs::File> {
    let copy = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 0)?;
    Ok(tokio::fs::File::from_std(std::fs::File::from(copy)))
}

/// A standard stream that a container's output goes to.
#[derive(Debug)]
pub(crate) struct Sink {
    fd: BorrowedFd<'static>,
    /// None for what is never busy: files and `/dev/null`.
    readiness: Option<AsyncFd<BorrowedFd<'static>>>,
}

impl Sink {
    /// Returns standard output.
    pub(crate) fn stdout() -> Self {
        Self::new(rustix::stdio::stdout())
    }

    /// Returns standard error.
    pub(crate) fn stderr() -> Self {
        Self::new(rustix::stdio::stderr())
    }

    fn new(fd: BorrowedFd<'static>) -> Self {
        Self {
            fd,
            // Regular files cannot be waited for (EPERM) and need not be.
            readiness: register(fd, Interest::WRITABLE),
        }
    }

    /// Writes all of `bytes`.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let length = match &self.readiness {
                None => bytes.len(),
                Some(readiness) => {
                    wait_ready(readiness, PollFlags::OUT).await?;
                    bytes.len().min(PIPE_PIECE)
                }
            };
            match rustix::io::write(self.fd, &bytes[..length]) {
                Ok(written) => bytes = &bytes[written..],
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Standard input as a stream for a container.
#[derive(Debug)]
pub(crate) struct Source {
    readiness: Option<AsyncFd<BorrowedFd<'static>>>,
}

impl Source {
    /// Returns standard input.
    pub(crate) fn stdin() -> Self {
        Self {
            readiness: register(rustix::stdio::stdin(), Interest::READABLE),
        }
    }

    /// Reads what there is; 0 at the end.
    pub(crate) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(readiness) = &self.readiness {
                wait_ready(readiness, PollFlags::IN).await?;
            }
            match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
                Ok(length) => return Ok(length),
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                // A terminal that hung up has no more input.
                Err(rustix::io::Errno::IO) => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Registers a standard stream with the runtime; `None` if it can never be busy.
fn register(fd: BorrowedFd<'static>, interest: Interest) -> Option<AsyncFd<BorrowedFd<'static>>> {
    #[expect(
        deprecated,
        reason = "the successor is unsafe for the sake of descriptors that get closed; these are open for as long as the program"
    )]
    AsyncFd::with_interest(fd, interest).ok()
}

/// Waits until `poll` says that the next read or write does not block.
///
/// The runtime's own readiness is edge-triggered and only forgotten after `EAGAIN`, which a blocking descriptor never gives: so the
/// level is asked for each time.
async fn wait_ready(readiness: &AsyncFd<BorrowedFd<'static>>, flags: PollFlags) -> io::Result<()> {
    let interest = if flags.contains(PollFlags::OUT) {
        Interest::WRITABLE
    } else {
        Interest::READABLE
    };
    loop {
        if is_ready(readiness.get_ref().as_fd(), flags)? {
            return Ok(());
        }
        let mut guard = readiness.ready(interest).await?;
        if is_ready(readiness.get_ref().as_fd(), flags)? {
            return Ok(());
        }
        guard.clear_ready();
    }
}

fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&now)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
