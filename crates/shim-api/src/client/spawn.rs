//! The zygote's start.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::net::UnixStream;

use super::connection::{ShimConnection, stream_pair};
use crate::frame::{self, Decoder, Received};
use crate::zygote::{ID_LENGTH, Offer, PROGRAM, SpawnRequest};

/// How the zygote is started.
#[derive(Clone, Debug)]
pub struct ZygoteOptions {
    /// The `berth` executable; `/proc/self/exe` for the one that runs.
    pub executable: PathBuf,
    /// `<exec-root>/shim`, made with mode 0700 when missing; shims listen on sockets in it.
    pub socket_directory: PathBuf,
}

/// Why the zygote could not be started or did not make a shim.
#[derive(Debug, thiserror::Error)]
pub enum ZygoteError {
    /// A step of its start failed.
    #[error("start the zygote: {step}")]
    Start {
        /// The step.
        step: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The directory for sockets is open to others.
    #[error("\"{}\" must be a directory of the daemon's own user with mode 0700", path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The zygote has died; another one must be spawned.
    #[error("the zygote is gone")]
    Gone,
    /// No socket pair could be made, or nothing could be sent on it.
    #[error("make a connection for a shim")]
    Socket {
        /// The cause.
        source: io::Error,
    },
}

/// The process that all shims of this daemon are forked from. Dropping it ends the zygote, not its shims.
#[derive(Debug)]
pub struct Zygote {
    socket: UnixStream,
    offers: Mutex<Decoder>,
    child: Mutex<Child>,
    pid: i32,
}

/// The one variable that a shim takes from the daemon: how its runtime puts overlays together, for tests.
const OVERLAY: &str = "BERTH_OVERLAY";

impl Zygote {
    /// Starts the zygote: `executable` run as `berth-shim` from a read-only, detached clone of its mount (or a
    /// sealed memfd), so that nothing that a container reaches through `/proc/PID/exe` is writable (CVE-2019-5736).
    ///
    /// Waits for the `execve`, about a millisecond. Needs a tokio runtime.
    pub async fn spawn(options: &ZygoteOptions) -> Result<Self, ZygoteError> {
        make_directory(&options.socket_directory)?;
        let executable =
            sys::executable::protected(&options.executable).map_err(|source| ZygoteError::Start {
                step: "protect the executable",
                source: source.into(),
            })?;
        let (ours, theirs) = frame::socket_pair().map_err(|source| ZygoteError::Socket { source })?;
        let child = Command::new(format!("/proc/self/fd/{}", executable.as_raw_fd()))
            .arg0(PROGRAM)
            // Room for a shim to show its container's id in.
            .arg(format!("{:<ID_LENGTH$}", "zygote"))
            .env_clear()
            .envs(std::env::var_os(OVERLAY).map(|way| (OVERLAY, way)))
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| ZygoteError::Start {
                step: "run the executable",
                source,
            })?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let socket = UnixStream::from_std(ours.into()).map_err(|source| ZygoteError::Socket { source })?;
        Ok(Self {
            socket,
            offers: Mutex::default(),
            child: Mutex::new(child),
            pid,
        })
    }

    /// Returns the zygote's pid.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the connection to a new shim: one that waits, or else one that is asked for, without waiting for the fork: a
    /// fork that fails shows as [`super::RequestError::Gone`] in the first request.
    pub async fn new_shim(&self) -> Result<ShimConnection, ZygoteError> {
        if let Some(shim) = self.take_offer() {
            return Ok(shim);
        }
        let (ours, theirs) = stream_pair().map_err(|source| ZygoteError::Socket { source })?;
        let request = SpawnRequest {};
        let encoded = frame::encode(&request).map_err(|error| ZygoteError::Socket {
            source: io::Error::other(error),
        })?;
        loop {
            // A frame this small goes whole or not at all.
            match frame::send_some(self.socket.as_fd(), &encoded, &[theirs.as_fd()]) {
                Ok(sent) if sent == encoded.len() => return Ok(ShimConnection::over(ours, None)),
                Ok(_) => return Err(ZygoteError::Gone),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let ready = self.socket.writable().await;
                    ready.map_err(|source| ZygoteError::Socket { source })?;
                    // Clears tokio's notion of readiness, so that the next wait is a real one.
                    let cleared = self.socket.try_io(tokio::io::Interest::WRITABLE, || {
                        Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock))
                    });
                    drop(cleared);
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    return Err(match error.kind() {
                        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ZygoteError::Gone,
                        _ => ZygoteError::Socket { source: error },
                    });
                }
            }
        }
    }

    /// Returns the shim that waits, if there is one.
    fn take_offer(&self) -> Option<ShimConnection> {
        let mut decoder = self.offers.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match decoder.receive(self.socket.as_fd()) {
                Ok(Received::Bytes) => {}
                // The end of the zygote is seen by who asks it for a shim.
                Ok(Received::Nothing | Received::End) => break,
                // Without descriptors to spare an offer is lost: that shim ends, and another one is offered.
                Err(_) => {
                    *decoder = Decoder::default();
                    return None;
                }
            }
        }
        let mut waiting = None;
        while let Ok(Some(Offer { pid })) = decoder.next() {
            let fds = decoder.take_fds(2).unwrap_or_default();
            let Ok([connection, pidfd]) = <[OwnedFd; 2]>::try_from(fds) else {
                *decoder = Decoder::default();
                return None;
            };
            // One that died without a container was followed by another.
            waiting = is_open(&connection)
                .then_some((pid, connection, pidfd))
                .or(waiting);
        }
        let (pid, connection, pidfd) = waiting?;
        let connection = UnixStream::from_std(connection.into()).ok()?;
        Some(ShimConnection::to_waiting(connection, pid, pidfd))
    }
}

/// Returns whether somebody has the other end.
fn is_open(connection: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(connection, PollFlags::empty())];
    let now = Timespec::default();
    rustix::event::poll(&mut fds, Some(&now)).is_ok() && !fds[0].revents().contains(PollFlags::HUP)
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It holds nothing that must be put in order, and may be stopped or stuck: no waiting for its own end.
        child.kill().ok();
        child.wait().ok();
    }
}

fn make_directory(path: &Path) -> Result<(), ZygoteError> {
    let start = |step| move |source| ZygoteError::Start { step, source };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(start("make the directory for sockets"))?;
    let metadata = std::fs::symlink_metadata(path).map_err(start("look at the directory for sockets"))?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.is_dir() && is_ours && metadata.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(ZygoteError::OpenDirectory {
            path: path.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_death_of_the_zygote_is_seen() {
        let directory = std::env::temp_dir().join(format!("berth-zygote-{}", std::process::id()));
        let options = ZygoteOptions {
            // Ends at once, as it knows neither its name nor its argument.
            executable: PathBuf::from("/bin/true"),
            socket_directory: directory.clone(),
        };
        let zygote = Zygote::spawn(&options).await.unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !matches!(zygote.new_shim().await, Err(ZygoteError::Gone)) {
            assert!(std::time::Instant::now() < deadline);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        std::fs::remove_dir(&directory).unwrap();
    }

    #[tokio::test]
    async fn the_shim_that_lives_is_taken_and_lost_offers_are_forgotten() {
        let (ours, theirs) = frame::socket_pair().unwrap();
        let zygote = Zygote {
            socket: UnixStream::from_std(ours.into()).unwrap(),
            offers: Mutex::default(),
            child: Mutex::new(Command::new("/bin/true").spawn().unwrap()),
            pid: 0,
        };
        let offer = |pid: i32| {
            let (daemons, shims) = frame::socket_pair().unwrap();
            let pidfd = std::fs::File::open("/dev/null").unwrap();
            frame::send(theirs.as_fd(), &Offer { pid }, &[daemons.as_fd(), pidfd.as_fd()]).unwrap();
            shims
        };
        assert!(zygote.take_offer().is_none());
        drop(offer(1));
        let _lives = offer(2);
        drop(offer(3));
        assert_eq!(zygote.take_offer().unwrap().shim_pid(), Some(2));
        assert!(zygote.take_offer().is_none());
        // One that came without its descriptors leaves nothing that the next could be confused with.
        let (stray, _) = frame::socket_pair().unwrap();
        frame::send(theirs.as_fd(), &Offer { pid: 4 }, &[stray.as_fd()]).unwrap();
        assert!(zygote.take_offer().is_none());
        let _lives = offer(5);
        assert_eq!(zygote.take_offer().unwrap().shim_pid(), Some(5));
    }
}
