//! Signals that reach the command line and are passed on to the container.

use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that are passed on, with the names that the API takes.
pub(crate) const FORWARDED: &[(i32, &str)] = &[
    (libc::SIGHUP, "HUP"),
    (libc::SIGINT, "INT"),
    (libc::SIGQUIT, "QUIT"),
    (libc::SIGABRT, "ABRT"),
    (libc::SIGUSR1, "USR1"),
    (libc::SIGUSR2, "USR2"),
    (libc::SIGALRM, "ALRM"),
    (libc::SIGTERM, "TERM"),
    (libc::SIGCONT, "CONT"),
    (libc::SIGTSTP, "TSTP"),
    (libc::SIGTTIN, "TTIN"),
    (libc::SIGTTOU, "TTOU"),
];

/// Signals that would end this program, which must first put the terminal right.
const ENDING: &[(i32, &str)] = &[
    (libc::SIGHUP, "HUP"),
    (libc::SIGINT, "INT"),
    (libc::SIGQUIT, "QUIT"),
    (libc::SIGTERM, "TERM"),
];

/// Signals as they arrive.
#[derive(Debug)]
pub(crate) struct Signals(Vec<(Signal, i32, &'static str)>);

impl Signals {
    /// Catches all signals that are passed on to a container.
    pub(crate) fn forwarded() -> io::Result<Self> {
        Self::catch(FORWARDED)
    }

    /// Catches those that would end the program.
    pub(crate) fn ending() -> io::Result<Self> {
        Self::catch(ENDING)
    }

    /// Catches none.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    fn catch(list: &[(i32, &'static str)]) -> io::Result<Self> {
        list.iter()
            .map(|&(number, name)| Ok((signal(SignalKind::from_raw(number))?, number, name)))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Returns the next signal's number and name; waits for ever if none is caught.
    pub(crate) async fn next(&mut self) -> (i32, &'static str) {
        std::future::poll_fn(|context| {
            for (signal, number, name) in &mut self.0 {
                if let Poll::Ready(Some(())) = signal.poll_recv(context) {
                    return Poll::Ready((*number, *name));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Changes of the terminal's size.
#[derive(Debug)]
pub(crate) struct Resizes(Option<Signal>);

impl Resizes {
    /// Catches `SIGWINCH`.
    pub(crate) fn catch() -> io::Result<Self> {
        signal(SignalKind::window_change()).map(|signal| Self(Some(signal)))
    }

    /// Waits for ever.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Waits for the next change.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                let _stream_never_ends = signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}
